"""The client of a request: it is sent the response, and may go at any time."""

import asyncio
import time
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Message, Send

from .bounded_body import BoundedBody
from .bounds import InFlight

YIELD_AFTER = 0.001  # seconds a stream may keep the loop to itself: servers need not suspend it
DISCONNECT_GRACE = 1.0  # seconds for whoever listens to end what sends to a client that has gone
LISTEN_GRACE = 5.0  # seconds until an application that has listened before listens again


class WatchedClient(InFlight, BoundedBody):
    """`receive` and `send` are those of the application."""

    send_on: Send
    loop: asyncio.AbstractEventLoop
    response_start: Message | None = None
    response_ends = False  # its last part is being sent
    response_complete = False
    yielded_at = 0.0  # when the loop last ran while it sent
    sender: asyncio.Task[Any] | None = None
    given_up: int | None = None  # where its client is: how often the sender was cancelled before
    listens = False  # It has called `receive` after the body: for the disconnect.
    disconnect_received = False  # by the application
    gone_since = 0.0  # when the check first saw that the client had gone
    watcher: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        """The body, and then that the client has gone, when it has."""
        body, self.body = self.body, None
        if body is None and not self.accepted:
            try:
                body = await self.read_part()
            except ClientDisconnect:
                self.disconnect_received = True
                return {"type": "http.disconnect"}
            if self.is_large():
                await self.drop_rest()
                raise self.too_large()
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": not self.accepted}
        self.listens = True
        # Else at once: `is_disconnected` hears nothing that it would have to wait for.
        if not (self.client_gone or self.watch().done()):
            await asyncio.wait([self.watch()])
        self.disconnect_received = True
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Raises `ClientDisconnect` where nobody is there and it is not the end."""
        kind, goes_on = message["type"], message.get("more_body", False)
        if kind == "http.response.start":
            if not self.accepted:
                await self.drop_rest()
            self.response_start = message
        else:
            self.response_ends = kind == "http.response.pathsend" or (
                kind == "http.response.body" and not goes_on
            )
            if goes_on:
                await self.yield_to_loop()
        if self.client_gone and kind != "http.response.start":
            self.response_complete = self.response_ends
            return
        # Without the loop it would look for it, in each message of each response.
        self.sender, self.sending_since = asyncio.current_task(self.loop), 0.0
        self.sending = True
        try:
            await self.send_on(message)
        except OSError:
            raise ClientDisconnect from None
        except asyncio.CancelledError:
            if self.given_up is None or not self.sender or self.sender.uncancel() > self.given_up:
                raise
        self.sending = False
        self.response_complete = self.response_ends

    async def yield_to_loop(self) -> None:
        """Lets the loop run, and ends what goes on without its client."""
        if self.client_gone:
            await asyncio.sleep(DISCONNECT_GRACE)
            raise ClientDisconnect
        if (now := time.monotonic()) > self.yielded_at + YIELD_AFTER:
            self.yielded_at = now
            await asyncio.sleep(0)

    def give_up(self) -> None:
        """As if the client had closed: what sends returns, so that a background task runs."""
        if self.sender and self.given_up is None:
            self.client_gone = True
            self.given_up = self.sender.cancelling()
            self.sender.cancel()
            self.watch().cancel()  # This tells whoever listens.

    def watch(self) -> asyncio.Task[None]:
        if not self.watcher:
            self.watcher = asyncio.create_task(self.wait_for_disconnect())
        return self.watcher

    async def wait_for_disconnect(self) -> None:
        """Where the application listens it is told; else it is cancelled."""
        while (await self.receive_more())["type"] != "http.disconnect":
            pass
        if not self.response_ends:
            self.client_gone = True
            if not self.listens:
                self.cancel(ClientDisconnect())

    def check_listener(self, now: float) -> None:
        """Cancels what has listened for its client to go, and does not any more."""
        if self.client_gone and not (self.disconnect_received or self.response_ends):
            self.gone_since = self.gone_since or now
            if now > self.gone_since + LISTEN_GRACE:
                self.cancel(ClientDisconnect())
