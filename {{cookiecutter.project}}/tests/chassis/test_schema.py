import asyncio

import asyncpg
import pytest

from {{ cookiecutter.__package }}.chassis import schema
from {{ cookiecutter.__package }}.chassis.database import Database
from {{ cookiecutter.__package }}.chassis.schema import (
    SchemaCheck,
    require_schema,
)


async def test_database_is_asked_once_by_many(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and within a second."""
    asked = 0

    async def count(*_: object) -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.1)

    monkeypatch.setattr(schema, "find_fault", count)
    check = SchemaCheck("0001")
    await asyncio.gather(*(check.find_fault(database) for _ in range(50)))
    await check.find_fault(database)
    assert asked == 1
    monkeypatch.setattr(schema, "KEPT", 0.0)
    await check.find_fault(database)
    assert asked == 2


def test_application_may_go_on_in_another_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with each of Starlette's test clients."""

    async def find_none(*_: object) -> None:
        pass

    monkeypatch.setattr(schema, "find_fault", find_none)
    check = SchemaCheck("0001")
    database = Database("postgresql://localhost/none")
    for _ in range(2):
        assert asyncio.run(check.find_fault(database)) is None


async def test_slow_database_is_told_to_all_who_ask(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second check may begin while somebody waits for the first."""

    async def answer_late(*_: object) -> None:
        await asyncio.sleep(0.5)

    monkeypatch.setattr(schema, "find_fault", answer_late)
    monkeypatch.setattr(schema, "KEPT", 0.1)
    monkeypatch.setattr(schema, "READY_TIMEOUT", 0.6)
    check = SchemaCheck("0001")
    first = asyncio.create_task(check.find_fault(database))
    await asyncio.sleep(0.2)
    second = asyncio.create_task(check.find_fault(database))
    assert [await first, await second] == [None, None]


async def test_caller_that_is_cancelled_stops_no_other(database: Database) -> None:
    check = SchemaCheck("0000")
    first, second = (asyncio.create_task(check.find_fault(database)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is None


async def test_all_who_ask_are_told_that_the_database_is_away() -> None:
    check = SchemaCheck("0000")
    async with Database("postgresql://nobody@127.0.0.1:1/none") as away:
        for _ in range(3):
            assert await check.find_fault(away) == "The database is away"


async def test_older_schema_ends_the_start(database: Database) -> None:
    with pytest.raises(RuntimeError, match="run alembic upgrade head"):
        await require_schema(database, "9999")


@pytest.mark.parametrize(
    "setting", ["timezone=nowhere", "role=no_such_role", "options=-c%20lock_timeout%3Dx"]
)
async def test_session_that_cannot_be_ends_the_start_and_is_503(
    database_url: str, setting: str
) -> None:
    separator = "&" if "?" in database_url else "?"
    refused = asyncpg.InvalidAuthorizationSpecificationError
    async with Database(f"{database_url}{separator}{setting}") as database:
        with pytest.raises(refused, match=r"the session is refused: .*(nowhere|no_such|lock)"):
            await require_schema(database, "0001")
        assert await SchemaCheck("0001").find_fault(database) == "The database refuses the service"


async def test_right_that_is_missing_ends_the_start(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise asyncpg.InsufficientPrivilegeError("permission denied for table alembic_version")

    monkeypatch.setattr(schema, "is_current", refuse)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await require_schema(database, "0001")
