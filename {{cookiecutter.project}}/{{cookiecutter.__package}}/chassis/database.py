"""The database: a pool for SQL through `databases`, another for the ORM, what their errors mean."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from starlette.exceptions import HTTPException

from .pool import Database

# Seconds. A request waits at most for a connection of the pool, then for the answer to its query:
# the server itself ends a query at STATEMENT_TIMEOUT; one that is silent after that is cut off.
ACQUIRE_TIMEOUT = 2.0
CONNECT_TIMEOUT = 1.0
STATEMENT_TIMEOUT = 2.0
COMMAND_TIMEOUT = 2.25

# asyncpg reads the whole URL; `databases` and SQLAlchemy would each pass over some of its options.
IN_DSN: dict[str, Any] = dict.fromkeys(["host", "port", "user", "password", "database"])

AWAY = (
    OSError,
    asyncpg.InterfaceError,  # a connection that is closed already
    asyncpg.InternalClientError,  # or that broke in between two states
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
RETRY = {"Retry-After": "1"}  # seconds


def connect_options(pooler: bool) -> dict[str, Any]:
    """Of asyncpg's `connect`, with our limits."""
    options: dict[str, Any] = {
        "timeout": CONNECT_TIMEOUT,
        "command_timeout": COMMAND_TIMEOUT,
        "server_settings": {"statement_timeout": f"{STATEMENT_TIMEOUT:g}s"},
    }
    if pooler:
        # It lends a connection for one transaction: what belongs to a session it loses or refuses.
        options |= {"statement_cache_size": 0, "server_settings": {}}
    return options


@asynccontextmanager
async def open_pool(url: str, size: int, pooler: bool = False) -> AsyncIterator[Database]:
    """A pool that opens connections as they are needed, so that it starts without its server.

    `pooler` tells whether the URL leads to a pooler in transaction mode, as PgBouncer.
    """
    database = Database(size, dsn=url, **IN_DSN, **connect_options(pooler))
    async with database:
        yield database


@asynccontextmanager
async def open_sessions(
    url: str, size: int, pooler: bool = False
) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        connect_args={"dsn": url, **connect_options(pooler)},
        pool_size=size,
        max_overflow=0,
        pool_timeout=ACQUIRE_TIMEOUT - CONNECT_TIMEOUT,
    )
    yield async_sessionmaker(engine, expire_on_commit=False)
    await engine.dispose()


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raises `HTTPException`: 503 where the database is away or busy, 504 for too slow a query."""
    try:
        yield
    except (*AWAY, asyncpg.QueryCanceledError, exc.TimeoutError, exc.DBAPIError) as error:
        cause = error.driver_exception if isinstance(error, exc.DBAPIError) else error
        if isinstance(cause, asyncpg.QueryCanceledError):
            raise HTTPException(504, "The query took too long") from None
        if isinstance(cause, TimeoutError | exc.TimeoutError):
            raise HTTPException(503, "The database did not answer in time", RETRY) from None
        misused = isinstance(cause, asyncpg.InterfaceError) and isinstance(cause, ValueError)
        if isinstance(cause, AWAY) and not misused:
            raise HTTPException(503, "The database is away", RETRY) from error
        raise


class connect:
    """A connection of the pool, asyncpg's own: `databases` would compile each query anew.

    `async with connect(database) as connection`. For a transaction take `connection.transaction()`:
    `database.transaction()` would keep the connection from the pool for ever where COMMIT fails or
    the request is cancelled. Raises what `translate_errors` does.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    async def __aenter__(self) -> asyncpg.Connection:
        slot = self.database.take()
        if slot is None:
            with translate_errors():
                async with asyncio.timeout(ACQUIRE_TIMEOUT):
                    slot = await self.database.wait()
        self.slot = slot
        return slot.connection

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            if isinstance(error, TimeoutError):
                self.slot.terminate()
            elif error or not self.slot.is_at_rest():
                await self.slot.close()
        finally:
            self.database.idle.put_nowait(self.slot)
        if error:
            with translate_errors():
                raise error


@asynccontextmanager
async def open_session(
    sessions: async_sessionmaker[AsyncSession],
) -> AsyncIterator[AsyncSession]:
    """A session of the ORM, with the errors of `connect`."""
    with translate_errors():
        async with sessions() as session:
            yield session


async def fetch_all(database: Database, query: str, *values: Any) -> list[asyncpg.Record]:
    async with connect(database) as connection:
        rows: list[asyncpg.Record] = await connection.fetch(query, *values)
    return rows


async def fetch_one(database: Database, query: str, *values: Any) -> asyncpg.Record | None:
    async with connect(database) as connection:
        return await connection.fetchrow(query, *values)
