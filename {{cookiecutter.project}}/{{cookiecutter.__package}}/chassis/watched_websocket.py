"""The messages of a WebSocket, and how far its end is known on both sides."""

import asyncio
from typing import Any

from starlette.types import Message, Receive, Send

from .bounds import InFlight


class WatchedWebSocket(InFlight):
    """`receive` and `send` are those of the application."""

    receive_more: Receive
    send_on: Send
    accepted = False
    closed = False
    gone = False  # The client has closed it too.
    ended: asyncio.Future[int]  # with the code
    engaged = False  # It has received a message, or knows of the end: what it does now is work.
    listening = 0
    # At most one message ahead of the application: else a client that goes is not noticed.
    next: asyncio.Task[Message] | None = None

    def look(self) -> asyncio.Task[Message]:
        if not self.next:
            self.next = asyncio.ensure_future(self.receive_more())
            self.next.add_done_callback(self.note_disconnect)
        return self.next

    def note_disconnect(self, task: asyncio.Task[Message]) -> None:
        if not task.cancelled() and not task.exception():
            self.gone = self.gone or task.result()["type"] == "websocket.disconnect"
            self.closed = self.closed or self.gone

    async def receive(self) -> Message:
        self.listening += 1
        waited: list[asyncio.Future[Any]] = [self.look(), self.ended]
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.listening -= 1
        if self.ended.done():
            self.engaged = True
            return {"type": "websocket.disconnect", "code": self.ended.result(), "reason": ""}
        message, self.next = self.look().result(), None
        self.engaged = message["type"] != "websocket.connect"
        return message

    async def send(self, message: Message) -> None:
        """Raises `OSError` where nobody is there, as ASGI has it."""
        kind = message["type"]
        self.engaged = self.engaged or self.closed
        if self.closed:
            if kind == "websocket.close":
                return
            raise OSError("The WebSocket is closed")
        if self.accepted and kind.startswith("websocket.http."):
            raise RuntimeError("What is accepted cannot be refused")
        if kind == "websocket.accept":
            self.accepted = True
        elif kind == "websocket.close" or kind == "websocket.http.response.body":
            self.closed = self.engaged = not message.get("more_body", False)
        self.sending, self.sending_since = True, 0.0
        await self.send_on(message)
        self.sending = False
