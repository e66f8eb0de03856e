"""What one in flight may take, how it is ended, and the body, read before its application runs."""

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from .route_limits import find_limits

GONE = "http.disconnect"


@dataclass(frozen=True)
class Bounds:
    """What one request may take: bytes, and seconds."""

    max_body_size: int
    body_timeout: float  # for the whole body
    request_timeout: float  # from then until the response begins
    send_timeout: float  # for a client to take one part of it
    background_timeout: float  # for what runs on after the response
    stream: bool = False  # whether the application takes the body as it comes


def too_many() -> HTTPException:
    return HTTPException(503, "Too many requests are in flight", {"Retry-After": "1"})


class InFlight:
    """A request or a WebSocket: `cancel` ends its task, and `cancelled_by` says why."""

    bounds: Bounds
    task: asyncio.Task[Any] | None
    cancelled_by: Exception | None = None
    sending = False
    sending_since = 0.0  # when the check first saw this part, or this message

    def cancel(self, reason: Exception) -> None:
        if self.task and not self.cancelled_by:
            self.cancelled_by = reason
            self.task.cancel()

    def check_sending(self, now: float) -> None:
        """Cancels it where its client has not taken what is sent for too long."""
        self.sending_since = self.sending_since or now
        if now > self.sending_since + self.bounds.send_timeout:
            self.cancel(ClientDisconnect())


class BoundedBody:
    """It is read whole, or handed on as it comes, or dropped where it is too large."""

    app: Starlette | None
    scope: Scope
    receive_more: Receive
    bounds: Bounds
    route_known = False  # whether the bounds are those of the route
    length = 0  # as the client declares it
    size = 0  # as it has been read
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

        Raises `HTTPException` 413, or `ClientDisconnect`.
        """
        self.reading = asyncio.Lock()
        chunks = [await self.read_part()]
        if chunks[0] or not self.accepted:
            self.use_route_limits()
            for name, value in self.scope["headers"]:
                if name == b"content-length" and value.isdigit() and len(value) < 20:
                    self.length = int(value)
        while not self.accepted and (self.is_large() or not self.bounds.stream):
            chunks.append(await self.read_part())
            if self.is_large():
                chunks.clear()
        if self.is_large():
            raise self.too_large()
        self.body = b"".join(chunks)

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

    def accept(self, body: bytes) -> None:
        self.body = body
        self.accepted = time.monotonic()

    def refuse(self, status: int, detail: str) -> HTTPException:
        """An error after which the connection is closed, where the protocol lets an answer say so.

        https://www.rfc-editor.org/rfc/rfc9113#section-8.2.2
        """
        close = {"Connection": "close"} if self.scope["http_version"] < "2" else None
        return HTTPException(status, detail, close)

    def too_large(self) -> HTTPException:
        return self.refuse(413, f"The body is over {self.bounds.max_body_size} bytes")
