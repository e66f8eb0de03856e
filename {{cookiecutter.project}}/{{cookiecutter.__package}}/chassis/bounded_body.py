"""The body of a request, read before its application runs."""

import asyncio
import time
from dataclasses import replace

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from .bounds import Bounds, too_many
from .route_limits import find_limits

GONE = "http.disconnect"


class BoundedBody:
    """It is read whole, or handed on as it comes, or dropped where it is too large."""

    app: Starlette | None
    scope: Scope
    receive_more: Receive
    bounds: Bounds
    route_known = False  # whether the bounds are those of the route
    length = 0  # as the client declares it
    size = 0  # as it has been read
    held = 0  # of that, what is in memory
    body: bytes | None = None  # what has been read, until the application takes it
    accepted = 0.0  # when the body was there
    client_gone = False
    reading: asyncio.Lock  # of a stream, which an application may read while it answers

    def use_route_limits(self) -> None:
        if self.app and not self.route_known:
            self.route_known = True
            self.bounds = replace(self.bounds, **find_limits(self.app, self.scope))

    def is_large(self) -> bool:
        return max(self.size, self.length) > self.bounds.max_body_size

    async def read_body(self) -> None:
        """To its end, or the first part of a stream. Drops what is over the limit.

        Raises `HTTPException` 413 or 503, or `ClientDisconnect`.
        """
        self.reading = asyncio.Lock()
        self.body = part = await self.read_part()
        if self.accepted and not part:
            return
        self.use_route_limits()
        for name, value in self.scope["headers"]:
            if name == b"content-length" and value.isdigit() and len(value) < 20:
                self.length = int(value)
        content, refusal = bytearray(), None  # Parts of a byte each would take fifty times as much.
        while True:
            content += part
            self.hold(len(part))
            if self.is_large():
                refusal = self.too_large()
            elif self.bounds.held.size > self.bounds.held.most:
                refusal = refusal or too_many("bytes of bodies")
            if refusal:
                content.clear()
                self.hold(-self.held)
            if self.accepted or (self.bounds.stream and not refusal):
                break
            part = await self.read_part()
        if refusal:
            raise refusal
        if self.bounds.stream:
            self.hold(-self.held)
        self.body = bytes(content)

    def hold(self, size: int) -> None:
        self.held += size
        self.bounds.held.size += size

    async def read_part(self) -> bytes:
        """Nothing after the end. Raises `ClientDisconnect`."""
        async with self.reading:
            if self.accepted:
                return b""
            if self.client_gone or (message := await self.receive_more())["type"] == GONE:
                self.client_gone = True
                raise ClientDisconnect
            part: bytes = message.get("body", b"")
            self.size += len(part)
            if not message.get("more_body", False):
                self.accepted = time.monotonic()
            return part

    async def drop_rest(self) -> None:
        """As an answer before its end can stop the other streams of an HTTP/2 connection."""
        while not (self.accepted or self.client_gone):
            await self.read_part()

    def refuse(self, status: int, detail: str) -> HTTPException:
        """An error after which the connection is closed, where the protocol lets an answer say so.

        https://www.rfc-editor.org/rfc/rfc9113#section-8.2.2
        """
        close = {"Connection": "close"} if self.scope["http_version"] < "2" else None
        return HTTPException(status, detail, close)

    def too_large(self) -> HTTPException:
        return self.refuse(413, f"The body is over {self.bounds.max_body_size} bytes")
