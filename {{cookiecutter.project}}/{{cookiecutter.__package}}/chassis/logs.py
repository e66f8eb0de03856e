"""One line an event: JSON, or text on a terminal. A request's id stands in each of its events."""

import json
import logging
import sys
import threading
import traceback
from contextvars import ContextVar
from copy import copy
from datetime import UTC, datetime
from types import TracebackType

import msgspec

from .log_output import Output
from .request_id import request_id

# What any record has: any other attribute came by `extra`, and is a field of the event,
RECORD_FIELDS = {"message", "asctime", *logging.makeLogRecord({}).__dict__}
# under another name where the event has its own.
EVENT_FIELDS = {"time", "level", "request_id", "trace_id", "traceback", "stack"}

trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)
encoder = msgspec.json.Encoder(enc_hook=str)
logger = logging.getLogger(__name__)
configured: set[str] = set()  # The packages for which that has been done.


def tell_loss(number: int) -> bytes:
    return format_event("error", f"{number} lines of the log were lost")


output = Output(tell_loss)


def format_event(level: str, message: str, **fields: object) -> bytes:
    """A line: JSON, or for a terminal the message, and the id of a request that failed."""
    now = datetime.now(UTC)
    id_ = request_id.get()
    if output.is_terminal:
        ending = f" [{id_}]" if id_ and level in {"error", "critical"} else ""
        line = f"{now:%H:%M:%S} {level.upper()} {message}{ending}\n"
        return line.encode(errors="backslashreplace")
    event = {
        "time": now,
        "level": level,
        "message": message,
        "request_id": id_,
        "trace_id": trace_id.get(),
        **fields,
    }
    try:
        return encoder.encode(event) + b"\n"
    except (TypeError, ValueError, RecursionError):  # as a lone surrogate, which is no UTF-8
        plain = {
            name: value if isinstance(value, int | None) else str(value)
            for name, value in event.items()
        }
        return json.dumps(plain).encode() + b"\n"


class EventHandler(logging.Handler):
    """Never raises into its caller, whose work does not depend on the log."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format_record(record)
        except Exception as error:
            line = self.format_failed(record, type(error).__name__)
        output.write(line)

    def flush(self) -> None:
        """At the exit of the process, by `logging` itself."""
        output.flush(seconds=1)

    def format_failed(self, record: logging.LogRecord, name: str) -> bytes:
        """With the message as it was given, and the traceback, where these do not fail too."""
        text = f"{record.pathname}:{record.lineno} logs what fails with {name}"
        failed = copy(record)
        try:
            failed.levelname, failed.args = "ERROR", None
            failed.msg = f"{text}: {record.msg}"
            return self.format_record(failed)
        except Exception:
            return format_event("error", text)

    def format_record(self, record: logging.LogRecord) -> bytes:
        message = record.getMessage()
        fields = {
            f"{name}_" if name in EVENT_FIELDS else name: value
            for name, value in record.__dict__.items()
            if name not in RECORD_FIELDS
        }
        if output.is_terminal:
            message += "".join(f" {name}={value}" for name, value in fields.items())
        if record.stack_info:
            fields["stack"] = record.stack_info
        if record.exc_info:
            fields["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        if output.is_terminal:
            texts = [str(fields[name]) for name in ("stack", "traceback") if name in fields]
            message = "\n".join([message, *texts])
        return format_event(record.levelname.lower(), message, **fields)


def log_uncaught(
    type_: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if not issubclass(type_, KeyboardInterrupt):  # Ctrl-C is no error.
        logger.error("An error was not caught", exc_info=(type_, error, trace))


def log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread else "a thread"
    error = args.exc_value or args.exc_type()
    logger.error("%s failed", name, exc_info=(args.exc_type, error, args.exc_traceback))


def log_unraisable(args: "sys.UnraisableHookArgs") -> None:
    error = args.exc_value or args.exc_type()
    exc_info = (args.exc_type, error, args.exc_traceback)
    logger.error("%s %r", args.err_msg or "An error was ignored in", args.object, exc_info=exc_info)


def configure(package: str, level: str) -> logging.Logger:
    """Makes all that the process logs events: of the package from `level` on, else warnings.

    Python's own warnings too, and errors that nobody caught. A second call changes nothing: what
    an owner has set up meanwhile stays. The logger of the package.
    """
    package_logger = logging.getLogger(package)
    if package in configured:
        return package_logger
    configured.add(package)
    if output.fd is None:
        output.open()
    root = logging.getLogger()
    if not any(isinstance(handler, EventHandler) for handler in root.handlers):
        root.addHandler(EventHandler())
    logging.captureWarnings(True)
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = log_uncaught
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = log_uncaught_in_thread
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = log_unraisable
    package_logger.setLevel(level.upper())
    root.setLevel(max(logging.WARNING, package_logger.level))
    return package_logger
