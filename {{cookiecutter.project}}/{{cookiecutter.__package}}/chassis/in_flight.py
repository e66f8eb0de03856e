"""A request in flight: it ends with its deadline or its client."""

import asyncio
import logging
import time
from contextlib import suppress

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from .bounded_body import BoundedBody
from .bounds import Bounds, InFlight
from .drain import Cut, Drain, StreamEnded

# Seconds until a request that still runs is watched for its client going away: most have ended by
# then, and to watch takes half as long as a small request.
WATCH_AFTER = 0.2
END_TIMEOUT = 1.0  # seconds for the end of a stream to be sent
LAST_PART: Message = {"type": "http.response.body", "body": b"", "more_body": False}

logger = logging.getLogger(__name__)


class RequestInFlight(InFlight, BoundedBody):
    """What limits and a drain do to a request; `receive` and `send` are its application's."""

    response_start: Message | None = None
    response_ends = False  # its last part is being sent
    response_complete = False
    alone_since = 0.0  # when the check first saw one of these two
    listening = 0  # calls of `receive` that wait for the client to go
    watcher: asyncio.Task[None] | None = None

    def __init__(self, scope: Scope, receive: Receive, send: Send, bounds: Bounds) -> None:
        self.task = asyncio.current_task()
        self.scope = scope
        self.app = scope["app"] if "app" in scope else None  # A mounted one takes its place.
        self.receive_more = receive
        self.send_on = send
        self.bounds = bounds
        self.start = time.monotonic()

    async def receive(self) -> Message:
        """The body, and then that the client has gone, when it has."""
        body, self.body = self.body, None
        if body is None and not self.accepted:
            try:
                body = await self.read_part()
            except ClientDisconnect:
                return {"type": "http.disconnect"}
            if self.is_large():
                await self.drop_rest()
                raise self.too_large()
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": not self.accepted}
        self.listening += 1
        try:
            await asyncio.wait([self.watch()])
        finally:
            self.listening -= 1
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Raises `ClientDisconnect` where the server tells that nobody is there."""
        kind = message["type"]
        if kind == "http.response.start":
            if not self.accepted:
                await self.drop_rest()
            self.response_start = message
        else:
            self.response_ends = kind == "http.response.pathsend" or (
                kind == "http.response.body" and not message.get("more_body", False)
            )
        self.sending, self.sending_since = True, 0.0
        try:
            await self.send_on(message)
        except OSError:
            raise ClientDisconnect from None
        self.sending = False
        self.response_complete = self.response_ends

    def lasts_as_long_as_its_client(self) -> bool:
        """https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream"""
        headers = self.response_start.get("headers", ()) if self.response_start else ()
        return any(
            name.lower() == b"content-type" and value.startswith(b"text/event-stream")
            for name, value in headers
        )

    async def conclude(self, reason: Exception) -> None:
        """Ends what was cancelled for this reason, or raises it where it is the answer."""
        if isinstance(reason, StreamEnded):
            with suppress(OSError):
                async with asyncio.timeout(END_TIMEOUT):
                    await self.send_on(LAST_PART)
        elif isinstance(reason, Cut):
            logger.error("%s", reason)
        else:
            raise reason from None

    def check(self, now: float, drain: Drain) -> None:
        """Cancels it where it is late, and begins to watch its client.

        What runs on after a complete response, as a background task, is not the client's any more.
        """
        if now > self.start + WATCH_AFTER:
            self.use_route_limits()
        if self.response_complete or self.client_gone:
            self.alone_since = self.alone_since or now
            seconds = self.bounds.background_timeout
            if drain.over:
                self.cancel(Cut("The service ended before what ran on after the response"))
            elif now > self.alone_since + seconds:
                self.cancel(Cut(f"What ran on after the response took over {seconds:g} s: cut"))
        elif not self.accepted:
            if drain.over or now > self.start + self.bounds.body_timeout:
                slow = self.refuse(408, "The body took too long")
                self.cancel(self.too_large() if self.is_large() else slow)
        elif not self.response_start:
            seconds = self.bounds.request_timeout
            if drain.over or now > self.accepted + seconds:
                self.cancel(HTTPException(504, f"The request took over {seconds:g} s"))
            elif not self.watcher and now > self.start + WATCH_AFTER:
                self.watch()
        else:
            self.check_response(now, drain)

    def check_response(self, now: float, drain: Drain) -> None:
        if drain.started and self.lasts_as_long_as_its_client():
            self.cancel(StreamEnded())
        elif drain.over:
            self.cancel(Cut("The service ended before a response was complete"))
        elif self.sending:
            self.check_sending(now)
        self.watch()

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
            if not self.listening:
                self.cancel(ClientDisconnect())
