"""What one in flight may take, how it is ended, and the body, read before its application runs."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive


@dataclass(frozen=True)
class Bounds:
    """What one request may take: bytes, and seconds."""

    max_body_size: int
    body_timeout: float  # for the whole body
    request_timeout: float  # from then until the response begins
    send_timeout: float  # for a client to take one part of it
    background_timeout: float  # for what runs on after the response


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
    """It is read whole, or dropped where it is too large."""

    receive_more: Receive
    http_version: str
    bounds: Bounds
    size = 0
    body: bytes | None = None  # when it has been read, until the application takes it
    accepted = 0.0  # when the body was there

    async def read_body(self) -> None:
        """Drops what is over the limit. Raises `HTTPException` 413, or `ClientDisconnect`."""
        chunks: list[bytes] = []
        more = True
        while more:
            message = await self.receive_more()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunks.append(message.get("body", b""))
            self.size += len(chunks[-1])
            more = message.get("more_body", False)
            if self.size > self.bounds.max_body_size:
                chunks.clear()
        if self.size > self.bounds.max_body_size:
            raise self.too_large()
        self.accept(b"".join(chunks))

    def accept(self, body: bytes) -> None:
        self.body = body
        self.accepted = time.monotonic()

    def refuse(self, status: int, detail: str) -> HTTPException:
        """An error after which the connection is closed, where the protocol lets an answer say so.

        https://www.rfc-editor.org/rfc/rfc9113#section-8.2.2
        """
        close = {"Connection": "close"} if self.http_version < "2" else None
        return HTTPException(status, detail, close)

    def too_large(self) -> HTTPException:
        return self.refuse(413, f"The body is over {self.bounds.max_body_size} bytes")
