"""What one in flight may take, and how it is ended."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect


@dataclass
class Held:
    """The bytes of all bodies that are in memory, until their requests end."""

    most: int
    size: int = 0


@dataclass(frozen=True)
class Bounds:
    """What one request may take: bytes, and seconds."""

    max_body_size: int
    body_timeout: float  # for the whole body
    request_timeout: float  # from then until the response begins
    send_timeout: float  # for a client to take one part of it
    background_timeout: float  # for what runs on after the response
    held: Held
    stream: bool = False  # whether the application takes the body as it comes


def too_many(what: str = "requests") -> HTTPException:
    return HTTPException(503, f"Too many {what} are in flight", {"Retry-After": "1"})


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

    async def own(self, work: Awaitable[None]) -> None:
        """Raises `RuntimeError` where what it waits for was cancelled, and not the task itself."""
        try:
            await work
        except asyncio.CancelledError as error:
            if self.cancelled_by or not self.task or self.task.cancelling():
                raise
            raise RuntimeError("What it waited for was cancelled") from error

    def check_sending(self, now: float) -> None:
        """Gives its client up that has not taken what is sent for too long."""
        self.sending_since = self.sending_since or now
        if now > self.sending_since + self.bounds.send_timeout:
            self.give_up()

    def give_up(self) -> None:
        self.cancel(ClientDisconnect())
