"""Connections are shared out fairly, within limits of time."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from {{ cookiecutter.__package }}.chassis.connect import AcquireTimeout
from {{ cookiecutter.__package }}.chassis.database import Database
from {{ cookiecutter.__package }}.chassis.places import Places

NOBODY = "postgresql://nobody@127.0.0.1:1/none"


@asynccontextmanager
async def hold_all(database: Database) -> AsyncIterator[None]:
    """Every connection is in a query until the end, if not for longer than the server lets it."""
    holders = [asyncio.create_task(database.execute("SELECT pg_sleep(1.5)")) for _ in range(5)]
    await asyncio.sleep(0.3)
    yield
    for holder in holders:
        holder.cancel()
    await asyncio.wait(holders)


async def test_starts_without_its_server() -> None:
    async with Database(NOBODY) as database:
        with pytest.raises(OSError, match=r"refused|Connect call"):
            await database.fetch_val("SELECT 1")


async def test_min_size_is_opened_at_the_start(database_url: str) -> None:
    async with Database(database_url, min_size=2) as database:
        assert len(database.pool.places.idle) == 2


async def test_full_pool_is_waited_for_within_a_limit(database_url: str) -> None:
    async with Database(database_url, max_size=5, acquire_timeout=0.3) as database:
        async with hold_all(database):
            with pytest.raises(AcquireTimeout):
                await database.fetch_val("SELECT 1")


async def test_who_waited_longest_is_served_first() -> None:
    places: Places[str] = Places(1)
    assert await places.take() is None
    waiting = [asyncio.create_task(places.take()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    places.put("a")
    late = asyncio.create_task(places.take())
    assert await waiting[0] == "a"
    places.put(None)
    assert await waiting[2] is None
    places.put("b")
    assert await late == "b"


async def test_place_of_one_who_leaves_is_given_on() -> None:
    places: Places[str] = Places(1)
    await places.take()
    waiting = asyncio.create_task(places.take())
    await asyncio.sleep(0)
    places.put("a")
    waiting.cancel()
    await asyncio.wait([waiting])
    assert places.idle == ["a"]


async def test_no_more_connections_than_max_size(database: Database) -> None:
    asking = asyncio.gather(*(database.fetch_val("SELECT pg_sleep(0.1)") for _ in range(40)))
    await asyncio.sleep(0.3)
    assert len(database.pool.connections) == 5
    await asking


async def test_slow_query_is_ended_by_the_server(database: Database) -> None:
    with pytest.raises(asyncpg.QueryCanceledError):
        await database.fetch_val("SELECT pg_sleep(3)")


async def test_silent_server_is_cut_off() -> None:
    """It takes connections, and says nothing."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        url = f"postgresql://nobody@127.0.0.1:{port}/none?sslmode=disable"
        async with Database(url) as database:
            start = time.monotonic()
            with pytest.raises(TimeoutError):
                await database.fetch_val("SELECT 1")
            assert time.monotonic() < start + 1.5
        await asyncio.sleep(0.1)  # The server's side closes.
