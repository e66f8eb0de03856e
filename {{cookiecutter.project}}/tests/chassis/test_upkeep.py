"""Connections are kept well: replaced before they grow old, cleaned up, closed in time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import pytest

from {{ cookiecutter.__package }}.chassis.connect import AcquireTimeout
from {{ cookiecutter.__package }}.chassis.database import Database

WHO = "SELECT pg_backend_pid()"
KEPT_CURSOR = "SELECT FROM pg_cursors WHERE name = 'kept'"


async def test_connection_is_lent_again(database: Database) -> None:
    assert await database.fetch_val(WHO) == await database.fetch_val(WHO)


async def test_connection_that_the_server_ended_is_replaced(database: Database) -> None:
    pid = await database.fetch_val(WHO)
    async with database.connection() as connection:
        other = asyncio.create_task(database.execute("SELECT 1"))  # opens another
        await other
        assert await connection.fetch_val(WHO) == pid
    other_pids = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = :pid"
    async with database.connection() as connection:
        mine = await connection.fetch_val(WHO)
        victim = next(p for p in [pid, await asyncio.create_task(ask_pid(database))] if p != mine)
        await connection.execute(other_pids, {"pid": victim})
    await asyncio.sleep(0.1)
    async with database.connection():
        assert await asyncio.create_task(ask_pid(database)) != victim


async def ask_pid(database: Database) -> int:
    pid: int = await database.fetch_val(WHO)
    return pid


@pytest.mark.parametrize("limit", [{"max_idle": 0.05}, {"max_age": 0.05}])
async def test_old_connection_is_replaced(database_url: str, limit: dict[str, Any]) -> None:
    async with Database(database_url, max_size=1, **limit) as database:
        pid = await ask_pid(database)
        await asyncio.sleep(0.1)
        await ask_pid(database)
        await asyncio.sleep(0.1)
        assert await ask_pid(database) != pid


async def test_nobody_waits_while_a_connection_is_replaced(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Database(database_url, max_size=1, max_age=0.2) as database:
        pid = await ask_pid(database)
        connect = database.pool.connect

        async def connect_slowly() -> Any:
            await asyncio.sleep(0.3)
            return await connect()

        monkeypatch.setattr(database.pool, "connect", connect_slowly)
        end, slowest = time.monotonic() + 1, 0.0
        while time.monotonic() < end:
            start = time.monotonic()
            await ask_pid(database)
            slowest = max(slowest, time.monotonic() - start)
        assert await ask_pid(database) != pid
    assert slowest < 0.2


async def change_raw(database: Database) -> None:
    async with database.connection() as connection:
        await connection.raw_connection.execute("SET application_name = 'changed'")


async def change_text(database: Database) -> None:
    await database.execute("SET application_name = 'changed'")


async def change_held(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("SELECT set_config('application_name', 'changed', false)")
        assert await connection.fetch_val("SHOW application_name") == "changed"


async def change_in_loop(database: Database) -> None:
    async for _ in database.iterate("SELECT set_config('application_name', 'changed', false)"):
        pass


async def change_in_block(database: Database) -> None:
    await database.execute("DO $$ BEGIN SET application_name = 'changed'; END $$")


@pytest.mark.parametrize(
    "change", [change_raw, change_text, change_held, change_in_loop, change_in_block]
)
async def test_session_that_was_changed_is_reset(
    database_url: str, change: Callable[[Database], Awaitable[None]]
) -> None:
    async with Database(database_url, max_size=1) as database:
        pid = await ask_pid(database)
        await change(database)
        assert await database.fetch_val("SHOW application_name") == ""
        assert await ask_pid(database) == pid


async def test_function_that_changes_the_session_is_noticed(database_url: str) -> None:
    """A tenant's, say: the next request may be another one's"""
    async with Database(database_url, max_size=1) as database:
        await database.execute("""CREATE FUNCTION set_tenant(name text) RETURNS text
            LANGUAGE sql AS $$ SELECT set_config('application_name', name, false) $$""")
    try:
        async with Database(database_url, max_size=1) as database:
            assert await database.fetch_val("SELECT set_tenant(:name)", {"name": "a"}) == "a"
            assert await database.fetch_val("SHOW application_name") == ""
    finally:
        async with Database(database_url, max_size=1) as database:
            await database.execute("DROP FUNCTION set_tenant")


@pytest.mark.parametrize(
    ("change", "look"),
    [
        ("SET ROLE pg_monitor", "SELECT current_user = session_user"),
        ("SET SESSION AUTHORIZATION pg_monitor", "SELECT session_user <> 'pg_monitor'"),
        ("DECLARE kept CURSOR WITH HOLD FOR SELECT 1", f"SELECT NOT EXISTS ({KEPT_CURSOR})"),
    ],
)
async def test_nothing_of_a_session_is_left(database_url: str, change: str, look: str) -> None:
    async with Database(database_url, max_size=1) as database:
        await database.execute(change)
        assert await database.fetch_val(look)


async def test_connection_whose_session_was_changed_is_not_replaced(database: Database) -> None:
    """What it had, as a lock or a tenant, another one has not."""
    async with database.connection():
        await database.execute("SELECT pg_advisory_lock(1)")
        with suppress(asyncpg.PostgresError):
            await database.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        with pytest.raises(asyncpg.InterfaceError, match="is closed"):
            await database.fetch_val("SELECT 1")
    assert await database.fetch_val("SELECT 1") == 1


async def test_forgotten_begin_is_rolled_back(database_url: str) -> None:
    """asyncpg says so to the event loop, which would log it."""
    complaints: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
    async with Database(database_url, max_size=1) as database:
        await database.execute("BEGIN")
        async with database.connection() as connection:
            assert not connection.raw_connection.is_in_transaction()
    loop.set_exception_handler(None)
    assert "active transaction" in complaints[0]


async def test_connection_to_a_server_that_only_reads_is_dropped(database: Database) -> None:
    pid = await ask_pid(database)
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await database.execute("DO $$ BEGIN RAISE SQLSTATE '25006'; END $$")
    assert await ask_pid(database) != pid


async def test_connection_that_only_reads_after_raw_use_is_dropped(database_url: str) -> None:
    separator = "&" if "?" in database_url else "?"
    url = f"{database_url}{separator}default_transaction_read_only=on"
    async with Database(url, max_size=1) as database:
        pid = await ask_pid(database)
        await change_raw(database)
        assert await ask_pid(database) != pid


async def test_start_that_fails_leaves_nothing_open(database_url: str) -> None:
    database = Database(database_url, min_size=2, max_size=1, acquire_timeout=0.2)
    with pytest.raises(AcquireTimeout):
        await database.connect()
    assert not database.pool.connections


async def hold_transaction(database: Database) -> None:
    await database.transaction()
    await asyncio.sleep(60)


async def hold_raw(database: Database) -> None:
    async with database.connection() as connection:
        await connection.raw_connection.execute("SELECT pg_sleep(1.9)")


@pytest.mark.parametrize("hold", [hold_transaction, hold_raw])
async def test_closing_ends_in_time_whatever_is_lent(
    database_url: str, hold: Callable[[Database], Any]
) -> None:
    database = Database(database_url, max_size=5)
    await database.connect()
    holders = [asyncio.create_task(hold(database)) for _ in range(5)]
    await asyncio.sleep(0.2)
    async with asyncio.timeout(3):
        await database.disconnect()
    for holder in holders:
        holder.cancel()
    await asyncio.wait(holders)
    with pytest.raises(asyncpg.InterfaceError):
        await database.fetch_val("SELECT 1")
