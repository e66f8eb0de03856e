"""One event a request, and one a WebSocket, at its end."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .logs import format_event, output
from .routes import find_template


class RequestLog:
    """Logs each request with its route, status and time, at the level info of `logger`."""

    def __init__(self, app: ASGIApp, logger: logging.Logger) -> None:
        self.app = app
        self.logger = logger
        self.lines: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or not self.logger.isEnabledFor(logging.INFO):
            await self.app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self.log_websocket(scope, receive, send)
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
            method = scope["method"]
            self.log(scope, start, method, status, method=method, status=status)

    async def log_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """At its end, with its code, or the status with which it was refused."""
        start = time.perf_counter()
        seen = Counter[str]()
        code = None

        async def note_received() -> Message:
            nonlocal code
            message = await receive()
            seen[message["type"]] += 1
            code = code or message.get("code")
            return message

        def note_sent(message: Message) -> Awaitable[None]:
            nonlocal code
            seen[message["type"]] += 1
            if message["type"] == "websocket.close":
                code = code or (message.get("code", 1000) if seen["websocket.accept"] else 403)
            elif message["type"] == "websocket.http.response.start":
                code = message["status"]
            return send(message)

        try:
            await self.app(scope, note_received, note_sent)
        finally:
            counts = {"received": seen["websocket.receive"], "sent": seen["websocket.send"]}
            more = f", {counts['received']} messages received, {counts['sent']} sent"
            self.log(scope, start, "WEBSOCKET", code, more, code=code, **counts)

    def log(
        self,
        scope: Scope,
        start: float,
        kind: str,
        result: int | None,
        more: str = "",
        **fields: object,
    ) -> None:
        """Past `logging`, whose record alone would take as long as all the rest of the request.

        Requests that end together are written together, when the event loop comes round.
        """
        milliseconds = int((time.perf_counter() - start) * 10_000) / 10
        # The template of the path, not the path: what is in it may be private, and is a label.
        route = find_template(scope)
        line = format_event(
            "info",
            f"{kind} {route or '-'} {result or 0} in {milliseconds} ms{more}",
            route=route,
            milliseconds=milliseconds,
            protocol=f"HTTP/{scope.get('http_version', '1.1')}",
            client=(scope.get("client") or [None])[0],
            **fields,
        )
        if not self.lines:
            asyncio.get_running_loop().call_soon(self.write)
        self.lines.append(line)

    def write(self) -> None:
        lines, self.lines = self.lines, []
        output.write(b"".join(lines))
