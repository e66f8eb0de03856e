"""Hosts that are served, and the headers that browsers are told."""

import re
from collections.abc import Awaitable, Container, Iterable, Iterator

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .routes import find_root_path

# What else OWASP names is for answers that are shown as HTML: docs.py has it.
# https://cheatsheetseries.owasp.org/cheatsheets/REST_Security_Cheat_Sheet.html#security-headers
HEADERS = [(b"x-content-type-options", b"nosniff"), (b"x-frame-options", b"DENY")]
HSTS = (b"strict-transport-security", b"max-age=31536000")
NAMES = {name for name, _ in [*HEADERS, HSTS]}
HOST = re.compile(r"([\w.-]+|\[[\da-f:.]+\])(:\d*)?", re.ASCII | re.IGNORECASE)


def host_name(value: str) -> str:
    """Of a `Host` header, in lower case, without the port and the dot of the root, or empty."""
    matched = HOST.fullmatch(value)
    return matched[1].lower().removesuffix(".") if matched else ""


def relative_location(
    scope: Scope, headers: Iterable[tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, bytes]]:
    """The headers of a redirect, with the path alone where it leads to the claimed host.

    It begins with `root_path`, as Starlette makes it from a path that a proxy has cut short.
    """
    host = Headers(scope=scope).get("host", "")
    root = find_root_path(scope).encode()
    own = f"{scope.get('scheme', 'http')}://{host}/".encode("latin-1")
    for name, value in headers:
        if name.lower() == b"location" and value.startswith(own):
            # Two slashes would begin a host.
            value = b"/" + value[len(own) :].lstrip(b"/\\")
            value = value if value.startswith(root + b"/") else root + value
        yield name, value


class SecurityHeaders:
    """Adds them to each answer that has none, and takes the service's own host out of redirects.

    It is what the client claims. Starlette names it for slashes below a mount, and for folders.
    HSTS spares localhost, as it would close the other ports there.
    https://www.rfc-editor.org/rfc/rfc6761#section-6.3
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        headers = HEADERS
        if "scheme" in scope and scope["scheme"] == "https":
            host = host_name(Headers(scope=scope).get("host", ""))
            if host != "localhost" and not host.endswith(".localhost"):
                headers = [*HEADERS, HSTS]

        def add_headers(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                given, added = message.get("headers", ()), headers
                for name, _ in given:
                    if name in NAMES:
                        added = [each for each in added if each[0] != name]
                if 300 <= message["status"] < 400:
                    given = [*relative_location(scope, given)]
                message = {**message, "headers": [*given, *added]}
            return send(message)

        return self.app(scope, receive, add_headers)


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


def is_one_of(paths: Container[str], scope: Scope) -> bool:
    """Whether the path is, with or without `root_path`: probes do not come by the proxy."""
    return scope["path"].removeprefix(scope.get("root_path", "")) in paths


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
        if scope["type"] in {"http", "websocket"} and not is_one_of(self.probes, scope):
            given = Headers(scope=scope).getlist("host")
            if not given or not all(map(self.is_allowed, given)):
                raise HTTPException(421, "The host is not one of this service")
        await self.app(scope, receive, send)
