"""Whether the database's schema is the one that the code needs."""

import asyncio
import logging
import time

import asyncpg
from databases import Database

from .database_errors import describe, find_answer

OLD = "The database's schema is old: run alembic upgrade head"
# No such role, password, database, setting or right: to wait would not help.
WRONG_URL = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)
READY_TIMEOUT = 1.0  # seconds
KEPT = 1.0  # seconds: however many ask, the database is asked no more often

logger = logging.getLogger(__name__)


async def is_current(database: Database, revision: str) -> bool:
    """Whether the schema is at `revision` or newer: while an update is rolled out, it may be.

    Raises `ReadOnlySQLTransactionError` where the database takes no changes.
    """
    query = "SELECT version_num, current_setting('transaction_read_only') FROM alembic_version"
    try:
        row = await database.fetch_one(query)
    except asyncpg.UndefinedTableError:
        return False
    if row and row[1] == "on":
        raise asyncpg.ReadOnlySQLTransactionError("the database takes no changes")
    return row is not None and row[0] >= revision


async def find_fault(
    database: Database, revision: str, fatal: tuple[type[Exception], ...] = ()
) -> str | None:
    """Why the database cannot be used at `revision`, in a line; None where it can.

    Raises what is `fatal`, or no error of the database.
    """
    try:
        return None if await is_current(database, revision) else OLD
    except fatal:
        raise
    except Exception as error:
        answer = find_answer(error)
        if not answer:
            raise
        logger.warning("%s: %s", answer.detail, describe(error))
        return answer.detail


async def require_schema(database: Database, revision: str) -> None:
    """Raises `RuntimeError` where the schema is older, or what asyncpg does where the URL is wrong.

    The service starts without its database: alive, but not ready.
    """
    if await find_fault(database, revision, WRONG_URL) == OLD:
        raise RuntimeError(OLD)


class SchemaCheck:
    """`find_fault`, by one query for all who ask at once."""

    def __init__(self, revision: str) -> None:
        self.revision = revision
        self.task: asyncio.Task[str | None] | None = None
        self.started = 0.0

    async def find_fault(self, database: Database) -> str | None:
        task, now = self.task, time.monotonic()
        other = task and task.get_loop() is not asyncio.get_running_loop()
        if not task or other or now > self.started + KEPT:
            self.started = now
            task = self.task = asyncio.create_task(find_fault(database, self.revision))
        # The task runs to its end, though a caller is cancelled: others wait for it as well.
        done, _ = await asyncio.wait([task], timeout=READY_TIMEOUT)
        return task.result() if done else "The database did not answer in time"
