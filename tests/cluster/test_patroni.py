"""A cluster that fails over by itself, under writers that come to it in two ways."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.postgres import PROGRAMS as POSTGRES
from faults.service import serve_on
from migrating import alembic

from cluster.patroni import PROGRAMS, Cluster, run_cluster
from cluster.writers import Writers

EVENTS: dict[str, Callable[[Cluster, str], None]] = {
    "killed": Cluster.kill,
    "switched over": Cluster.switch,
    "frozen": Cluster.freeze,
}
PATHS = ["/users", "/orm"] * 4


@pytest.fixture(scope="module")
def cluster(writing: Path) -> Iterator[Cluster]:
    """Skipped without Debian's packages; with CI=true that is a failure."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    missing = [program for program in PROGRAMS if not shutil.which(program, path=path)]
    if not Path("/usr/lib/postgresql").is_dir():
        missing.append("postgresql")
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"not installed: {', '.join(missing)}")
    assert missing == []
    with run_cluster() as cluster:
        migrated = alembic(writing, "upgrade", "head", url=cluster.hosts_url())
        assert migrated.returncode == 0, migrated.stderr
        yield cluster


def read_emails(url: str) -> list[str]:
    command = [str(POSTGRES / "psql"), "-X", "-A", "-t", "-d", url, "-c", "SELECT email FROM users"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("event", EVENTS)
async def test_leader(
    writing: Path, cluster: Cluster, figure: Callable[[str, str], None], event: str
) -> None:
    """Nothing that was answered with 201 is lost or stored twice, the old leader being back"""
    leader = await asyncio.to_thread(cluster.wait_until_whole)
    urls = {"haproxy": cluster.url(), "three hosts": cluster.hosts_url()}
    domains = {way: f"{event}.{way}.example".replace(" ", "-") for way in urls}
    with (
        serve_on(writing, urls["haproxy"], DATABASE_POOL_SIZE="4") as first,
        serve_on(writing, urls["three hosts"], DATABASE_POOL_SIZE="4") as second,
    ):
        async with (
            Writers(first.url, PATHS, domains["haproxy"]) as by_haproxy,
            Writers(second.url, PATHS, domains["three hosts"]) as by_hosts,
        ):
            await by_hosts.wait_for(200)
            await asyncio.to_thread(EVENTS[event], cluster, leader)
            await asyncio.to_thread(cluster.wait_for_another, leader)
            await asyncio.sleep(4)
            if event != "switched over":
                await asyncio.to_thread(cluster.mend, leader)
            await asyncio.to_thread(cluster.wait_until_whole)
    stored = read_emails(cluster.url())
    for way, writers in zip(urls, [by_haproxy, by_hosts], strict=True):
        lost = set(writers.created) - set(stored)
        figure(
            f"Patroni's leader is {event}, by {way}",
            f"{dict(writers.count())}, {writers.gap():.1f} s without success, {len(lost)} lost",
        )
        assert lost == set()
        assert writers.count().keys() <= {201, 503, 504}
        assert writers.gap() < 45
    assert len(stored) == len(set(stored))
