"""The middleware around a small application."""

from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from {{ cookiecutter.__package }}.chassis.edge import (
    Forwarded,
    Hosts,
    SecurityHeaders,
)
from {{ cookiecutter.__package }}.chassis.errors import ErrorResponses

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
        ("api.example.com.", 200),
        ("API.EXAMPLE.COM.:443", 200),
        ("example.com.", 421),
    ],
)
async def test_host_must_be_allowed(host: str, status: int) -> None:
    hosts = Hosts(tell, ["api.example.com", "*.example.org", "[::1]"], {"/livez"})
    app = ErrorResponses(hosts)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        response = await client.get("http://test/", headers={"Host": host})
        probe = await client.get("http://test/livez", headers={"Host": host})
    assert response.status_code == status
    assert status == 200 or response.headers["content-type"] == "application/problem+json"
    assert probe.status_code == 200


async def answer_bare(scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI needs no `headers`."""
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})


async def get_headers(url: str, *, host: str = "test", app: ASGIApp = answer_bare) -> httpx.Headers:
    transport = httpx.ASGITransport(SecurityHeaders(app))
    async with httpx.AsyncClient(transport=transport) as client:
        return (await client.get(url, headers={"Host": host})).headers


async def test_security_headers_are_added() -> None:
    headers = await get_headers("http://test")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    ("location", "sent"),
    [
        ("http://test/a?b=c", "/a?b=c"),
        ("http://test//attacker.example", "/attacker.example"),
        ("https://test/a", "https://test/a"),
        ("http://other/a", "http://other/a"),
        ("/a", "/a"),
    ],
)
async def test_redirect_to_the_claimed_host_is_a_path(location: str, sent: str) -> None:
    headers = await get_headers("http://test", app=RedirectResponse(location))
    assert headers["location"] == sent


async def test_headers_of_the_application_stay_its_own() -> None:
    """A response that is sent twice does not collect them."""
    response = JSONResponse(None, headers={"X-Own": "1"})
    first = await get_headers("http://test", app=response)
    assert first["x-own"] == "1"
    assert await get_headers("http://test", app=response) == first
    assert "x-frame-options" not in response.headers


@pytest.mark.parametrize(
    ("scheme", "host", "announced"),
    [
        ("http", "test", False),
        ("https", "test", True),
        ("https", "localhost.example.com", True),
        ("https", "localhost:8000", False),
        ("https", "LOCALHOST", False),
        ("https", "localhost.", False),
        ("https", "api.localhost", False),
    ],
)
async def test_https_is_required_from_then_on(scheme: str, host: str, announced: bool) -> None:
    headers = await get_headers(f"{scheme}://test", host=host)
    assert ("strict-transport-security" in headers) == announced
