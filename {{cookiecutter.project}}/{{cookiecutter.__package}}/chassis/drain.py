"""The end of a process: it goes on serving until no request is in flight."""

import asyncio
import logging
import signal
import time
from dataclasses import dataclass

from starlette.types import Message, Receive, Send

from .error_groups import find_cause

# Seconds without a request until the end: the last frames of an HTTP/2 response leave after the
# application has returned.
QUIET = 0.2
INTERVAL = 0.02  # seconds; an event would cost each request something
CUT = 1.0  # seconds for what is cut at the end to be cleaned up and logged

logger = logging.getLogger(__name__)


def is_event_stream(start: Message | None) -> bool:
    """Whether a response, by its first message, lasts as long as its client.

    https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
    """
    headers = start.get("headers", ()) if start else ()
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in headers
    )


class StreamEnded(Exception):
    """The service ends, and with it a response that lasts as long as its client."""


class Cut(Exception):
    """What is lost by that is an error of the service."""


@dataclass
class Drain:
    """How many requests are `in_flight`, without probes, and how far the end is.

    Once it has `started`, what lasts as long as its client is ended; once its time is `over`,
    whatever is left.
    """

    in_flight: int = 0
    started: bool = False
    over: bool = False

    async def run(self, max_seconds: float) -> None:
        """Returns when no request came for `QUIET`, or after `max_seconds` and `CUT`."""
        self.started = True
        start = busy = time.monotonic()
        while busy + QUIET > time.monotonic() < start + max_seconds + CUT:
            self.over = time.monotonic() > start + max_seconds
            await asyncio.sleep(INTERVAL)
            if self.in_flight:
                busy = time.monotonic()

    def delay_end(self, receive: Receive, send: Send, max_seconds: float) -> tuple[Receive, Send]:
        """What the lifespan receives, its end when nothing is in flight; and what it sends.

        A server need not wait for what runs on after its responses, and goes on to serve where the
        lifespan has failed meanwhile, as a job beside its `yield` may: that ends the process.
        """
        ending = False

        async def receive_event() -> Message:
            nonlocal ending
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                ending = True
                if self.in_flight:
                    await self.run(max_seconds)
            return message

        async def send_event(message: Message) -> None:
            if message["type"] == "lifespan.shutdown.failed" and not ending:
                logger.error("The service ends: %s", find_cause(message["message"]))
                if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:  # A server handles it.
                    signal.raise_signal(signal.SIGTERM)
            await send(message)

        return receive_event, send_event
