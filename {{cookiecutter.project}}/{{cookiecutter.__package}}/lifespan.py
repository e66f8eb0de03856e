"""What lives as long as the application: opened and closed here, handed on as requests' state."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypedDict

import httpx
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from . import embedded
from .database import is_current, open_pool, open_sessions
from .logs import logger
from .pool import Database
from .settings import DATABASE_URL
from .upstream import open_client


class State(TypedDict):
    """Read as `request.state["database"]` in a handler that takes a `Request[State]`."""

    database: Database
    sessions: async_sessionmaker[AsyncSession]
    client: httpx.AsyncClient


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[State]:
    async with AsyncExitStack() as stack:
        url = DATABASE_URL or await asyncio.to_thread(stack.enter_context, embedded.database())
        database = await stack.enter_async_context(open_pool(url))
        try:
            if not await is_current(database):
                raise RuntimeError("The database's schema is old: run alembic upgrade head")
        except HTTPException as error:
            # It starts without its database: alive, but not ready.
            logger.warning("%s: %r", error.detail, error.__cause__)
        # What is here now will stay: no garbage collection need look at it again.
        gc.freeze()
        stack.callback(gc.unfreeze)
        gc.set_threshold(2_000)  # as from Python 3.13 on
        yield {
            "database": database,
            "sessions": await stack.enter_async_context(open_sessions(url)),
            "client": await stack.enter_async_context(open_client()),
        }
