"""What blocks an event loop and what does not: for teaching.

Without it, its test and the lines that name it the service is whole.
"""

import asyncio
import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from .chassis.endpoint import endpoint
from .chassis.upstream import fetch_json
from .home import Message
from .lifespan import State
from .settings import UPSTREAM_URLS


class Source(msgspec.Struct):
    source_id: int
    data: str


class Sources(msgspec.Struct):
    results: list[Source]


class Number(msgspec.Struct):
    result: int


async def fetch_source(source_id: int) -> Source:
    await asyncio.sleep(1)
    return Source(source_id, f"Data from {source_id}")


def sum_of_squares() -> int:
    return sum(i * i for i in range(10_000_000))


@endpoint()
def read_sync(request: Request[State]) -> Message:
    """Sleep 1 s in the thread pool"""
    time.sleep(1)
    return Message("Sync response")


@endpoint()
async def read_async(request: Request[State]) -> Message:
    """Sleep 1 s in the event loop, awaiting"""
    await asyncio.sleep(1)
    return Message("Async response")


@endpoint()
async def read_wrong(request: Request[State]) -> Message:
    """Stop the event loop for 1 s: the mistake to avoid"""
    time.sleep(1)  # noqa: ASYNC251
    return Message("Wrong")


@endpoint()
async def read_right(request: Request[State]) -> Message:
    """Leave the event loop free for 1 s"""
    await asyncio.sleep(1)
    return Message("Right")


@endpoint()
async def read_sequential(request: Request[State]) -> Sources:
    """Fetch three sources of 1 s, one after the other: 3 s"""
    return Sources([await fetch_source(1), await fetch_source(2), await fetch_source(3)])


@endpoint()
async def read_concurrent(request: Request[State]) -> Sources:
    """Fetch three sources of 1 s, each in a task: 1 s"""
    tasks = [asyncio.create_task(fetch_source(source_id)) for source_id in (1, 2, 3)]
    return Sources([await task for task in tasks])


@endpoint()
async def read_concurrent_gather(request: Request[State]) -> Sources:
    """Fetch three sources of 1 s, gathered: 1 s"""
    return Sources(await asyncio.gather(*map(fetch_source, (1, 2, 3))))


@endpoint()
async def read_with_context(request: Request[State]) -> Number:
    """Ask the database on a connection that a context manager holds"""
    async with request.state["database"].connection() as connection:
        return Number(await connection.fetch_val("SELECT 1"))


@endpoint()
def read_sync_sleep(request: Request[State]) -> Message:
    """Sleep 0.1 s in the thread pool: 40 at a time"""
    time.sleep(0.1)
    return Message("sync")


@endpoint()
async def read_async_sleep(request: Request[State]) -> Message:
    """Sleep 0.1 s in the event loop: thousands at a time"""
    await asyncio.sleep(0.1)
    return Message("async")


@endpoint(502, 503, 504)
async def read_good_async(request: Request[State]) -> dict[str, Any]:
    """Wait for the database and for upstreams, at once where one does not need the other"""
    database, client = request.state["database"], request.state["client"]
    first, second, *_ = UPSTREAM_URLS
    user = await database.fetch_one("SELECT id, name, email, created_at FROM users LIMIT 1")
    data = await fetch_json(client, first)
    post = database.fetch_one("SELECT id, title FROM posts LIMIT 1")
    await asyncio.gather(post, fetch_json(client, second))
    return {"user": user and dict(user), "data": data}


@endpoint()
async def read_bad_async(request: Request[State]) -> Number:
    """Compute in the event loop, which stops meanwhile: the other mistake"""
    return Number(sum_of_squares())


@endpoint()
def read_good_sync(request: Request[State]) -> Number:
    """Compute in the thread pool"""
    return Number(sum_of_squares())


routes = [
    Route("/sync", read_sync),
    Route("/async", read_async),
    Route("/wrong", read_wrong),
    Route("/right", read_right),
    Route("/sequential", read_sequential),
    Route("/concurrent", read_concurrent),
    Route("/concurrent-gather", read_concurrent_gather),
    Route("/with-context", read_with_context),
    Route("/sync-sleep", read_sync_sleep),
    Route("/async-sleep", read_async_sleep),
    Route("/good-async", read_good_async),
    Route("/bad-async", read_bad_async),
    Route("/good-sync", read_good_sync),
]
