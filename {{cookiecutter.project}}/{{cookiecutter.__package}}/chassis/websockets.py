"""A WebSocket in flight: it lasts as long as its client, and ends in order with the service."""

import asyncio
import logging
import time
from contextlib import suppress

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.status import WS_1000_NORMAL_CLOSURE, WS_1011_INTERNAL_ERROR, WS_1012_SERVICE_RESTART
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from . import errors
from .bounds import Bounds
from .drain import Cut, Drain
from .watched_websocket import WatchedWebSocket

END_TIMEOUT = 1.0  # seconds for the application to end after its WebSocket

logger = logging.getLogger(__name__)


class WebSocketInFlight(WatchedWebSocket):
    """What limits and a drain do to a WebSocket; `receive` and `send` are its application's."""

    ended_since = 0.0  # when the check first saw that it was closed
    closing: asyncio.Task[None] | None = None

    def __init__(self, scope: Scope, receive: Receive, send: Send, bounds: Bounds) -> None:
        self.task = asyncio.current_task()
        self.scope = scope
        self.receive_more = receive
        self.send_on = send
        self.bounds = bounds
        self.start = time.monotonic()
        self.ended = asyncio.get_running_loop().create_future()  # with the code

    async def run(self, app: ASGIApp) -> None:
        """What fails is logged here, not a second time by the server."""
        code = WS_1000_NORMAL_CLOSURE
        try:
            await self.own(app(self.scope, self.receive, self.send))
            if not (self.accepted or self.closed):
                raise RuntimeError("It was neither accepted nor refused")
        except asyncio.CancelledError:
            if not self.cancelled_by or not self.task:
                raise
            self.task.uncancel()
            code = WS_1012_SERVICE_RESTART
            if isinstance(self.cancelled_by, Cut):
                logger.error("%s", self.cancelled_by)
        except (ClientDisconnect, WebSocketDisconnect):
            pass
        except Exception as error:
            known = isinstance(error, HTTPException) and not self.accepted
            if not known:
                logger.exception("A WebSocket failed")
                code = WS_1011_INTERNAL_ERROR
            if not (self.accepted or self.closed):
                await self.refuse(error if isinstance(error, HTTPException) else errors.FAILED)
        if self.accepted or self.cancelled_by:
            await self.close(code)
            if self.scope.get("http_version") == "2":
                await self.wait_for_client()

    async def refuse(self, error: HTTPException) -> None:
        if "websocket.http.response" in (self.scope.get("extensions") or {}):
            await errors.answer(error)(self.scope, self.receive, self.send_on)
        else:
            await self.close(WS_1000_NORMAL_CLOSURE)  # Before it is accepted, it is a 403.

    async def close(self, code: int) -> None:
        if not self.closed:
            self.closed = True
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(END_TIMEOUT):
                    await self.send_on({"type": "websocket.close", "code": code, "reason": ""})
        if not self.ended.done():
            self.ended.set_result(code)

    async def wait_for_client(self) -> None:
        """For its closing frame: one that comes later ends Hypercorn's connection, with all that
        is in flight on it."""
        self.task = None  # Nobody else is to end it.
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(END_TIMEOUT):
                while not self.gone:
                    await self.look()
                    self.next = None

    def check(self, now: float, drain: Drain) -> None:
        """Ends it where it is late, gone, or the last one."""
        if self.closed:
            self.ended_since = self.ended_since or now
            working = self.engaged and not self.listening
            seconds = self.bounds.background_timeout if working else END_TIMEOUT
            if drain.over or now > self.ended_since + seconds:
                cut = Cut("What ran on after a WebSocket was cut")
                self.cancel(cut if working else ClientDisconnect())
        elif not self.accepted:
            if drain.over or now > self.start + self.bounds.request_timeout:
                self.cancel(Cut("A WebSocket was not accepted in time"))
        elif drain.started:
            self.closing = self.closing or asyncio.create_task(self.close(WS_1012_SERVICE_RESTART))
        elif self.sending:
            self.check_sending(now)
        elif now > self.start + END_TIMEOUT:
            self.look()
