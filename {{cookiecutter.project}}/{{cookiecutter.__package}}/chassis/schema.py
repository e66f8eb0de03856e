"""Whether the database's schema is the one that the code needs."""

import asyncio
import logging
import time

import asyncpg
from starlette.exceptions import HTTPException

from .database import fetch_one
from .pool import Database

READY_TIMEOUT = 1.0  # seconds
KEPT = 1.0  # seconds: however many ask, the database is asked no more often

logger = logging.getLogger(__name__)


async def require_schema(database: Database, revision: str) -> None:
    """Raises `RuntimeError` where the schema is older; a database that is away is a warning.

    The service starts without it: alive, but not ready.
    """
    try:
        current = await is_current(database, revision)
    except HTTPException as error:
        logger.warning("%s: %r", error.detail, error.__cause__)
        return
    if not current:
        raise RuntimeError("The database's schema is old: run alembic upgrade head")


async def is_current(database: Database, revision: str) -> bool:
    """Whether the schema is at `revision` or newer: while an update is rolled out, it may be."""
    try:
        row = await fetch_one(database, "SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return False
    return row is not None and row["version_num"] >= revision


class SchemaCheck:
    """Whether the schema is at `revision` or newer: one query for all who ask at once."""

    def __init__(self, revision: str) -> None:
        self.revision = revision
        self.task: asyncio.Task[bool] | None = None
        self.started = 0.0

    async def ask(self, database: Database) -> bool:
        """Raises `TimeoutError`, or what the query does."""
        now = time.monotonic()
        if not self.task or now > self.started + KEPT:
            self.started = now
            self.task = asyncio.create_task(is_current(database, self.revision))
        # The task runs to its end, though a caller is cancelled: others wait for it as well.
        done, _ = await asyncio.wait([self.task], timeout=READY_TIMEOUT)
        if not done:
            raise TimeoutError
        return self.task.result()
