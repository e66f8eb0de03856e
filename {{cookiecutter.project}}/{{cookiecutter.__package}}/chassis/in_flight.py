"""A request in flight: it ends with its deadline or its client."""

import asyncio
import logging
import time
from contextlib import suppress

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from .bounds import Bounds
from .drain import Cut, Drain, StreamEnded, is_event_stream
from .watched import WatchedClient

# Seconds until a request that still runs is watched for its client going away: most have ended by
# then, and to watch takes half as long as a small request.
WATCH_AFTER = 0.2
END_TIMEOUT = 1.0  # seconds for the end of a stream to be sent
LAST_PART: Message = {"type": "http.response.body", "body": b"", "more_body": False}

logger = logging.getLogger(__name__)


class RequestInFlight(WatchedClient):
    """What limits and a drain do to a request; `receive` and `send` are its application's."""

    alone_since = 0.0  # when the check first saw that the client is served, or has gone

    def __init__(self, scope: Scope, receive: Receive, send: Send, bounds: Bounds) -> None:
        self.loop = asyncio.get_running_loop()
        self.task = asyncio.current_task(self.loop)
        self.scope = scope
        self.app = scope["app"] if "app" in scope else None  # A mounted one takes its place.
        self.receive_more = receive
        self.send_on = send
        self.bounds = bounds
        self.start = time.monotonic()

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
        self.check_listener(now)
        if self.response_complete or (self.client_gone and self.response_start):
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
        if drain.started and is_event_stream(self.response_start):
            self.cancel(StreamEnded())
        elif drain.over:
            self.cancel(Cut("The service ended before a response was complete"))
        elif self.sending:
            self.check_sending(now)
        self.watch()
