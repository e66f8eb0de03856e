"""What proxies and browsers are told and believed. What is not configured is not installed."""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import problem
from .limits import PROBES
from .settings import ALLOWED_HOSTS, CORS_ORIGINS, FORWARDED_ALLOW_IPS

# What else OWASP names is for answers that are shown as HTML: docs.py has it. A header costs 5 µs.
# https://cheatsheetseries.owasp.org/cheatsheets/REST_Security_Cheat_Sheet.html#security-headers
HEADERS = [(b"x-content-type-options", b"nosniff"), (b"x-frame-options", b"DENY")]
HSTS = (b"strict-transport-security", b"max-age=31536000")
CLOSE = (b"connection", b"close")
HOST = re.compile(r"([\w.-]+|\[[\da-f:.]+\])(:\d*)?", re.ASCII | re.IGNORECASE)


def complete(scope: Scope, headers: list[tuple[bytes, bytes]]) -> None:
    """Adds the security headers to those of an answer; takes `Connection` from them over HTTP/3.

    HSTS spares localhost, as it would close the other ports there.
    https://www.rfc-editor.org/rfc/rfc9114#section-4.2
    """
    headers += HEADERS
    if scope.get("scheme") == "https":
        if not Headers(scope=scope).get("host", "").startswith("localhost"):
            headers.append(HSTS)
        if scope["http_version"] == "3" and CLOSE in headers:
            headers.remove(CLOSE)


@lru_cache(1000)
def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    # As a socket for both families gives IPv4.
    return getattr(address, "ipv4_mapped", None) or address


class Forwarded:
    """Takes the client and the scheme from X-Forwarded-For and -Proto of a peer that is `trusted`.

    The client is the last address that no trusted proxy has: those before it, it may have made up.
    """

    def __init__(self, app: ASGIApp, trusted: list[IPv4Network | IPv6Network]) -> None:
        self.app = app
        self.trusted = trusted

    def is_trusted(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self.trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer, *_ = scope.get("client") or [""]
        if scope["type"] == "http" and self.is_trusted(parse_address(peer)):
            headers = Headers(scope=scope)
            for hop in reversed(",".join(headers.getlist("x-forwarded-for")).split(",")):
                address = parse_address(hop)
                if address:
                    scope["client"] = (str(address), 0)
                if not self.is_trusted(address):
                    break
            scheme = ",".join(headers.getlist("x-forwarded-proto")).rpartition(",")[2].strip()
            if scheme in {"http", "https"}:
                scope["scheme"] = scheme
        await self.app(scope, receive, send)


class Hosts:
    """Answers 421 to a request for another host than `allowed`, unless it is a probe.

    https://www.rfc-editor.org/rfc/rfc9110#section-7.4
    """

    def __init__(self, app: ASGIApp, allowed: list[str]) -> None:
        self.app = app
        self.names = frozenset(allowed)
        self.suffixes = tuple(name[1:] for name in allowed if name.startswith("*."))

    def is_allowed(self, value: str) -> bool:
        matched = HOST.fullmatch(value)
        name = matched[1].lower() if matched else ""
        return name in self.names or name.endswith(self.suffixes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: ASGIApp = self.app
        if scope["type"] == "http" and scope["path"] not in PROBES:
            given = Headers(scope=scope).getlist("host")
            if not given or not all(map(self.is_allowed, given)):
                app = problem(421, "The host is not one of this service")
        await app(scope, receive, send)


outer: list[Middleware] = []
if FORWARDED_ALLOW_IPS:
    outer.append(Middleware(Forwarded, FORWARDED_ALLOW_IPS))

# Inside the limits, which read the body: what refuses must not answer before its end.
inner: list[Middleware] = []
if "*" not in ALLOWED_HOSTS:
    inner.append(Middleware(Hosts, ALLOWED_HOSTS))
if CORS_ORIGINS:
    exposed = ["Location", "X-Request-ID"]
    inner.append(
        Middleware(CORSMiddleware, CORS_ORIGINS, allow_methods=["*"], expose_headers=exposed)
    )
