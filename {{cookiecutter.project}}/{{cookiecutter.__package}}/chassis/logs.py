"""One line an event: JSON, or text on a terminal. A request's id stands in each of its events."""

import json
import logging
import sys
import traceback
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime

import msgspec

from .request_id import request_id

# What an event or every record has: any other attribute of a record came by `extra`.
RESERVED = {"time", "level", "message", "request_id", "trace_id", "asctime", "taskName"}
RESERVED |= logging.makeLogRecord({}).__dict__.keys()

trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)
encoder = msgspec.json.Encoder(enc_hook=str)


class Output:
    """Standard error. Lines that it does not take are lost, and counted; nobody waits or fails."""

    as_json = True
    lost = 0

    def write(self, lines: str) -> None:
        try:
            sys.stderr.write(lines)
        except (OSError, ValueError):
            self.lost += lines.count("\n")
            return
        if self.lost:
            with suppress(OSError, ValueError):
                sys.stderr.write(format_event("error", f"{self.lost} lines of the log were lost"))
                self.lost = 0


output = Output()


def format_event(level: str, message: str, **fields: object) -> str:
    """A line: JSON, or for a terminal the message, and the id of a request that failed."""
    now = datetime.now(UTC)
    id_ = request_id.get()
    if not output.as_json:
        ending = f" [{id_}]" if id_ and level in {"error", "critical"} else ""
        return f"{now:%H:%M:%S} {level.upper()} {message}{ending}\n"
    event = {
        "time": now,
        "level": level,
        "message": message,
        "request_id": id_,
        "trace_id": trace_id.get(),
        **fields,
    }
    try:
        return encoder.encode(event).decode() + "\n"
    except (TypeError, ValueError, RecursionError):  # as a lone surrogate, which is no UTF-8
        return json.dumps({name: str(value) for name, value in event.items()}) + "\n"


class EventHandler(logging.Handler):
    """Never raises into its caller, whose work does not depend on the log."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format_record(record)
        except Exception as error:
            place = f"{record.pathname}:{record.lineno}"
            line = format_event("error", f"{place} logs what fails with {type(error).__name__}")
        output.write(line)

    def format_record(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        fields = {k: v for k, v in record.__dict__.items() if k not in RESERVED}
        if not output.as_json:
            message += "".join(f" {name}={value}" for name, value in fields.items())
        if record.exc_info:
            fields["traceback"] = "".join(traceback.format_exception(*record.exc_info))
            message = message if output.as_json else f"{message}\n{fields['traceback']}"
        return format_event(record.levelname.lower(), message, **fields)


def configure(package: str, level: str) -> logging.Logger:
    """Makes all that the process logs events: of the package from `level` on, else warnings.

    The logger of the package.
    """
    output.as_json = not sys.stderr.isatty()
    root = logging.getLogger()
    if not any(isinstance(handler, EventHandler) for handler in root.handlers):
        root.addHandler(EventHandler())
    logger = logging.getLogger(package)
    logger.setLevel(level.upper())
    root.setLevel(max(logging.WARNING, logger.level))
    return logger
