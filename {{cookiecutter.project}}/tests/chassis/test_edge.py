"""The middleware around a small application."""

from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from {{ cookiecutter.__package }}.chassis.edge import Hosts, SecurityHeaders
from {{ cookiecutter.__package }}.chassis.errors import ErrorResponses
from {{ cookiecutter.__package }}.chassis.forwarded import Forwarded

TRUSTED: list[Any] = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


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
        (["203.0.113.5:51234"], "203.0.113.5"),
        (["[2001:db8::1]:4711, 10.0.0.2:80"], "2001:db8::1"),
        (["[2001:db8::1]"], "2001:db8::1"),
        (["192.0.2.1:made up"], "10.0.0.1"),
    ],
)
async def test_client_is_the_last_that_is_no_proxy(values: list[str], client: str) -> None:
    """What stands before it, the client may have made up."""
    headers = [("X-Forwarded-For", value) for value in values]
    assert (await get(Forwarded(tell, TRUSTED), *headers))[0] == client


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        (["for=192.0.2.1;proto=https"], ["192.0.2.1", "https"]),
        (['For="[2001:DB8::1]:4711" ; Proto=HTTPS'], ["2001:db8::1", "https"]),
        (["for=203.0.113.7, for=192.0.2.1", 'for="10.0.0.2:80";proto=http'], ["192.0.2.1", "http"]),
        (["for=192.0.2.1, for=_hidden"], ["10.0.0.1", "http"]),
        (["for=unknown;by=203.0.113.7"], ["10.0.0.1", "http"]),
        (["for=192.0.2.1;proto=https, by=10.0.0.2"], ["10.0.0.1", "http"]),
        (["nonsense"], ["10.0.0.1", "http"]),
    ],
)
async def test_forwarded_header(values: list[str], seen: list[str]) -> None:
    """https://www.rfc-editor.org/rfc/rfc7239"""
    headers = [("Forwarded", value) for value in values]
    assert await get(Forwarded(tell, TRUSTED), *headers) == seen


@pytest.mark.parametrize(
    "host",
    [
        '"a;for=198.51.100.9"',
        '"a;proto=https,for=198.51.100.9"',
        r'"a\";for=198.51.100.9;b=\""',
    ],
)
async def test_quoted_host_names_no_client(host: str) -> None:
    """A proxy passes on what the client asks for."""
    header = ("Forwarded", f"host={host};for=192.0.2.1")
    assert await get(Forwarded(tell, TRUSTED), header) == ["192.0.2.1", "http"]


async def test_quote_left_open_hides_no_later_line() -> None:
    headers = [("Forwarded", 'for="a'), ("Forwarded", 'for=192.0.2.1;host="b"')]
    assert (await get(Forwarded(tell, TRUSTED), *headers))[0] == "192.0.2.1"


@pytest.mark.parametrize(
    "header", [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Proto", "http")]
)
async def test_usual_headers_go_first(header: tuple[str, str]) -> None:
    """A client can send the other one through a proxy that does not know it"""
    made_up = ("Forwarded", "for=198.51.100.9;proto=https")
    seen = await get(Forwarded(tell, TRUSTED), header, made_up)
    assert seen in (["192.0.2.1", "http"], ["10.0.0.1", "http"])


@pytest.mark.parametrize(("trusted", "client"), [(["unix:"], "192.0.2.1"), (TRUSTED, "")])
async def test_peer_at_a_unix_socket(trusted: list[Any], client: str) -> None:
    """It has no address."""
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope.get("client"))

    scope = {"type": "http", "client": None, "headers": [(b"x-forwarded-for", b"192.0.2.1")]}
    await Forwarded(app, trusted)(scope, receive=Any, send=Any)  # type: ignore[arg-type]
    assert (seen[0] or [""])[0] == client


async def test_scheme_of_a_websocket() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["client"][0], scope["scheme"]))

    headers = [(b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-proto", b"https")]
    scope = {"type": "websocket", "client": ("10.0.0.1", 5), "scheme": "ws", "headers": headers}
    await Forwarded(app, TRUSTED)(scope, receive=Any, send=Any)  # type: ignore[arg-type]
    assert seen == [("192.0.2.1", "wss")]


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


@pytest.mark.parametrize(
    ("path", "status"),
    [("/livez", 200), ("/shop/livez", 200), ("/shop/", 421), ("/shop/shop/livez", 421)],
)
async def test_probe_below_the_root_path(path: str, status: int) -> None:
    """It comes to the service itself, or by the proxy."""
    app = ErrorResponses(Hosts(tell, ["api.example.com"], {"/livez"}))
    transport = httpx.ASGITransport(app, root_path="/shop")
    async with httpx.AsyncClient(transport=transport) as client:
        assert (await client.get(f"http://10.0.0.9{path}")).status_code == status


@pytest.mark.parametrize("path", ["/v1/one", "/shop/v1/one"])
async def test_mount_below_the_root_path(path: str) -> None:
    """Whether a proxy strips it or not."""
    route = Route("/one", lambda request: PlainTextResponse(request.url.path))
    app = Forwarded(Starlette(routes=[Mount("/v1", routes=[route])]), [], "/shop")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        assert (await client.get(f"http://test{path}")).text == "/shop/v1/one"


async def answer_bare(scope: Scope, receive: Receive, send: Send) -> None:
    """ASGI needs no `headers`."""
    await send({"type": "http.response.start", "status": 204})
    await send({"type": "http.response.body"})


async def get_headers(
    url: str, *, host: str = "test", app: ASGIApp = answer_bare, root_path: str = ""
) -> httpx.Headers:
    transport = httpx.ASGITransport(SecurityHeaders(app), root_path=root_path)
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


@pytest.mark.parametrize(
    ("location", "sent"),
    [
        ("http://test/files/", "/shop/files/"),
        ("http://test/shop/files/", "/shop/files/"),
        ("http://test/shopping", "/shop/shopping"),
        ("http://other/files/", "http://other/files/"),
    ],
)
async def test_redirect_begins_with_the_root_path(location: str, sent: str) -> None:
    """Whether a proxy strips it or not."""
    headers = await get_headers("http://test", app=RedirectResponse(location), root_path="/shop")
    assert headers["location"] == sent


@pytest.mark.parametrize("root_path", ["", "/shop"])
async def test_redirect_out_of_a_mount_is_not_below_it(root_path: str) -> None:
    mounted = Starlette(routes=[Mount("/auth", RedirectResponse(f"http://test{root_path}/a"))])
    headers = await get_headers("http://test/auth/x", app=mounted, root_path=root_path)
    assert headers["location"] == f"{root_path}/a"


async def test_header_of_the_application_is_not_doubled() -> None:
    headers = {"X-Frame-Options": "SAMEORIGIN"}
    found = await get_headers("http://test", app=JSONResponse(None, headers=headers))
    assert found.get_list("x-frame-options") == ["SAMEORIGIN"]
    assert found["x-content-type-options"] == "nosniff"


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
