"""One line an event: JSON, or text on a terminal. A request's id stands in each of its events."""

import logging
import re
import sys
import time
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from secrets import token_hex

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import edge
from .errors import problem
from .settings import LOG_LEVEL

SANE_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)
logger = logging.getLogger(__package__)


AS_JSON = not sys.stderr.isatty()


def write_event(level: str, message: str, fields: Mapping[str, object]) -> None:
    """A line to the standard error stream: JSON, or for a terminal the message alone."""
    now = datetime.now(UTC)
    if AS_JSON:
        ids = {"request_id": request_id.get(), "trace_id": trace_id.get()}
        event = {"time": now, "level": level, "message": message, **ids, **fields}
        line = msgspec.json.encode(event).decode()
    else:
        line = f"{now:%H:%M:%S} {level.upper()} {message}"
    sys.stderr.write(line + "\n")


class Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        message, fields = record.getMessage(), {}
        if record.exc_info:
            fields["traceback"] = "".join(traceback.format_exception(*record.exc_info))
            message = message if AS_JSON else f"{message}\n{fields['traceback']}"
        write_event(record.levelname.lower(), message, fields)


def configure() -> None:
    """Sends what is logged to `write_event`, asyncio's complaints about lost errors too."""
    for each in (logger, logging.getLogger("asyncio")):
        each.handlers = [Handler()]
        each.propagate = False
    logger.setLevel(LOG_LEVEL.upper())


class RequestLog:
    """Logs each request with its route, status and time; answers 500 to an exception, and logs it.

    `X-Request-ID` is taken over if it is short and plain, made if not, and sent back.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        id_ = ""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                id_ = value.decode("latin-1")
        if not SANE_ID.fullmatch(id_):
            id_ = token_hex(16)
        token = request_id.set(id_)
        start = time.perf_counter()
        status = 0

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", id_.encode()))
                edge.complete(scope, message["headers"])
            await send(message)

        try:
            await self.app(scope, receive, note_status)
        except Exception:
            logger.exception("The request failed")
            if status:
                raise
            await problem(500, "The service failed; its log says why")(scope, receive, note_status)
        finally:
            if logger.isEnabledFor(logging.INFO):
                self.write(scope, status, time.perf_counter() - start)
            request_id.reset(token)

    def write(self, scope: Scope, status: int, seconds: float) -> None:
        """Past `logging`, whose record alone would take as long as all the rest of the request."""
        # The template of the path, not the path: what is in it may be private, and is a label.
        route = getattr(scope.get("route"), "path", None)
        fields = {
            "method": scope["method"],
            "route": route,
            "status": status or None,
            "milliseconds": round(seconds * 1000, 1),
            "protocol": f"HTTP/{scope['http_version']}",
            "client": (scope.get("client") or [None])[0],
        }
        message = f"{scope['method']} {route} {status} in {fields['milliseconds']} ms"
        write_event("info", message, fields)
