"""One connection to PostgreSQL: what its rows and its JSON are, and how it is cleaned up."""

import asyncio
import random
import time
from contextlib import suppress
from functools import lru_cache
from traceback import walk_tb
from typing import Any, NamedTuple

import asyncpg
import msgspec
from databases.interfaces import Record

MAX_IDLE = 300.0  # seconds
CLEAN_TIMEOUT = 1.0  # seconds: for the server to end what is under way

# asyncpg's own resets no more than settings, locks, cursors and channels.
RESET = "RESET SESSION AUTHORIZATION; RESET ROLE"
# The owner's, for what is done in them: an extension's leave the session alone.
FUNCTIONS = """
    SELECT DISTINCT lower(proname) FROM pg_catalog.pg_proc
     WHERE pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend
                        WHERE classid = 'pg_catalog.pg_proc'::regclass
                          AND objid = pg_proc.oid AND deptype = 'e')"""

SETTLED = (asyncpg.PostgresError, asyncpg.InterfaceError)  # Nothing is under way after these.
BROKEN = (OSError, asyncpg.InternalClientError, *SETTLED)
MISFITS = (asyncpg.DatatypeMismatchError, asyncpg.UndefinedFunctionError)


class AcquireTimeout(TimeoutError):
    """No connection came free in time."""


class UnreadableValue(ValueError):
    """The database holds a value that Python cannot: a year before 1 or after 9999, 24:00."""


def check_readable(error: BaseException) -> None:
    """Raises `UnreadableValue` where asyncpg failed to make a value of Python."""
    if isinstance(error, ArithmeticError | ValueError) and not isinstance(error, SETTLED):
        raise UnreadableValue(f"a row has a value that Python cannot hold: {error}") from error


def is_outdated(error: BaseException | None) -> bool:
    """Whether a statement was prepared for types that are others by now.

    One that never fitted fails as it is prepared; what fails in a function has a context.
    """
    if isinstance(error, asyncpg.InternalServerError):
        return "cache lookup failed for type" in str(error)
    if not isinstance(error, MISFITS) or error.context:
        return False
    frames = (frame.f_code.co_name for frame, _ in walk_tb(error.__traceback__))
    return any("bind_execute" in name for name in frames)


class Row(asyncpg.Record):
    """Read by name, by attribute or by index; its values in order; `dict(row)`."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def _mapping(self) -> "Row":
        return self


Record.register(Row)


class Json(NamedTuple):
    """A value for json or jsonb, None too: that is JSON's null, and not SQL's."""

    value: Any


class Connection(asyncpg.Connection):
    """asyncpg's, with what a pool notes on it: times are of the monotonic clock."""

    __slots__ = ("expires", "functions", "released", "replaced")
    released: float
    functions: frozenset[str]  # which may change the session

    def note_age(self, max_age: float) -> None:
        # At random, so that those which were opened together do not end together.
        self.expires = time.monotonic() + max_age * random.uniform(0.8, 1)  # noqa: S311
        self.replaced = False

    def is_well(self, max_idle: float) -> bool:
        """Whether it is open, and was in use not long ago: else the network may have cut it."""
        return time.monotonic() < self.released + max_idle and not self.is_closed()

    async def execute(self, query: str, *args: object, **options: Any) -> str:
        """As asyncpg's own transactions do. Raises `InFailedSQLTransactionError` where COMMIT was
        answered by a rollback: a query failed, or was cancelled, and that was passed over.
        """
        status = await super().execute(query, *args, **options)
        if status == "ROLLBACK" and query.startswith("COMMIT"):
            raise asyncpg.InFailedSQLTransactionError("a query failed: all was rolled back")
        return status

    async def clean(self) -> None:
        """Waits until nothing is under way, rolls back, and resets the session."""
        async with asyncio.timeout(CLEAN_TIMEOUT):
            # asyncpg first awaits the end of what was cancelled.
            with suppress(asyncpg.PostgresError):
                await self.execute("SELECT")
            await self.execute(RESET)
            await self.reset()
            # Where it only reads by now, the primary may be another server.
            if await self.fetchval("SHOW transaction_read_only") == "on":
                self.terminate()


def encode_json(value: Any) -> bytes:
    return msgspec.json.encode(value.value if isinstance(value, Json) else value)


@lru_cache(8)
def intern(names: frozenset[str]) -> frozenset[str]:
    """One for all connections, by which queries are remembered."""
    return names


async def set_up(connection: Connection) -> None:
    """Objects in Python are json and jsonb in SQL, and the other way round."""
    rows = await connection.fetch(FUNCTIONS)
    connection.functions = intern(frozenset(name for (name,) in rows))
    options: dict[str, Any] = {"schema": "pg_catalog", "format": "binary"}
    await connection.set_type_codec(
        "json", encoder=encode_json, decoder=msgspec.json.decode, **options
    )
    await connection.set_type_codec(
        "jsonb",  # It begins with the number of its version, which is 1.
        encoder=lambda value: b"\x01" + encode_json(value),
        decoder=lambda data: msgspec.json.decode(data[1:]),
        **options,
    )
