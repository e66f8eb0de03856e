"""No connection is lost, however transactions end: each rule has a control that breaks it."""

import asyncio
import gc
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import asyncpg
import databases
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from {{ cookiecutter.__package }}.chassis.database import Database
from {{ cookiecutter.__package }}.chassis.sessions import open_sessions

SIZE = 5
chance = random.Random(1)  # noqa: S311
IDLE = """SELECT count(*) FROM pg_stat_activity
           WHERE state LIKE 'idle in transaction%' AND datname = current_database()"""


@pytest.fixture(autouse=True)
async def pairs(database: Database) -> AsyncIterator[None]:
    await database.execute("CREATE TABLE pairs (n int, UNIQUE (n) DEFERRABLE INITIALLY DEFERRED)")
    yield
    await database.execute("DROP TABLE pairs")


async def use_whole_pool(database: databases.Database) -> None:
    """As many queries at once as there are connections, none of them new to the server."""
    async with asyncio.timeout(1.5):
        await asyncio.gather(*(database.fetch_val("SELECT pg_sleep(0.2)") for _ in range(SIZE)))


async def fail_commit(database: databases.Database) -> None:
    async with database.transaction():
        await database.execute("INSERT INTO pairs VALUES (1), (1)")


async def assert_whole(database: Database) -> None:
    await asyncio.sleep(0.3)
    await use_whole_pool(database)
    assert await database.fetch_val(IDLE) == 0
    assert len(database.pool.connections) <= SIZE


async def test_failed_commits_leave_the_pool_whole(database: Database) -> None:
    for _ in range(100):
        with pytest.raises(asyncpg.UniqueViolationError):
            await fail_commit(database)
    await assert_whole(database)


STOCK = """
import asyncio, contextlib, os, sys, asyncpg, databases

async def fail_commit(database):
    async with database.transaction():
        await database.execute("INSERT INTO chassis_tests.pairs VALUES (1), (1)")

async def main():
    database = databases.Database(sys.argv[1], min_size=1, max_size=5)
    await database.connect()
    for _ in range(5):
        with contextlib.suppress(asyncpg.UniqueViolationError):
            await asyncio.create_task(fail_commit(database))
    async with asyncio.timeout(1):
        await asyncio.create_task(database.fetch_val("SELECT 1"))

try:
    asyncio.run(main(), debug=False)
except TimeoutError:
    os._exit(42)  # It would wait for its connections.
"""


async def test_control_failed_commits_empty_the_pool_of_the_library(database_url: str) -> None:
    stock = await asyncio.create_subprocess_exec(sys.executable, "-c", STOCK, database_url)
    assert await stock.wait() == 42


async def test_task_goes_on_after_a_failed_commit(database: Database) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        await fail_commit(database)
    async with database.transaction():
        await database.execute("INSERT INTO pairs VALUES (2)")
    async with database.connection() as connection:
        assert await connection.raw_connection.fetchval("SELECT n FROM pairs") == 2


async def test_transaction_whose_connection_is_lost_cannot_be_committed(
    database: Database,
) -> None:
    """Nor does what is asked in it run on another connection."""

    async def lose() -> None:
        async with database.transaction():
            with suppress(asyncpg.PostgresError):
                await database.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            with suppress(asyncpg.InterfaceError):
                await database.execute("INSERT INTO pairs VALUES (1)")

    with pytest.raises(asyncpg.InterfaceError, match="closed"):
        await lose()
    assert await database.fetch_val("SELECT count(*) FROM pairs") == 0


async def divide(database: Database) -> None:
    await database.execute("SELECT 1 / 0")


async def divide_on_the_raw_connection(database: Database) -> None:
    await database.connection().raw_connection.execute("SELECT 1 / 0")


async def take_too_long(database: Database) -> None:
    async with asyncio.timeout(0.5):
        await database.execute("SELECT pg_sleep(5)")


async def take_too_long_for_asyncpg(database: Database) -> None:
    await database.connection().raw_connection.execute("SELECT pg_sleep(5)", timeout=0.5)


FAILURES = [divide, divide_on_the_raw_connection, take_too_long, take_too_long_for_asyncpg]
PASSED_OVER = (asyncpg.DivisionByZeroError, TimeoutError)


async def pass_over(database: Database, fail: Callable[[Database], Awaitable[None]]) -> None:
    async with database.transaction():
        await database.execute("INSERT INTO pairs VALUES (1)")
        with suppress(*PASSED_OVER):
            await fail(database)


@pytest.mark.parametrize("fail", FAILURES)
async def test_commit_after_a_failed_query_is_an_error(
    database: Database, fail: Callable[[Database], Awaitable[None]]
) -> None:
    """PostgreSQL answers it by a rollback, without one."""
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        await pass_over(database, fail)
    assert await database.fetch_val("SELECT count(*) FROM pairs") == 0


