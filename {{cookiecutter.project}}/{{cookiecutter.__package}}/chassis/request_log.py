"""One event a request."""

import asyncio
import logging
import time
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .logs import format_event, output
from .routes import find_template


class RequestLog:
    """Logs each request with its route, status and time, at the level info of `logger`."""

    def __init__(self, app: ASGIApp, logger: logging.Logger) -> None:
        self.app = app
        self.logger = logger
        self.lines: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self.logger.isEnabledFor(logging.INFO):
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        status = None

        def note_status(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            return send(message)

        try:
            await self.app(scope, receive, note_status)
        finally:
            self.log(scope, status, time.perf_counter() - start)

    def log(self, scope: Scope, status: int | None, seconds: float) -> None:
        """Past `logging`, whose record alone would take as long as all the rest of the request.

        Requests that end together are written together, when the event loop comes round.
        """
        # The template of the path, not the path: what is in it may be private, and is a label.
        route = find_template(scope)
        milliseconds = int(seconds * 10_000) / 10
        line = format_event(
            "info",
            f"{scope['method']} {route} {status or 0} in {milliseconds} ms",
            method=scope["method"],
            route=route,
            status=status,
            milliseconds=milliseconds,
            protocol=f"HTTP/{scope['http_version']}",
            client=(scope.get("client") or [None])[0],
        )
        if not self.lines:
            asyncio.get_running_loop().call_soon(self.write)
        self.lines.append(line)

    def write(self) -> None:
        lines, self.lines = self.lines, []
        output.write("".join(lines))
