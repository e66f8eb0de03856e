"""The middleware around a small application, and what the service installs by default."""

from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from {{ cookiecutter.__package }}.edge import Forwarded, Hosts, complete, inner, outer

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


async def tell(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers how the application sees the request."""
    request = Request(scope)
    assert request.client
    await JSONResponse([request.client.host, request.url.scheme])(scope, receive, send)


async def get(app: ASGIApp, *headers: tuple[str, str], peer: str = "10.0.0.1") -> Any:
    transport = httpx.ASGITransport(app, client=(peer, 5))
    async with httpx.AsyncClient(transport=transport) as client:
        return (await client.get("http://test", headers=list(headers))).json()


@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1", "fd00::1"])
async def test_trusted_proxy_is_believed(peer: str) -> None:
    headers = [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "https")]
    assert await get(Forwarded(tell, TRUSTED), *headers, peer=peer) == ["192.0.2.1", "https"]


@pytest.mark.parametrize("peer", ["192.0.2.9", "fe80::1", "not an address"])
async def test_other_peer_is_not(peer: str) -> None:
    headers = [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "https")]
    assert await get(Forwarded(tell, TRUSTED), *headers, peer=peer) == [peer, "http"]


@pytest.mark.parametrize(
    ("values", "client"),
    [
        (["203.0.113.7, 192.0.2.1"], "192.0.2.1"),
        (["203.0.113.7, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
        (["192.0.2.1", "10.0.0.2,10.0.0.3"], "192.0.2.1"),
        (["10.0.0.2"], "10.0.0.2"),
        (["203.0.113.7, made up, 10.0.0.2"], "10.0.0.2"),
        (["made up"], "10.0.0.1"),
        ([""], "10.0.0.1"),
        (["2001:DB8::1"], "2001:db8::1"),
    ],
)
async def test_client_is_the_last_that_is_no_proxy(values: list[str], client: str) -> None:
    """What stands before it, the client may have made up."""
    headers = [("X-Forwarded-For", value) for value in values]
    assert (await get(Forwarded(tell, TRUSTED), *headers))[0] == client


@pytest.mark.parametrize("scheme", ["ftp", "", "https, "])
async def test_other_scheme_is_ignored(scheme: str) -> None:
    headers = ("X-Forwarded-Proto", scheme)
    assert (await get(Forwarded(tell, TRUSTED), headers))[1] == "http"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("api.example.com", 200),
        ("API.example.com:8000", 200),
        ("a.b.example.org", 200),
        ("[::1]:8000", 200),
        ("example.com", 421),
        ("api.example.com.attacker.test", 421),
        ("api.example.com:80@attacker.test", 421),
        ("example.org", 421),
        ("[::2]", 421),
        ("", 421),
    ],
)
async def test_host_must_be_allowed(host: str, status: int) -> None:
    app = Hosts(tell, ["api.example.com", "*.example.org", "[::1]"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        response = await client.get("http://test/", headers={"Host": host})
        probe = await client.get("http://test/livez", headers={"Host": host})
    assert response.status_code == status
    assert status == 200 or response.headers["content-type"] == "application/problem+json"
    assert probe.status_code == 200


@pytest.mark.parametrize(
    ("scheme", "host", "announced"),
    [("http", b"test", False), ("https", b"test", True), ("https", b"localhost:8000", False)],
)
def test_https_is_required_from_then_on(scheme: str, host: bytes, announced: bool) -> None:
    headers: list[tuple[bytes, bytes]] = []
    scope = {"type": "http", "http_version": "2", "scheme": scheme, "headers": [(b"host", host)]}
    complete(scope, headers)
    assert (b"strict-transport-security" in dict(headers)) == announced


@pytest.mark.parametrize(("version", "kept"), [("1.1", True), ("3", False)])
def test_http_3_has_no_connection_header(version: str, kept: bool) -> None:
    """A client ends the connection where it gets one."""
    headers = [(b"connection", b"close")]
    complete({"type": "http", "http_version": version, "scheme": "https", "headers": []}, headers)
    assert (b"connection" in dict(headers)) == kept


@pytest.mark.parametrize("path", ["/", "/nowhere", "/docs"])
async def test_answers_have_security_headers(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    for_pages = {"content-security-policy", "referrer-policy"}
    assert for_pages & headers.keys() == (for_pages if path == "/docs" else set())
    assert headers.get("referrer-policy", "no-referrer") == "no-referrer"


async def test_other_origins_are_not_allowed_by_default(client: httpx.AsyncClient) -> None:
    response = await client.get("/", headers={"Origin": "https://app.example.com"})
    assert "access-control-allow-origin" not in response.headers
    assert [*outer, *inner] == []
