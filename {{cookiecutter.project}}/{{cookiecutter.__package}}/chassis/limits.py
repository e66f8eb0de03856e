"""What bounds a request, where the server does not: its body, its time, the number in flight."""

import asyncio
import logging
import time
from collections.abc import Container

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from .bounds import Bounds, Held, too_many
from .drain import Drain
from .edge import check_origin, is_one_of
from .in_flight import RequestInFlight
from .route_limits import BODY_TIMEOUT
from .websockets import WebSocketInFlight

MAX_BODY_SIZE = 1 << 20  # bytes
SEND_TIMEOUT = 60.0  # seconds
MAX_IN_FLIGHT = 2000
CHECK_INTERVAL = 0.1  # seconds between looks at all requests: timers of each would cost more
LENGTHS = {b"transfer-encoding", b"content-length"}

logger = logging.getLogger(__name__)


class Limits:
    """Reads the body before the application runs; ends what takes too long or has no client left.

    `request_timeout` seconds are from the end of the body to the beginning of the response, which
    then lasts as long as its client takes it; what runs on after it has `background_timeout`. All
    bodies together may have `body_memory` MiB. See `RouteLimits` for those of a route. `probes` are
    paths that are not counted; pages of `origins` and of the service itself may open WebSockets.
    Raises `HTTPException`: 400, 408, 413, 503, 504, or `ClientDisconnect`, which nobody can hear.
    What fails later is logged.
    """

    problems = (400, 408, 413, 503, 504)

    def __init__(
        self,
        app: ASGIApp,
        drain: Drain,
        probes: Container[str],
        request_timeout: float,
        background_timeout: float,
        body_memory: int,
        origins: Container[str] = (),
        body_timeout: float = BODY_TIMEOUT,
        max_body_size: int = MAX_BODY_SIZE,
        send_timeout: float = SEND_TIMEOUT,
        max_in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        self.app = app
        self.drain, self.probes, self.origins = drain, probes, origins
        held = Held(body_memory << 20)
        self.bounds = Bounds(
            max_body_size, body_timeout, request_timeout, send_timeout, background_timeout, held
        )
        self.max_in_flight = max_in_flight
        self.requests: set[RequestInFlight | WebSocketInFlight] = set()
        self.checking: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await self.serve_websocket(WebSocketInFlight(scope, receive, send, self.bounds))
            else:
                most = self.bounds.request_timeout + self.bounds.background_timeout
                await self.app(scope, *self.drain.delay_end(receive, send, most))
            return
        request = RequestInFlight(scope, receive, send, self.bounds)
        counted = not is_one_of(self.probes, scope)
        self.drain.in_flight += counted
        self.requests.add(request)
        if self.checking is not request.loop:
            self.begin_to_check(request.loop)
        try:
            try:
                lengths = {name for name, _ in scope["headers"] if name in LENGTHS}
                if lengths or scope["http_version"] not in {"1.0", "1.1"}:
                    await request.read_body()
                else:  # There is none: https://www.rfc-editor.org/rfc/rfc9112#section-6.3
                    request.body, request.accepted = b"", request.start
                if counted and self.drain.in_flight > self.max_in_flight:
                    raise too_many()
                if lengths == LENGTHS:
                    # A proxy may believe the other one: RFC 9112, section 6.1
                    raise request.refuse(400, "The body has two lengths")
                await request.own(self.app(scope, request.receive, request.send))
            except Exception:
                await request.drop_rest()
                raise
        except asyncio.CancelledError:
            if not request.cancelled_by or not request.task:
                if request.response_complete:
                    logger.error("The server cut what ran on after the response")
                raise
            request.task.uncancel()
            await request.conclude(request.cancelled_by)
        except Exception as error:
            if not request.response_start or isinstance(error, ClientDisconnect):
                raise
            # Not for the server, which would log it again; it sees that the response has no end.
            after = "What ran on after the response" if request.response_complete else "A response"
            logger.exception("%s failed", after)
        finally:
            self.drain.in_flight -= counted
            self.requests.discard(request)
            self.bounds.held.size -= request.held
            if request.watcher:
                request.watcher.cancel()

    async def serve_websocket(self, websocket: WebSocketInFlight) -> None:
        self.drain.in_flight += 1
        self.requests.add(websocket)
        loop = asyncio.get_running_loop()
        if self.checking is not loop:
            self.begin_to_check(loop)

        async def enter(scope: Scope, receive: Receive, send: Send) -> None:
            if self.drain.in_flight > self.max_in_flight:
                raise too_many()
            check_origin(scope, self.origins)
            await self.app(scope, receive, send)

        try:
            await websocket.run(enter)
        finally:
            self.drain.in_flight -= 1
            self.requests.discard(websocket)
            if websocket.next:
                websocket.next.cancel()

    def begin_to_check(self, loop: asyncio.AbstractEventLoop) -> None:
        self.checking = loop
        loop.call_later(CHECK_INTERVAL, self.check, loop)

    def check(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.requests:
            loop.call_later(CHECK_INTERVAL, self.check, loop)
        else:
            self.checking = None
        now = time.monotonic()
        for request in self.requests:
            try:
                request.check(now, self.drain)
            except Exception:
                logger.exception("The limits of a request could not be checked")
