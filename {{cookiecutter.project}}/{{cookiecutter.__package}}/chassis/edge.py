"""Proxies that are trusted, hosts that are served, and the headers that browsers are told."""

import re
from collections.abc import Awaitable, Container, Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What else OWASP names is for answers that are shown as HTML: docs.py has it.
# https://cheatsheetseries.owasp.org/cheatsheets/REST_Security_Cheat_Sheet.html#security-headers
HEADERS = [(b"x-content-type-options", b"nosniff"), (b"x-frame-options", b"DENY")]
HSTS = (b"strict-transport-security", b"max-age=31536000")
ADDRESS = re.compile(r"\[(.+)\](?::\d+)?|([\d.]+):\d+", re.ASCII)
# https://www.rfc-editor.org/rfc/rfc7239#section-4
PARAMETER = r'(?:^|;)\s*{}="?([^\s";]+)'
UNIX = "unix:"
HOST = re.compile(r"([\w.-]+|\[[\da-f:.]+\])(:\d*)?", re.ASCII | re.IGNORECASE)


def host_name(value: str) -> str:
    """Of a `Host` header, in lower case, without the port and the dot of the root, or empty."""
    matched = HOST.fullmatch(value)
    return matched[1].lower().removesuffix(".") if matched else ""


def relative_location(
    scope: Scope, headers: Iterable[tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, bytes]]:
    """The headers of a redirect, with the path alone where it leads to the claimed host."""
    host = Headers(scope=scope).get("host", "")
    own = f"{scope.get('scheme', 'http')}://{host}/".encode("latin-1")
    for name, value in headers:
        if name.lower() == b"location" and value.startswith(own):
            # Two slashes would begin a host.
            value = b"/" + value[len(own) :].lstrip(b"/\\")
        yield name, value


class SecurityHeaders:
    """Adds them to each answer, and takes the service's own host out of its redirects.

    It is what the client claims. Starlette names it for slashes below a mount, and for folders.
    HSTS spares localhost, as it would close the other ports there.
    https://www.rfc-editor.org/rfc/rfc6761#section-6.3
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = HEADERS
        if "scheme" in scope and scope["scheme"] == "https":
            host = host_name(Headers(scope=scope).get("host", ""))
            if host != "localhost" and not host.endswith(".localhost"):
                headers = [*HEADERS, HSTS]

        def add_headers(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                given = message.get("headers", ())
                if 300 <= message["status"] < 400:
                    given = [*relative_location(scope, given)]
                message = {**message, "headers": [*given, *headers]}
            return send(message)

        await self.app(scope, receive, add_headers)


@lru_cache(1000)
def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Of a hop, which may have a port: `203.0.113.5:51234`, `[2001:db8::1]:4711`."""
    matched = ADDRESS.fullmatch(text.strip())
    try:
        address = ip_address((matched[1] or matched[2]) if matched else text.strip())
    except ValueError:
        return None
    # As a socket for both families gives IPv4.
    return getattr(address, "ipv4_mapped", None) or address


def read_hops(headers: Headers) -> tuple[list[str], str]:
    """The clients and the last scheme that proxies name in `X-Forwarded-*`, or else `Forwarded`.

    A client can send the one that its proxy does not set, so that the usual one goes first.
    """
    hops = ",".join(headers.getlist("x-forwarded-for")).split(",")
    scheme = ",".join(headers.getlist("x-forwarded-proto")).rpartition(",")[2].strip()
    if hops != [""] or scheme:
        return hops, scheme
    elements = ",".join(headers.getlist("forwarded")).lower().split(",")
    clients = [re.search(PARAMETER.format("for"), element) for element in elements]
    last = re.search(PARAMETER.format("proto"), elements[-1])
    return [matched[1] if matched else "" for matched in clients], last[1] if last else ""


class Forwarded:
    """Takes the client and the scheme from the headers of a peer that is `trusted`.

    The client is the last address that no trusted proxy has: those before it, it may have made up.
    `UNIX` is the peer at a Unix socket, which has no address.
    """

    def __init__(self, app: ASGIApp, trusted: list[IPv4Network | IPv6Network | str]) -> None:
        self.app = app
        self.unix = UNIX in trusted
        self.trusted = [network for network in trusted if not isinstance(network, str)]

    def is_trusted(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self.trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer, *_ = scope.get("client") or [""]
        known = self.is_trusted(parse_address(peer)) if peer else self.unix
        if known and scope["type"] in {"http", "websocket"}:
            hops, scheme = read_hops(Headers(scope=scope))
            for hop in reversed(hops):
                address = parse_address(hop)
                if address:
                    scope["client"] = (str(address), 0)
                if not self.is_trusted(address):
                    break
            if scheme in {"http", "https"}:
                scope["scheme"] = scheme if scope["type"] == "http" else f"ws{scheme[4:]}"
        await self.app(scope, receive, send)


def check_origin(scope: Scope, allowed: Container[str]) -> None:
    """Raises `HTTPException` 403 for another site's page, whose user's cookies the browser sends.

    https://www.rfc-editor.org/rfc/rfc6455#section-10.2
    """
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    if origin is None or origin in allowed or "*" in allowed:
        return
    if origin.partition("://")[2].lower() != headers.get("host", "").lower():
        raise HTTPException(403, "Pages of this origin may not open a WebSocket here")


class Hosts:
    """Refuses a request for another host than `allowed`, unless its path is one of the `probes`.

    Raises `HTTPException` 421: https://www.rfc-editor.org/rfc/rfc9110#section-7.4
    """

    problems = (421,)

    def __init__(self, app: ASGIApp, allowed: list[str], probes: Container[str]) -> None:
        self.app = app
        self.probes = probes
        self.names = frozenset(allowed)
        self.suffixes = tuple(name[1:] for name in allowed if name.startswith("*."))

    def is_allowed(self, value: str) -> bool:
        name = host_name(value)
        return name in self.names or name.endswith(self.suffixes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"} and scope["path"] not in self.probes:
            given = Headers(scope=scope).getlist("host")
            if not given or not all(map(self.is_allowed, given)):
                raise HTTPException(421, "The host is not one of this service")
        await self.app(scope, receive, send)
