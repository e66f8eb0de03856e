"""A request in flight: its body is read for it, and it ends with its deadline or its client."""

import asyncio
import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

# Seconds until a request that still runs is watched for its client going away: most have ended by
# then, and to watch takes half as long as a small request.
WATCH_AFTER = 0.2


class RequestInFlight:
    """`cancel` ends its task, and `cancelled_by` says why."""

    size = 0
    body: bytes | None = None  # when it has been read, until the application takes it
    accepted = 0.0  # when the body was there
    response_ends = False  # its last part is being sent
    response_complete = False
    watcher: asyncio.Task[None] | None = None
    cancelled_by: Exception | None = None

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_body_size: int) -> None:
        self.task: asyncio.Task[Any] | None = asyncio.current_task()
        self.http_version = scope["http_version"]
        self.receive_more = receive
        self.send_on = send
        self.max_body_size = max_body_size
        self.start = time.monotonic()

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
            if self.size > self.max_body_size:
                chunks.clear()
        if self.size > self.max_body_size:
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
        return self.refuse(413, f"The body is over {self.max_body_size} bytes")

    async def receive(self) -> Message:
        body, self.body = self.body, None
        if body is None:
            return await self.receive_more()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        self.response_ends = last
        await self.send_on(message)
        self.response_complete = last

    def cancel(self, reason: Exception) -> None:
        if self.task and not self.cancelled_by:
            self.cancelled_by = reason
            self.task.cancel()

    def check(self, now: float, body_timeout: float, request_timeout: float) -> None:
        """Cancels it where it is late, and begins to watch its client.

        What runs on after a complete response, as a background task, is not the client's any more.
        """
        if self.response_complete:
            return
        if not self.accepted:
            if now > self.start + body_timeout:
                slow = self.refuse(408, "The body took too long")
                self.cancel(self.too_large() if self.size > self.max_body_size else slow)
        elif now > self.accepted + request_timeout:
            self.cancel(HTTPException(504, f"The request took over {request_timeout:g} s"))
        elif not self.watcher and now > self.start + WATCH_AFTER:
            self.watcher = asyncio.create_task(self.watch_client())

    async def watch_client(self) -> None:
        while (await self.receive_more())["type"] != "http.disconnect":
            pass
        if not self.response_ends:
            self.cancel(ClientDisconnect())
