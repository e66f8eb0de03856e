import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from starlette.exceptions import HTTPException

from {{ cookiecutter.__package }}.chassis.database import (
    connect,
    fetch_all,
    fetch_one,
    open_pool,
    open_session,
    open_sessions,
)
from {{ cookiecutter.__package }}.chassis.pool import Database

SIZE = 2
Sessions = async_sessionmaker[AsyncSession]


@pytest.fixture
async def sessions(database_url: str) -> AsyncIterator[Sessions]:
    async with open_sessions(database_url, SIZE) as sessions:
        yield sessions


async def test_rows_come_as_asked(database: Database) -> None:
    row = await fetch_one(database, "SELECT $1::int AS one, $2::text AS two", 1, "2")
    assert row is not None
    assert dict(row) == {"one": 1, "two": "2"}
    assert await fetch_one(database, "SELECT 1 WHERE false") is None
    rows = await fetch_all(database, "SELECT n FROM generate_series(1, 3) AS n")
    assert [row["n"] for row in rows] == [1, 2, 3]


async def test_absent_server_is_503() -> None:
    async with open_pool("postgresql://nobody@127.0.0.1:1/none", SIZE) as database:
        with pytest.raises(HTTPException) as raised:
            await fetch_one(database, "SELECT 1")
    assert raised.value.status_code == 503
    assert raised.value.headers == {"Retry-After": "1"}


async def test_slow_query_is_504(database: Database) -> None:
    with pytest.raises(HTTPException) as raised:
        await fetch_one(database, "SELECT pg_sleep(3)")
    assert raised.value.status_code == 504


async def test_error_of_the_query_itself_is_not_hidden(database: Database) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await fetch_one(database, "SELECT * FROM nowhere")


async def insert_twice(connection: asyncpg.Connection) -> None:
    insert = "INSERT INTO alembic_version VALUES ('rolled back')"
    async with connection.transaction():
        await connection.execute(insert)
        await connection.execute(insert)


async def test_transaction_is_rolled_back_by_an_exception(database: Database) -> None:
    async with connect(database) as connection:
        with pytest.raises(asyncpg.UniqueViolationError):
            await insert_twice(connection)
    query = "SELECT 1 FROM alembic_version WHERE version_num = 'rolled back'"
    assert await fetch_one(database, query) is None


async def test_forgotten_transaction_is_rolled_back(database: Database) -> None:
    """asyncpg says so to the event loop, which would log it."""
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    async with connect(database) as connection:
        await connection.execute("BEGIN")
    loop.set_exception_handler(None)
    assert "active transaction" in complaints[0]["message"]
    query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
    row = await fetch_one(database, query)
    assert row is not None
    assert row["count"] == 0


async def test_full_pool_is_503(database: Database) -> None:
    async def hold() -> None:
        async with connect(database):
            await asyncio.sleep(60)

    holders = [asyncio.create_task(hold()) for _ in range(SIZE)]
    await asyncio.sleep(0.5)
    with pytest.raises(HTTPException) as raised:
        await fetch_one(database, "SELECT 1")
    assert raised.value.status_code == 503
    for holder in holders:
        holder.cancel()
    await asyncio.wait(holders)
    assert await fetch_one(database, "SELECT 1")


async def test_full_pool_of_the_orm_is_503(sessions: Sessions) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(SIZE):
            session = await stack.enter_async_context(open_session(sessions))
            await session.connection()
        with pytest.raises(HTTPException) as raised:
            async with open_session(sessions) as session:
                await session.connection()
    assert raised.value.status_code == 503


async def test_absent_server_is_503_for_the_orm() -> None:
    async with open_sessions("postgresql://nobody@127.0.0.1:1/none", SIZE) as sessions:
        with pytest.raises(HTTPException) as raised:
            async with open_session(sessions) as session:
                await session.connection()
    assert raised.value.status_code == 503


async def test_slow_query_of_the_orm_is_504(sessions: Sessions) -> None:
    with pytest.raises(HTTPException) as raised:
        async with open_session(sessions) as session:
            await session.execute(text("SELECT pg_sleep(3)"))
    assert raised.value.status_code == 504


async def ask_through_pool(url: str) -> None:
    async with open_pool(url, SIZE) as database:
        await fetch_one(database, "SELECT 1")


async def ask_through_orm(url: str) -> None:
    async with open_sessions(url, SIZE) as sessions, open_session(sessions) as session:
        await session.connection()


@pytest.mark.parametrize("ask", [ask_through_pool, ask_through_orm])
async def test_silent_server_is_503(ask: Callable[[str], Awaitable[None]]) -> None:
    """It takes connections, and says nothing."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        with pytest.raises(HTTPException) as raised:
            await ask(f"postgresql://nobody@127.0.0.1:{port}/none")
    assert raised.value.status_code == 503
