import asyncio
import re
from pathlib import Path

import pytest

from {{ cookiecutter.__package }}.chassis import pool
from {{ cookiecutter.__package }}.chassis.database import connect, fetch_one

WHO = "SELECT pg_backend_pid() AS pid"


async def ask_who(database: pool.Database) -> int:
    row = await fetch_one(database, WHO)
    assert row is not None
    pid: int = row["pid"]
    return pid


async def test_connection_is_lent_again(database: pool.Database) -> None:
    assert await ask_who(database) == await ask_who(database)


async def test_connections_of_one_task_differ(database: pool.Database) -> None:
    async with connect(database) as one, connect(database) as two:
        assert await one.fetchval(WHO) != await two.fetchval(WHO)


async def test_connection_that_was_closed_is_replaced(database: pool.Database) -> None:
    pid = await ask_who(database)
    async with connect(database) as _, connect(database) as other:
        await other.execute("SELECT pg_terminate_backend($1)", pid)
    await asyncio.sleep(0.1)
    assert await ask_who(database) != pid


async def test_connection_that_was_long_idle_is_replaced(
    database: pool.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncpg's pool may give the same one again, but with its session reset."""
    async with connect(database) as connection:
        await connection.execute("SET application_name = 'old'")
    monkeypatch.setattr(pool, "MAX_IDLE", 0.0)
    row = await fetch_one(database, "SHOW application_name")
    assert row is not None
    assert row["application_name"] == ""


async def test_connection_with_an_error_is_cleaned_up(database: pool.Database) -> None:
    with pytest.raises(ValueError, match="mistaken"):
        await fail_after_change(database)
    row = await fetch_one(database, "SHOW application_name")
    assert row is not None
    assert row["application_name"] == ""


async def fail_after_change(database: pool.Database) -> None:
    async with connect(database) as connection:
        await connection.execute("SET application_name = 'changed'")
        raise ValueError("mistaken")


def test_no_query_changes_its_session() -> None:
    """A connection is not reset when it goes back to the pool: see `Slot`."""
    package = Path(pool.__file__).parent
    changes = r"SET (?!LOCAL)[a-z_.]+ (=|TO) |TEMP(ORARY)? TABLE|pg_(try_)?advisory_lock|LISTEN "
    found = [
        (file.name, match[0])
        for file in package.glob("*.py")
        for match in re.finditer(changes, file.read_text())
    ]
    assert found == []
