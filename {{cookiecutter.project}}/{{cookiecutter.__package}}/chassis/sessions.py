"""Sessions of SQLAlchemy's ORM."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import event, exc
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)

from .connect import MAX_IDLE, is_outdated
from .connector import Connector
from .database_url import connect_options


def drop(context: ExceptionContext) -> None:
    """A connection to what may not be the primary any more, or that knows types as they were."""
    error: Any = context.original_exception
    read_only = getattr(error, "sqlstate", "") == asyncpg.ReadOnlySQLTransactionError.sqlstate
    outdated = isinstance(error.__cause__, asyncpg.OutdatedSchemaCacheError)
    if read_only or outdated or is_outdated(error.__cause__):
        context.is_disconnect = True


def note_release(connection: Any, *_: Any) -> None:
    if connection:  # Not where it was lost.
        connection.driver_connection.released = time.monotonic()


def check_open(connection: Any, *_: Any) -> None:
    """The pool has no look of its own at what the server, or the network, has cut meanwhile."""
    if not connection.driver_connection.is_well(MAX_IDLE):
        raise exc.DisconnectionError


def create_engine(options: dict[str, Any], **pool: Any) -> AsyncEngine:
    """On connections with the `options` of `asyncpg.connect`."""
    arguments: dict[str, Any] = {"async_creator_fn": Connector(options)}
    if options.get("statement_cache_size") == 0:
        # Through a pooler statements without a name alone are safe: the name is `str()`.
        arguments |= {"prepared_statement_cache_size": 0, "prepared_statement_name_func": str}
    return create_async_engine("postgresql+asyncpg://", connect_args=arguments, **pool)


@asynccontextmanager
async def open_sessions(
    url: str,
    *,
    max_size: int = 10,
    acquire_timeout: float = 2.0,
    connect_timeout: float = 1.0,
    max_age: float = 900.0,
    **options: Any,
) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    """Of at most `max_size` connections of their own. Times in seconds; `options` are those of
    `connect_options`. Raises `ValueError` where the URL cannot be accepted.
    """
    engine = create_engine(
        connect_options(url, connect_timeout=connect_timeout, **options),
        pool_size=max_size,
        max_overflow=0,
        pool_timeout=acquire_timeout - connect_timeout,
        pool_recycle=max_age,
        pool_use_lifo=True,
    )
    event.listen(engine.sync_engine, "handle_error", drop)
    event.listen(engine.sync_engine, "connect", note_release)
    event.listen(engine.sync_engine, "checkin", note_release)
    event.listen(engine.sync_engine, "checkout", check_open)
    try:
        yield async_sessionmaker(engine, expire_on_commit=False)
    finally:
        await engine.dispose()
