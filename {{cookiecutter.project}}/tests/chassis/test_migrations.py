"""Migrations wait for locks, and for each other, without stopping the service."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
from alembic.util import CommandError
from sqlalchemy import Connection, text

from {{ cookiecutter.__package }}.chassis import migrations
from {{ cookiecutter.__package }}.chassis.database import Database


@pytest.fixture(autouse=True)
async def migrated(database: Database) -> AsyncIterator[None]:
    await database.execute("CREATE TABLE migrated (n int)")
    yield
    await database.execute("DROP TABLE migrated")


def alter(connection: Connection) -> None:
    with connection.begin():
        connection.execute(text("ALTER TABLE migrated ADD COLUMN IF NOT EXISTS m int"))


def build_index(connection: Connection) -> None:
    with connection.execution_options(isolation_level="AUTOCOMMIT").begin():
        connection.execute(text("CREATE INDEX CONCURRENTLY ON migrated (n)"))


def fail_with(statement: str) -> Callable[[Connection], None]:
    def fail(connection: Connection) -> None:
        connection.execute(text(statement))

    return fail


async def test_lock_is_waited_for_in_short_turns(database: Database, database_url: str) -> None:
    """While others hold it, who only wants to read is stopped for a second at most."""
    async with database.transaction():
        await database.fetch_all("SELECT n FROM migrated")
        migration = asyncio.create_task(migrations.run(database_url, alter))
        slowest, end = 0.0, time.monotonic() + 2.5
        while time.monotonic() < end:
            start = time.monotonic()
            await asyncio.create_task(database.fetch_all("SELECT n FROM migrated"))
            slowest = max(slowest, time.monotonic() - start)
            await asyncio.sleep(0.02)
        assert not migration.done()
    assert 0.5 < slowest < 1.8
    await asyncio.wait_for(migration, 10)
    assert await database.fetch_all("SELECT m FROM migrated") == []


async def test_lock_that_never_comes_ends_in_a_line(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "ATTEMPTS", 1)
    async with database.transaction():
        await database.fetch_all("SELECT n FROM migrated")
        with pytest.raises(CommandError, match=r"LockNotAvailableError: .* lock timeout"):
            await migrations.run(database_url, alter)


async def test_two_at_once_take_turns(database_url: str) -> None:
    """An index that is built concurrently waits for all queries: no turn is waited for in one."""
    running = [migrations.run(database_url, build_index) for _ in range(3)]
    await asyncio.wait_for(asyncio.gather(*running), 15)


async def test_role_whose_queries_must_be_short_migrates(database_url: str) -> None:
    url = f"{database_url}&statement_timeout=200"
    await migrations.run(url, fail_with("SELECT pg_sleep(0.5)"))


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ("SELEC 1", 'PostgresSyntaxError: syntax error at or near "SELEC"'),
        ("INSERT INTO migrated VALUES ('secret')", "InvalidTextRepresentationError"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", "ConnectionDoesNotExistError: .*"),
    ],
)
async def test_statement_that_fails_ends_in_a_line(
    database_url: str, statement: str, line: str
) -> None:
    with pytest.raises(CommandError, match=f"^{line}$"):
        await migrations.run(database_url, fail_with(statement))


async def test_database_that_is_away_ends_in_a_line() -> None:
    with pytest.raises(CommandError, match=r"^ConnectionRefusedError: .*$"):
        await migrations.run("postgresql://nobody@127.0.0.1:1/none", alter)


async def test_fault_of_the_code_is_no_fault_of_the_database(database_url: str) -> None:
    def read_file(connection: Connection) -> None:
        open("/nowhere/values.csv")

    with pytest.raises(FileNotFoundError, match=r"values\.csv"):
        await migrations.run(database_url, read_file)
