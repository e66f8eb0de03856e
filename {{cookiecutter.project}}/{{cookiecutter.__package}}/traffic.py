"""The requests under way in this process: the limits of each, and whether its client is there.

One look at all of them ten times a second costs a request less than timers of its own.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from .settings import REQUEST_TIMEOUT

INTERVAL = 0.1  # seconds between two looks
# Seconds until a request that still runs is watched for its client going away: most have ended by
# then, and to watch takes half as long as a small request.
WATCH_AFTER = 0.2
BODY_TIMEOUT = 10.0  # seconds
MAX_BODY_SIZE = 1 << 20  # bytes
CLOSE = {"Connection": "close"}


class Exchange:
    """A request under way. `end` cancels its task, and says why."""

    size = 0
    body: bytes | None = None  # when it has been read, until the application takes it
    accepted = 0.0  # when the body was there
    watcher: asyncio.Task[None] | None = None
    reason: Exception | None = None

    def __init__(self, receive: Receive) -> None:
        self.task: asyncio.Task[Any] | None = asyncio.current_task()
        self.receive_more = receive
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
            if self.size > MAX_BODY_SIZE:
                chunks.clear()
        if self.size > MAX_BODY_SIZE:
            raise self.too_large()
        self.accept(b"".join(chunks))

    def accept(self, body: bytes) -> None:
        self.body = body
        self.accepted = time.monotonic()

    def too_large(self) -> HTTPException:
        return HTTPException(413, f"The body is over {MAX_BODY_SIZE} bytes", CLOSE)

    async def receive(self) -> Message:
        body, self.body = self.body, None
        if body is None:
            return await self.receive_more()
        return {"type": "http.request", "body": body, "more_body": False}

    def end(self, reason: Exception) -> None:
        if self.task and not self.reason:
            self.reason = reason
            self.task.cancel()

    def look(self, now: float) -> None:
        """Ends it where it is late, and begins to watch its client."""
        if not self.accepted:
            if now > self.start + BODY_TIMEOUT:
                slow = HTTPException(408, "The body took too long", CLOSE)
                self.end(self.too_large() if self.size > MAX_BODY_SIZE else slow)
        elif now > self.accepted + REQUEST_TIMEOUT:
            self.end(HTTPException(504, f"The request took over {REQUEST_TIMEOUT:g} s"))
        elif not self.watcher and now > self.start + WATCH_AFTER:
            self.watcher = asyncio.create_task(self.watch())

    async def watch(self) -> None:
        while (await self.receive_more())["type"] != "http.disconnect":
            pass
        self.end(ClientDisconnect())


@dataclass
class Traffic:
    """The requests under way in this process, and whether it is about to end."""

    in_flight: int = 0  # without probes
    draining: bool = False
    exchanges: set[Exchange] = field(default_factory=set)
    looking: asyncio.AbstractEventLoop | None = None

    def add(self, exchange: Exchange, counted: bool) -> None:
        self.in_flight += counted
        self.exchanges.add(exchange)
        loop = asyncio.get_running_loop()
        if self.looking is not loop:
            self.looking = loop
            loop.call_later(INTERVAL, self.look, loop)

    def remove(self, exchange: Exchange, counted: bool) -> None:
        self.in_flight -= counted
        self.exchanges.discard(exchange)
        if exchange.watcher:
            exchange.watcher.cancel()

    def look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        for exchange in self.exchanges:
            exchange.look(now)
        if self.exchanges:
            loop.call_later(INTERVAL, self.look, loop)
        else:
            self.looking = None


traffic = Traffic()
