import asyncio

import pytest

from {{ cookiecutter.__package }}.chassis import schema
from {{ cookiecutter.__package }}.chassis.pool import Database
from {{ cookiecutter.__package }}.chassis.schema import (
    SchemaCheck,
    require_schema,
)


async def test_database_is_asked_once_by_many(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and within a second."""
    asked = 0

    async def count(*_: object) -> bool:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.1)
        return True

    monkeypatch.setattr(schema, "is_current", count)
    check = SchemaCheck("0001")
    assert all(await asyncio.gather(*(check.ask(database) for _ in range(50))))
    assert await check.ask(database)
    assert asked == 1
    monkeypatch.setattr(schema, "KEPT", 0.0)
    assert await check.ask(database)
    assert asked == 2


async def test_caller_that_is_cancelled_stops_no_other(database: Database) -> None:
    check = SchemaCheck("0000")
    first, second = (asyncio.create_task(check.ask(database)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second


async def test_older_schema_ends_the_start(database: Database) -> None:
    with pytest.raises(RuntimeError, match="run alembic upgrade head"):
        await require_schema(database, "9999")
