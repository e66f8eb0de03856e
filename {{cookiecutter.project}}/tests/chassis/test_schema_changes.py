"""A schema that changes while the service runs, and one that is behind."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from {{ cookiecutter.__package }}.chassis.database import Database
from {{ cookiecutter.__package }}.chassis.database_errors import find_answer
from {{ cookiecutter.__package }}.chassis.schema import is_current
from {{ cookiecutter.__package }}.chassis.sessions import open_sessions


@pytest.fixture(autouse=True)
async def changing(database: Database) -> AsyncIterator[None]:
    await database.execute("CREATE TABLE changing (n int)")
    await database.execute("INSERT INTO changing VALUES (1)")
    yield
    await database.execute("DROP TABLE changing")


N_TO_TEXT = "ALTER TABLE changing ALTER n TYPE text"


async def alter(database_url: str, script: str) -> None:
    """From elsewhere, as a migration does."""
    async with Database(database_url) as other, other.connection() as connection:
        await connection.raw_connection.execute(script)


async def test_plan_that_became_invalid_is_made_anew(database: Database, database_url: str) -> None:
    assert await database.fetch_val("SELECT n FROM changing") == 1
    await alter(database_url, N_TO_TEXT)
    assert await database.fetch_val("SELECT n FROM changing") == "1"


async def test_plan_that_became_invalid_is_503_in_a_transaction(
    database: Database, database_url: str
) -> None:
    assert await database.fetch_val("SELECT n FROM changing") == 1
    await alter(database_url, N_TO_TEXT)
    with pytest.raises(asyncpg.InvalidCachedStatementError) as raised:
        async with database.transaction():
            await database.fetch_val("SELECT n FROM changing")
    assert find_answer(raised.value) == (503, "The database has changed meanwhile")
    async with database.transaction():
        assert await database.fetch_val("SELECT n FROM changing") == "1"


async def test_plan_that_became_invalid_is_503_for_the_orm(database_url: str) -> None:
    query = text("SELECT n FROM changing")
    async with open_sessions(database_url, max_size=1) as sessions:
        async with sessions() as session:
            assert await session.scalar(query) == 1
        await alter(database_url, N_TO_TEXT)
        with pytest.raises(DBAPIError) as raised:
            async with sessions() as session:
                await session.scalar(query)
        assert find_answer(raised.value) == (503, "The database has changed meanwhile")
        async with sessions() as session:
            assert await session.scalar(query) == "1"


async def test_type_that_changed_is_503_once_for_the_orm(database_url: str) -> None:
    query = text("SELECT changing FROM changing")
    async with open_sessions(database_url, max_size=1) as sessions:
        async with sessions() as session:
            assert await session.scalar(query) == (1,)
        await alter(database_url, "ALTER TABLE changing ADD more int")
        with pytest.raises(DBAPIError) as raised:
            async with sessions() as session:
                await session.scalar(query)
        assert find_answer(raised.value)
        async with sessions() as session:
            assert await session.scalar(query) == (1, None)


ENUM_ANEW = """
    ALTER TYPE mood RENAME TO old_mood;
    CREATE TYPE mood AS ENUM ('good', 'fair');
    ALTER TABLE changing ALTER how TYPE mood USING how::text::mood;"""
REPLACED = [
    ("INSERT INTO changing (how) VALUES (:value) RETURNING how", "good", ENUM_ANEW),
    ("SELECT how FROM changing WHERE how = :value", "good", ENUM_ANEW + "DROP TYPE old_mood"),
    (
        "SELECT word FROM changing WHERE word = :value",
        "00000000-0000-0000-0000-000000000001",
        "ALTER TABLE changing ALTER word TYPE uuid USING word::uuid",
    ),
]


@pytest.fixture
async def moody(database: Database) -> AsyncIterator[None]:
    await database.execute("CREATE TYPE mood AS ENUM ('good', 'bad')")
    await database.execute("ALTER TABLE changing ADD how mood, ADD word text")
    yield
    await database.execute("ALTER TABLE changing DROP how, DROP word")
    await database.execute("DROP TYPE IF EXISTS mood, old_mood")


@pytest.mark.parametrize(("query", "value", "script"), REPLACED)
@pytest.mark.usefixtures("moody")
async def test_type_of_a_parameter_that_is_replaced_is_503_once(
    database_url: str, query: str, value: str, script: str
) -> None:
    async with Database(database_url, max_size=1) as database:
        await database.fetch_all(query, {"value": value})
        await alter(database_url, script)
        with pytest.raises(asyncpg.PostgresError) as raised:
            await database.fetch_all(query, {"value": value})
        assert find_answer(raised.value) == (503, "The database has changed meanwhile")
        await database.fetch_all(query, {"value": value})


@pytest.mark.parametrize(("query", "value", "script"), REPLACED)
@pytest.mark.usefixtures("moody")
async def test_type_of_a_parameter_that_is_replaced_is_503_once_for_the_orm(
    database_url: str, query: str, value: str, script: str
) -> None:
    async with open_sessions(database_url, max_size=1) as sessions:
        async with sessions() as session:
            await session.execute(text(query), {"value": value})
        await alter(database_url, script)
        with pytest.raises(DBAPIError) as raised:
            async with sessions() as session:
                await session.execute(text(query), {"value": value})
        assert find_answer(raised.value) == (503, "The database has changed meanwhile")
        async with sessions() as session:
            await session.execute(text(query), {"value": value})


async def test_query_that_never_fitted_is_a_mistake(database: Database) -> None:
    pid = await database.fetch_val("SELECT pg_backend_pid()")
    for _ in range(2):
        with pytest.raises(asyncpg.UndefinedFunctionError) as raised:
            await database.execute("SELECT FROM changing WHERE n = current_date")
        assert find_answer(raised.value) is None
    assert await database.fetch_val("SELECT pg_backend_pid()") == pid


async def test_connection_that_the_server_has_closed_is_not_lent_by_the_orm(
    database_url: str, database: Database
) -> None:
    async with open_sessions(database_url, max_size=1) as sessions:
        async with sessions() as session:
            pid = await session.scalar(text("SELECT pg_backend_pid()"))
        await database.execute("SELECT pg_terminate_backend(:pid)", {"pid": pid})
        await asyncio.sleep(0.1)
        async with sessions() as session:
            assert await session.scalar(text("SELECT pg_backend_pid()")) != pid


async def test_schema_is_current_from_its_revision_on(database: Database) -> None:
    newest = await database.fetch_val("SELECT version_num FROM alembic_version")
    assert await is_current(database, newest)
    assert await is_current(database, "0000")
    assert not await is_current(database, "9999")


async def test_database_without_a_schema_is_not_current(database: Database) -> None:
    async with database.transaction(force_rollback=True):
        await database.execute("DROP TABLE alembic_version")
        assert not await is_current(database, "0000")


async def test_database_that_only_reads_is_not_ready(database_url: str) -> None:
    separator = "&" if "?" in database_url else "?"
    url = f"{database_url}{separator}default_transaction_read_only=on"
    async with Database(url) as database:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError) as raised:
            await is_current(database, "0000")
    assert find_answer(raised.value) == (503, "The database takes no changes now")


async def test_session_that_only_reads_is_dropped_by_the_orm(database_url: str) -> None:
    async with open_sessions(database_url, max_size=1) as sessions:
        async with sessions() as session:
            pid = await session.scalar(text("SELECT pg_backend_pid()"))
            await session.execute(text("SET default_transaction_read_only = on"))
            await session.commit()
            with pytest.raises(DBAPIError):
                await session.execute(text("DELETE FROM changing"))
        async with sessions() as session:
            assert await session.scalar(text("SELECT pg_backend_pid()")) != pid
