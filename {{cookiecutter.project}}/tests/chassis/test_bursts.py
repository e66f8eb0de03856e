"""All of the API at once, 40 tasks at a time, before, during and after bursts of other queries."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import sqlalchemy as sa

from {{ cookiecutter.__package }}.chassis.database import Database

ONE = "SELECT :n::int AS n"
VALUES = {"n": 1}


async def fetch_one(database: Database) -> None:
    row = await database.fetch_one(ONE, VALUES)
    assert row is not None
    assert row["n"] == 1


async def fetch_all(database: Database) -> None:
    assert [row["n"] for row in await database.fetch_all(ONE, VALUES)] == [1]


async def execute(database: Database) -> None:
    assert await database.execute(ONE, VALUES) == 1


async def execute_expression(database: Database) -> None:
    assert await database.fetch_val(sa.select(sa.literal(1))) == 1


async def iterate(database: Database) -> None:
    assert [row["n"] async for row in database.iterate(ONE, VALUES)] == [1]


async def use_connection(database: Database) -> None:
    async with database.connection() as connection:
        assert await connection.fetch_val("SELECT CAST(:n AS int)", VALUES) == 1
        assert await connection.raw_connection.fetchval("SELECT 1") == 1


async def use_transaction(database: Database) -> None:
    async with database.transaction(isolation="serializable"), database.transaction():
        assert await database.fetch_val(ONE, VALUES) == 1


async def use_decorator(database: Database) -> None:
    await database.transaction()(fetch_one)(database)


CALLS = [
    fetch_one,
    fetch_all,
    execute,
    execute_expression,
    iterate,
    use_connection,
    use_transaction,
    use_decorator,
]


async def use_all(database: Database) -> None:
    """Each in a task of its own, as requests are."""
    limit = asyncio.Semaphore(40)

    async def use(call: Callable[[Database], Awaitable[None]]) -> None:
        async with limit:
            await call(database)

    await asyncio.gather(*(use(call) for _ in range(20) for call in CALLS))


async def burst(database: Database) -> None:
    queries = (database.fetch_val("SELECT pg_sleep(0.001)") for _ in range(500))
    await asyncio.gather(*queries, return_exceptions=True)


@pytest.mark.parametrize("max_size", [1, 5])
async def test_api_in_bursts(database_url: str, max_size: int) -> None:
    async with Database(database_url, max_size=max_size, acquire_timeout=10.0) as database:
        await use_all(database)
        await asyncio.gather(burst(database), use_all(database))
        await use_all(database)
        await asyncio.sleep(0.1)
        assert len(database.pool.connections) <= max_size
        assert len(database.pool.places.idle) == len(database.pool.connections)
