"""One line an event: JSON, or text on a terminal. A request's id stands in each of its events."""

import asyncio
import logging
import re
import sys
import time
import traceback
from collections.abc import Awaitable
from contextvars import ContextVar
from datetime import UTC, datetime
from os import urandom

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import edge
from .errors import problem
from .settings import LOG_LEVEL

SANE_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)
logger = logging.getLogger(__package__)

AS_JSON = not sys.stderr.isatty()


def format_event(level: str, message: str, **fields: object) -> str:
    """A line: JSON, or for a terminal the message alone."""
    now = datetime.now(UTC)
    if not AS_JSON:
        return f"{now:%H:%M:%S} {level.upper()} {message}\n"
    event = {
        "time": now,
        "level": level,
        "message": message,
        "request_id": request_id.get(),
        "trace_id": trace_id.get(),
        **fields,
    }
    return msgspec.json.encode(event).decode() + "\n"


class Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        message, fields = record.getMessage(), {}
        if record.exc_info:
            fields["traceback"] = "".join(traceback.format_exception(*record.exc_info))
            message = message if AS_JSON else f"{message}\n{fields['traceback']}"
        sys.stderr.write(format_event(record.levelname.lower(), message, **fields))


def configure() -> None:
    """Sends what is logged, asyncio's complaints about lost errors too, to `Handler`."""
    for each in (logger, logging.getLogger("asyncio")):
        each.handlers = [Handler()]
        each.propagate = False
    logger.setLevel(LOG_LEVEL.upper())


class RequestLog:
    """Logs each request with its route, status and time; answers what is raised around the routes.

    `X-Request-ID` is taken over if it is short and plain, made if not, and sent back where the
    client gave it or may ask about the answer, an error: HTTP/2 codes a value that it has not seen
    before for 20 µs.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.lines: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = ""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                given = value.decode("latin-1")
        id_ = given if given and SANE_ID.fullmatch(given) else urandom(16).hex()
        token = request_id.set(id_)
        start = time.perf_counter()
        status = 0

        def note_status(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if given or status >= 400:
                    message["headers"].append((b"x-request-id", id_.encode()))
                edge.complete(scope, message["headers"])
            return send(message)

        try:
            await self.app(scope, receive, note_status)
        except ClientDisconnect:
            pass  # Nobody is there to be answered.
        except Exception as error:
            if isinstance(error, HTTPException) and not status:
                answer = problem(error.status_code, error.detail, error.headers)
            else:
                logger.exception("The request failed")
                answer = problem(500, "The service failed; its log says why")
            if status:
                raise
            await answer(scope, receive, note_status)
        finally:
            if logger.isEnabledFor(logging.INFO):
                self.log(scope, status, time.perf_counter() - start)
            request_id.reset(token)

    def log(self, scope: Scope, status: int, seconds: float) -> None:
        """Past `logging`, whose record alone would take as long as all the rest of the request.

        Requests that end together are written together, when the event loop comes round.
        """
        # The template of the path, not the path: what is in it may be private, and is a label.
        route = getattr(scope.get("route"), "path", None)
        milliseconds = int(seconds * 10_000) / 10
        line = format_event(
            "info",
            f"{scope['method']} {route} {status} in {milliseconds} ms",
            method=scope["method"],
            route=route,
            status=status or None,
            milliseconds=milliseconds,
            protocol=f"HTTP/{scope['http_version']}",
            client=(scope.get("client") or [None])[0],
        )
        if not self.lines:
            asyncio.get_running_loop().call_soon(self.write)
        self.lines.append(line)

    def write(self) -> None:
        lines, self.lines = self.lines, []
        sys.stderr.write("".join(lines))
