"""Migrations beside a service that goes on serving: one at a time, with short waits for locks."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import asyncpg
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from .database_errors import cause_of, describe, find_answer
from .database_url import connect_options
from .sessions import create_engine

# Seconds: while a migration waits for a lock, what needs the table waits behind it.
LOCK_TIMEOUT = 1
ATTEMPTS = 10
LONGEST_PAUSE = 5.0  # seconds between two attempts
TURN_INTERVAL = 0.5  # seconds

# Of a transaction, not of a session: a pooler would lose that, or hand it on to others.
LIMITS = f"""SELECT set_config('lock_timeout', '{LOCK_TIMEOUT}s', true),
                    set_config('statement_timeout', '0', true)"""
TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext('alembic'))")
TRY_AGAIN = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)

logger = logging.getLogger(__name__)


def compare_schemas(metadata: MetaData) -> dict[str, Any]:
    """Options of Alembic's context, which would look for tables in the default schema alone."""
    schemas = {table.schema for table in metadata.tables.values()} | {None}

    def include(name: str | None, kind: str, _: object) -> bool:
        return kind != "schema" or name in schemas

    return {"include_schemas": True, "include_name": include}


async def run(url: str, migrate: Callable[[Connection], None]) -> None:
    """Calls `migrate` with a connection to `url`, again where it waited too long for a lock.

    Raises Alembic's `CommandError`, one line, where the database refuses, or `ValueError` where the
    URL cannot be accepted.
    """
    engine = create_engine(connect_options(url, command_timeout=None, pooler=True))
    event.listen(engine.sync_engine, "begin", set_limits)
    try:
        # On a connection of its own, as a migration may commit before its end.
        async with engine.connect() as turn:
            await wait_for_turn(turn)
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    async with engine.connect() as connection:
                        return await connection.run_sync(migrate)
                except Exception as error:
                    if attempt == ATTEMPTS or not isinstance(cause_of(error), TRY_AGAIN):
                        raise
                    pause = min(0.25 * 2**attempt, LONGEST_PAUSE)
                    logger.warning("%s; tried again in %g s", describe(error), pause)
                    await asyncio.sleep(pause)
    except Exception as error:
        if not find_answer(error) and not isinstance(error, SQLAlchemyError):
            raise
        raise CommandError(describe(error).splitlines()[0]) from error
    finally:
        await engine.dispose()


def set_limits(connection: Connection) -> None:
    """At the beginning of each transaction, below SQLAlchemy, for which it has not begun yet."""
    cursor = connection.connection.cursor()
    cursor.execute(LIMITS)
    cursor.close()


async def wait_for_turn(connection: AsyncConnection) -> None:
    """Several may start at once: the others wait, and find it done.

    No query waits for the lock: an index that is built concurrently would wait for that query.
    """
    said = False
    while not await connection.scalar(TRY_LOCK):
        await connection.rollback()
        if not said:
            logger.warning("Another migration is under way: this one waits for its end")
        said = True
        await asyncio.sleep(TURN_INTERVAL)
    # In the place of the query above, whose snapshot the server would keep: it is waited for too.
    await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
