"""Two PostgreSQL, one streaming to the other: what hangs, only reads, or is lost."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.load import count
from faults.postgres import Postgres, Standby, run_postgres, run_standby
from faults.service import serve_on
from migrating import alembic

from cluster.writers import Writers

Figure = Callable[[str, str], None]
MIXED = ["/users", "/orm"] * 10
POOL = 5
BACKENDS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'service'"


@pytest.fixture
def primary(writing: Path) -> Iterator[Postgres]:
    with run_postgres() as primary:
        alembic(writing, "upgrade", "head", url=primary.url())
        yield primary
        primary.thaw()


@pytest.fixture
def standby(primary: Postgres) -> Iterator[Standby]:
    with run_standby(primary) as standby:
        yield standby


def both(primary: Postgres, standby: Postgres, attributes: str = "primary") -> str:
    hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
    return f"postgresql://postgres@{hosts}/postgres?target_session_attrs={attributes}"


def forbid_changes(primary: Postgres, value: str) -> None:
    primary.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    primary.execute("SELECT pg_reload_conf()")


async def test_primary_hangs(
    writing: Path, primary: Postgres, standby: Standby, figure: Figure
) -> None:
    """The standby is promoted meanwhile: SQL, ORM, /readyz and migrations come to it"""
    url = both(primary, standby)
    with serve_on(writing, url) as service:
        async with Writers(service.url, MIXED) as writers:
            await writers.wait_for(200)
            primary.freeze()
            await asyncio.sleep(2)
            await asyncio.to_thread(standby.promote)
            promoted = time.monotonic()
            await asyncio.sleep(6)
    waits = writers.waits(promoted)
    start = time.monotonic()
    migrated = await asyncio.to_thread(alembic, writing, "upgrade", "head", url=url)
    migration = time.monotonic() - start
    figure(
        "the primary hangs, the standby is promoted, 20 writers",
        f"{dict(writers.count())}, back after {waits} s, a migration takes {migration:.1f} s",
    )
    assert writers.count().keys() == {201, 503}
    assert max(waits.values()) < 5
    assert migrated.returncode == 0, migrated.stderr
    assert migration < 8


async def test_primary_only_reads(
    writing: Path, primary: Postgres, standby: Standby, figure: Figure
) -> None:
    """And the standby is promoted"""
    with serve_on(writing, both(primary, standby, "read-write")) as service:
        async with Writers(service.url, MIXED) as writers:
            await writers.wait_for(200)
            await asyncio.to_thread(forbid_changes, primary, "on")
            await asyncio.sleep(1.5)
            await asyncio.to_thread(standby.promote)
            promoted = time.monotonic()
            await asyncio.sleep(3)
    waits = writers.waits(promoted)
    figure(
        "the primary only reads, the standby is promoted, 20 writers",
        f"{dict(writers.count())}, /readyz {dict(count(writers.answers['/readyz']))}, "
        f"back after {waits} s",
    )
    assert writers.count().keys() == {201, 503}
    assert 503 in count(writers.answers["/readyz"])
    assert max(waits["/users"], waits["/orm"]) < 1
    assert waits["/readyz"] < 2.5  # Its answer is kept for a second.


async def test_only_database_only_reads(writing: Path, primary: Postgres, figure: Figure) -> None:
    with serve_on(writing, primary.url()) as service:
        async with Writers(service.url, MIXED) as writers:
            await writers.wait_for(200)
            await asyncio.to_thread(forbid_changes, primary, "on")
            await asyncio.sleep(3)
            before = len(writers.answers["/readyz"])
            await asyncio.to_thread(forbid_changes, primary, "off")
            back = time.monotonic()
            await asyncio.sleep(3)
    waits = writers.waits(back)
    figure(
        "the only database only reads for 3 s, 20 writers",
        f"{dict(writers.count())}, back after {waits} s",
    )
    assert writers.count().keys() == {201, 503}
    assert count(writers.answers["/readyz"][before - 10 : before]).keys() == {503}
    assert max(waits["/users"], waits["/orm"]) < 1


async def test_synchronous_standby_is_lost(
    writing: Path, primary: Postgres, standby: Standby, figure: Figure
) -> None:
    """For 15 s each COMMIT waits for it, also where nobody waits for the COMMIT any more

    One that was not waited for is cancelled on the server: its connection is used again.
    """
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.execute("SELECT pg_reload_conf()")
    url = f"{primary.url()}?application_name=service"
    backends, paths = [], ["/users", "/transaction", "/orm", "/orm"] * 10
    with serve_on(writing, url, DATABASE_POOL_SIZE=str(POOL)) as service:
        async with Writers(service.url, paths) as writers:
            await writers.wait_for(200)
            standby.freeze()
            lost = time.monotonic()
            while time.monotonic() < lost + 15:
                backends.append(int(await asyncio.to_thread(primary.execute, BACKENDS)))
                await asyncio.sleep(0.2)
            standby.thaw()
            back = time.monotonic()
            await asyncio.sleep(3)
    waits = writers.waits(back)
    figure(
        f"the synchronous standby is lost for 15 s, 40 writers, two pools of {POOL}",
        f"{dict(writers.count())}, at most {max(backends)} backends, back after {waits} s",
    )
    assert writers.count().keys() == {201, 503}
    assert max(backends) <= 2 * POOL + 5
    assert max(waits.values()) < 5
