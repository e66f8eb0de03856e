"""The body of a request, read before the application runs, and what a request may take."""

import time
from dataclasses import dataclass

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
