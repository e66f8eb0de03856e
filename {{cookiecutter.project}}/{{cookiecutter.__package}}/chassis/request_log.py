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
            f"{scope['method']} {route or '-'} {status or 0} in {milliseconds} ms",
            method=scope["method"],
            route=route,
            status=status,
            milliseconds=milliseconds,
            protocol=f"HTTP/{scope['http_version']}",
            client=(scope.get("client") or [None])[0],
        )
        self.append(line)

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
            route = find_template(scope)
            milliseconds = int((time.perf_counter() - start) * 10_000) / 10
            received, sent = seen["websocket.receive"], seen["websocket.send"]
            messages = f"{received} messages received, {sent} sent"
            line = format_event(
                "info",
                f"WEBSOCKET {route or '-'} {code or 0} in {milliseconds} ms, {messages}",
                route=route,
                code=code,
                milliseconds=milliseconds,
                received=received,
                sent=sent,
                protocol=f"HTTP/{scope.get('http_version', '1.1')}",
                client=(scope.get("client") or [None])[0],
            )
            self.append(line)

    def append(self, line: bytes) -> None:
        if not self.lines:
            asyncio.get_running_loop().call_soon(self.write)
        self.lines.append(line)

    def write(self) -> None:
        lines, self.lines = self.lines, []
        output.write(b"".join(lines))