async def test_commit_after_a_failed_query_gives_the_connection_back(database: Database) -> None:
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        await pass_over(database, divide)
    async with asyncio.timeout(10):
        while len(database.pool.places.idle) < len(database.pool.connections):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_commit_of_the_orm_after_a_failed_query_is_an_error(database_url: str) -> None:
    async with open_sessions(database_url, max_size=1) as sessions:

        async def pass_over() -> None:
            async with sessions.begin() as session:
                with suppress(DBAPIError):
                    await session.execute(text("SELECT 1 / 0"))

        with pytest.raises(DBAPIError, match="all was rolled back"):
            await pass_over()
        async with sessions() as session:
            assert await session.scalar(text("SELECT 1")) == 1


async def test_commit_after_a_value_that_was_not_sent_is_no_error(database: Database) -> None:
    """asyncpg refuses it: the server has seen no error, and commits."""
    async with database.transaction():
        await database.execute("INSERT INTO pairs VALUES (1)")
        with suppress(asyncpg.DataError):
            await database.execute("INSERT INTO pairs VALUES (:n)", {"n": "x"})
    assert await database.fetch_val("SELECT count(*) FROM pairs") == 1


@pytest.mark.parametrize("fail", FAILURES)
async def test_failed_query_in_an_inner_transaction_does_not_end_the_outer(
    database: Database, fail: Callable[[Database], Awaitable[None]]
) -> None:
    async with database.transaction():
        await database.execute("INSERT INTO pairs VALUES (1)")
        with suppress(*PASSED_OVER):
            async with database.transaction():
                await fail(database)
    assert await database.fetch_val("SELECT count(*) FROM pairs") == 1


async def test_connection_that_was_not_entered_is_refused(database: Database) -> None:
    with pytest.raises(asyncpg.InterfaceError, match="not acquired"):
        await database.connection().fetch_val("SELECT 1")


async def test_connection_goes_on_after_a_cancelled_transaction(database: Database) -> None:
    """What is written after that is in no transaction that nobody will commit."""

    async def write(number: int) -> None:
        async with database.connection() as connection:
            with suppress(TimeoutError):
                async with asyncio.timeout(chance.uniform(0, 0.002)), connection.transaction():
                    await connection.execute("SELECT 1")
            await connection.execute("INSERT INTO pairs VALUES (:n)", {"n": number})

    for number in range(200):
        await write(number)
    assert await database.fetch_val("SELECT count(*) FROM pairs") == 200


async def test_connection_of_a_cancelled_query_is_lent_when_the_server_has_ended_it(
    database: Database,
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await database.execute("SELECT pg_sleep(1)")
    assert not database.pool.places.idle
    await asyncio.sleep(0.2)
    assert database.pool.places.idle


async def plain(database: Database) -> None:
    await database.fetch_val("SELECT pg_sleep(0.05)")


async def transaction(database: Database) -> None:
    async with database.transaction():
        await database.execute("SELECT pg_sleep(0.01)")


async def nested(database: Database) -> None:
    async with database.transaction(), database.transaction():
        await database.execute("SELECT pg_sleep(0.01)")


async def by_hand(database: Database) -> None:
    transaction = await database.transaction(isolation="serializable")
    try:
        await database.execute("SELECT pg_sleep(0.01)")
    except BaseException:
        await transaction.rollback()
        raise
    await transaction.commit()


async def raw(database: Database) -> None:
    async with database.connection() as connection, connection.raw_connection.transaction():
        await connection.raw_connection.execute("SELECT pg_sleep(0.01)")


async def iterate(database: Database) -> None:
    async for row in database.iterate("SELECT n, pg_sleep(0.001) FROM generate_series(1, 99) n"):
        if row.n > chance.uniform(0, 99):
            break


async def cancel_at_random(use: Callable[[Database], Awaitable[None]], database: Database) -> None:
    """600 of them, 20 at a time, each after up to 20 ms: in BEGIN, in mid-query, in COMMIT."""

    async def cancel() -> None:
        for _ in range(30):
            with suppress(asyncio.CancelledError, TimeoutError):
                async with asyncio.timeout(chance.uniform(0, 0.02)):
                    await use(database)

    await asyncio.gather(*(cancel() for _ in range(20)))


@pytest.mark.parametrize("use", [plain, transaction, nested, by_hand, raw, iterate])
async def test_cancels_leave_the_pool_whole(
    database: Database, use: Callable[[Database], Awaitable[None]]
) -> None:
    await cancel_at_random(use, database)
    await assert_whole(database)


async def test_cancels_leave_the_pool_of_the_orm_whole(database_url: str) -> None:
    async with open_sessions(database_url, max_size=SIZE) as sessions:

        async def use(_: object = None, seconds: float = 0.01) -> None:
            async with sessions() as session:
                await session.execute(text(f"SELECT pg_sleep({seconds})"))

        await cancel_at_random(use, None)  # type: ignore[arg-type]
        async with asyncio.timeout(1.5):
            await asyncio.gather(*(use(seconds=0.2) for _ in range(SIZE)))


async def test_forgotten_transaction_gives_its_connection_back(database: Database) -> None:
    async def forget() -> None:
        await database.transaction()

    for _ in range(3 * SIZE):
        await asyncio.create_task(forget())
    gc.collect()
    await assert_whole(database)
