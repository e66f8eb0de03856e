"""What lives as long as the application: opened and closed here, handed on as requests' state."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypedDict

import httpx
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.applications import Starlette

from . import settings
from .chassis import embedded
from .chassis.database import Database
from .chassis.schema import require_schema
from .chassis.sessions import open_sessions
from .chassis.upstream import open_client
from .tables import REVISION


class State(TypedDict):
    """Read as `request.state["database"]` in a handler that takes a `Request[State]`."""

    database: Database
    sessions: async_sessionmaker[AsyncSession]
    client: httpx.AsyncClient


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[State]:
    size, pooler = settings.DATABASE_POOL_SIZE, settings.DATABASE_POOLER
    async with AsyncExitStack() as stack:
        url = settings.DATABASE_URL or await asyncio.to_thread(
            stack.enter_context, embedded.run_database(settings.PROJECT)
        )
        database = await stack.enter_async_context(Database(url, max_size=size, pooler=pooler))
        await require_schema(database, REVISION)
        # What is here now will stay: no garbage collection need look at it again.
        gc.freeze()
        stack.callback(gc.unfreeze)
        stack.callback(gc.set_threshold, *gc.get_threshold())
        gc.set_threshold(2_000)  # new objects until the young are looked at, as from Python 3.13 on
        yield {
            "database": database,
            "sessions": await stack.enter_async_context(
                open_sessions(url, max_size=size, pooler=pooler)
            ),
            "client": await stack.enter_async_context(open_client()),
        }
