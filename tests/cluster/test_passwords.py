"""A password that changes while the service runs, in a file as Kubernetes mounts a Secret."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from faults.load import count
from faults.postgres import run_postgres
from faults.service import serve_on
from migrating import alembic

from cluster.writers import Writers

LOG_IN = "host all service 127.0.0.1/32 scram-sha-256\n"
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'service'"


def mount(folder: Path, password: str) -> None:
    """As the kubelet does: a new folder, to which a link is changed in one step."""
    files = folder / f"..{time.monotonic()}"
    files.mkdir()
    (files / "pgpass").write_text(f"*:*:*:service:{password}\n")
    (files / "pgpass").chmod(0o400)
    (folder / "..new").symlink_to(files.name)
    (folder / "..new").rename(folder / "..data")
    if not (folder / "pgpass").is_symlink():
        (folder / "pgpass").symlink_to("..data/pgpass")


async def test_password_changes(
    writing: Path, tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    """All sessions end with the old one; the new one is in the file a second later"""
    mount(tmp_path, "first")
    with run_postgres() as postgres:
        rules = postgres.folder / "data/pg_hba.conf"
        rules.write_text(LOG_IN + rules.read_text())
        postgres.execute("SELECT pg_reload_conf()")
        postgres.execute("CREATE ROLE service LOGIN PASSWORD 'first'")
        postgres.execute("GRANT CREATE ON SCHEMA public TO service")
        url = postgres.url().replace("postgres@", "service@") + f"?passfile={tmp_path}/pgpass"
        migrated = alembic(writing, "upgrade", "head", url=url)
        assert migrated.returncode == 0, migrated.stderr
        with serve_on(writing, url) as service:
            async with Writers(service.url, ["/users", "/orm"] * 5) as writers:
                await writers.wait_for(100)
                postgres.execute("ALTER ROLE service PASSWORD 'second'")
                postgres.execute(END)
                await asyncio.sleep(1)
                mount(tmp_path, "second")
                changed = time.monotonic()
                await asyncio.sleep(2.5)
            log = service.log.read_text()
        again = alembic(writing, "current", url=url)
    waits = writers.waits(changed)
    figure(
        "the password changes, a second before its file",
        f"{dict(writers.count())}, /readyz {dict(count(writers.answers['/readyz']))}, "
        f"back after {waits} s",
    )
    assert writers.count().keys() == {201, 503}, log[-3000:]
    assert "Traceback" not in log
    assert max(waits["/users"], waits["/orm"]) < 1
    assert waits["/readyz"] < 2.5
    assert again.stdout == "0001 (head)\n"
