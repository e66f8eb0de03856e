"""Answers to the errors of the database, wherever they were raised.

None holds the statement or its values: the driver's own message may.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable
from traceback import walk_tb
from typing import NamedTuple

import asyncpg
from sqlalchemy import exc
from starlette.requests import Request
from starlette.responses import Response

from .connect import AcquireTimeout, is_outdated
from .errors import problem

logger = logging.getLogger(__name__)

# Of what a pooler refuses to keep from one transaction to the next.
POOLER = {"08P01", "26000", "42P05"}
RETRY = {"Retry-After": "1"}  # seconds


class Answer(NamedTuple):
    status: int
    detail: str


AWAY = Answer(503, "The database is away")
SILENT = Answer(503, "The database did not answer in time")
BUSY = Answer(503, "The database is busy")
CHANGED = Answer(503, "The database has changed meanwhile")
SLOW = Answer(504, "The query took too long")
REFERRED = Answer(409, "It refers to something that is not there, or is referred to")
INVALID = Answer(422, "A value cannot be taken")

# By SQLSTATE, or its class: https://www.postgresql.org/docs/current/errcodes-appendix.html
ANSWERS = {
    "08": AWAY,
    "28": Answer(503, "The database refuses the service"),
    "3D": Answer(503, "The database refuses the service"),
    "42501": Answer(503, "The database refuses the service"),  # Its role may not.
    "53": Answer(503, "The database is full"),
    "58": Answer(503, "The database cannot read or write"),  # Its disk fails.
    "57P": AWAY,  # It ends, starts, or was told to end this connection.
    "25P03": AWAY,  # It ended a transaction that was idle for too long.
    "25006": Answer(503, "The database takes no changes now"),
    "40001": BUSY,
    "40P01": BUSY,
    "55P03": BUSY,
    "57014": SLOW,
    "25P04": SLOW,
    "23000": Answer(409, "It conflicts with another one"),
    "23001": REFERRED,
    "23502": Answer(409, "A value is missing"),
    "23503": REFERRED,
    "23505": Answer(409, "There is one already"),
    "23514": Answer(409, "A value is not allowed"),
    "44000": Answer(409, "A value is not allowed"),
    "23P01": Answer(409, "It conflicts with another one"),
    "22001": Answer(422, "A text is too long"),
    "22003": Answer(422, "A number is out of range"),
    "54000": Answer(422, "A value is too large"),
}
ANSWERS |= dict.fromkeys(["22000", "22007", "22008", "22019", "2201B", "2201W", "2201X"], INVALID)
ANSWERS |= dict.fromkeys(["22021", "22023", "22025", "22P02", "22P03", "22P05"], INVALID)


def cause_of(error: BaseException) -> BaseException:
    """asyncpg's own error, where the ORM has wrapped it."""
    if isinstance(error, exc.DBAPIError) and error.orig:
        return error.orig.__cause__ or error.orig
    return error


def find_answer(error: BaseException) -> Answer | None:
    """None where it is no error of the database, or a mistake of the service's own."""
    error = cause_of(error)
    if isinstance(error, asyncpg.InvalidCachedStatementError) or is_outdated(error):
        return CHANGED
    if isinstance(error, asyncpg.PostgresSyntaxError) and not (error.position or error.context):
        return INVALID  # It is in a value, as of `to_tsquery`, and not in the query.
    if isinstance(error, asyncpg.PostgresError):
        code = error.sqlstate or ""
        return ANSWERS.get(code) or ANSWERS.get(code[:3]) or ANSWERS.get(code[:2])
    if isinstance(error, asyncpg.InternalClientError):  # It broke in between two states.
        return AWAY
    if isinstance(error, asyncpg.InterfaceError):
        if isinstance(error.__cause__, OverflowError):
            return ANSWERS["22003"]
        if isinstance(error, ValueError):  # Of another type than the query takes, it is a mistake.
            return INVALID if isinstance(error.__cause__, ValueError) else None
        return AWAY if "closed" in str(error) else None
    if isinstance(error, AcquireTimeout | exc.TimeoutError):
        return SILENT
    if isinstance(error, OSError) and is_from_asyncpg(error):
        return SILENT if isinstance(error, TimeoutError) else AWAY
    return None


def is_from_asyncpg(error: BaseException) -> bool:
    """Whether it passed through asyncpg: an `OSError` may come from anywhere."""
    frames = (frame for frame, _ in walk_tb(error.__traceback__))
    return any(frame.f_globals.get("__name__", "").startswith("asyncpg.") for frame in frames)


def describe(error: BaseException) -> str:
    """The cause in one line, without the values that it may name."""
    cause = cause_of(error)
    text = type(cause).__name__
    if isinstance(cause, asyncpg.IntegrityConstraintViolationError) and cause.table_name:
        return f"{text} of {cause.constraint_name or cause.column_name} in {cause.table_name}"
    # These name settings alone, or what a certificate has.
    told = isinstance(cause, asyncpg.ClientConfigurationError | ssl.SSLError)
    in_value = isinstance(cause, asyncpg.DataError | ValueError) or find_answer(cause) is INVALID
    if in_value and not told:
        return text
    if isinstance(cause, OSError) and cause.strerror:
        return f"{text}: {cause.strerror}"
    text += f": {cause.args[0] if cause.args else cause}"
    if getattr(cause, "sqlstate", None) in POOLER:
        text += "; is a pooler in between? See DATABASE_POOLER"
    return text


async def database_error(request: Request, error: Exception) -> Response:
    """Raises the error where it has no answer: that is 500."""
    answer = find_answer(error)
    if not answer:
        raise error
    logger.warning("%s: %s", answer.detail, describe(error))
    return problem(*answer, RETRY if answer.status == 503 else None)


DRIVER = [asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError]
handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]
handlers = dict.fromkeys([*DRIVER, exc.DBAPIError, exc.TimeoutError, OSError], database_error)
