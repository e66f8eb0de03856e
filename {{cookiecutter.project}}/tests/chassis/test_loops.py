"""Loops over rows on a connection that is held: what is written beside them is never lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import asyncpg
import pytest

from {{ cookiecutter.__package }}.chassis.database import Database

NUMBERS = "SELECT generate_series(1, 1000) AS n"
INSERT = "INSERT INTO written VALUES (1)"


@pytest.fixture(autouse=True)
async def written(database: Database) -> AsyncIterator[None]:
    await database.execute("CREATE TABLE written (n int CHECK (n < 9))")
    yield
    await database.execute("DROP TABLE written")


async def by_break(database: Database) -> None:
    async for _ in database.iterate(NUMBERS):
        await database.execute(INSERT)
        break


async def by_return(database: Database) -> None:
    async for _ in database.iterate(NUMBERS):
        await database.execute(INSERT)
        return


async def by_an_error(database: Database) -> None:
    with suppress(ZeroDivisionError):
        async for _ in database.iterate(NUMBERS):
            await database.execute(INSERT)
            raise ZeroDivisionError


async def by_one_row(database: Database) -> None:
    await anext(database.iterate(NUMBERS))
    await database.execute(INSERT)


async def on_the_connection(database: Database) -> None:
    async for _ in database.connection().iterate(NUMBERS):
        await database.execute(INSERT)
        break


async def by_another_loop(database: Database) -> None:
    await by_break(database)
    rows = [row.n async for row in database.iterate(NUMBERS)]
    assert len(rows) == 1000


async def by_a_transaction(database: Database) -> None:
    async for _ in database.iterate(NUMBERS):
        break
    async with database.transaction():
        await database.execute(INSERT)


async def with_an_open_transaction(database: Database) -> None:
    async for _ in database.iterate(NUMBERS):
        transaction = await database.transaction()
        break
    await database.execute(INSERT)
    await transaction.commit()


WAYS = [by_break, by_return, by_an_error, by_one_row, by_another_loop, by_a_transaction]
WAYS += [on_the_connection]


@pytest.mark.parametrize("leave", [*WAYS, with_an_open_transaction])
async def test_what_is_written_beside_a_loop_that_is_left_is_kept(
    database: Database, leave: Callable[[Database], Awaitable[None]]
) -> None:
    async with database.connection():
        await leave(database)
        await database.execute(INSERT)
    assert await database.fetch_val("SELECT count(*) FROM written") == 2


async def test_failure_after_a_loop_does_not_undo_what_was_written_in_it(
    database: Database,
) -> None:
    async with database.connection():
        await by_break(database)
        with suppress(asyncpg.CheckViolationError):
            await database.execute("INSERT INTO written VALUES (9)")
        await database.execute(INSERT)
    assert await database.fetch_val("SELECT count(*) FROM written") == 2


async def test_connection_is_free_for_other_queries_in_its_loop(database: Database) -> None:
    async with asyncio.timeout(10), database.connection() as connection:
        async for row in connection.iterate("SELECT generate_series(1, :last) AS n", {"last": 3}):
            await connection.execute("INSERT INTO written VALUES (:n)", {"n": row.n})
    assert await database.fetch_val("SELECT sum(n) FROM written") == 6


async def test_loop_on_a_connection_that_was_handed_on_is_in_its_transaction(
    database: Database,
) -> None:
    async with database.connection() as connection, connection.transaction():
        await connection.execute(INSERT)

        async def count() -> int:
            return len([row async for row in connection.iterate("SELECT n FROM written")])

        assert await asyncio.create_task(count()) == 1


async def test_end_of_a_loop_after_a_failed_query_is_an_error(database: Database) -> None:
    """So is one after a query that was cancelled: what was written beside the loop is not kept."""

    async def pass_over() -> None:
        async for _ in database.iterate(NUMBERS):
            await database.execute(INSERT)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await database.execute("SELECT pg_sleep(5)")
            break

    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        async with database.connection():
            await pass_over()
    assert await database.fetch_val("SELECT count(*) FROM written") == 0


async def test_transaction_around_a_loop_decides(database: Database) -> None:
    async with database.transaction(force_rollback=True):
        await by_break(database)
    assert await database.fetch_val("SELECT count(*) FROM written") == 0


async def test_loop_that_is_left_holds_no_connection(database: Database) -> None:
    for leave in WAYS:
        async with database.connection():
            await leave(database)
        await leave(database)
    await asyncio.sleep(0.2)
    assert len(database.pool.places.idle) == len(database.pool.connections)
