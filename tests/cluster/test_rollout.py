"""An update and the way back under load: two versions of the service, one database."""

import asyncio
import itertools
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from faults.load import ask, open_client
from faults.postgres import run_postgres
from faults.service import copy, serve_on
from migrating import add_migrations, alembic
from serving import Service

CLIENTS = 8
REQUESTS = 5000
COLUMNS = "id, name, email, created_at"
NEWER = {
    "my_service/users.py": {
        COLUMNS: f"{COLUMNS}, nickname",
        "    created_at: Timestamp\n": "    created_at: Timestamp\n    nickname: str | None\n",
        "(name, email)\n": "(name, email, nickname)\n",
        "(:name, :email)\n": "(:name, :email, 'newer')\n",
    },
    "my_service/tables.py": {
        'Column("email", sa.Text, nullable=False, unique=True),': (
            'Column("email", sa.Text, nullable=False, unique=True), Column("nickname", sa.Text),'
        ),
    },
}


class Load:
    """Clients that ask the services of `urls` by turns until `stop` is set."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.statuses: Counter[int | str] = Counter()
        self.slowest = 0.0
        self.stop = asyncio.Event()
        self.numbers = itertools.count()

    async def run(self) -> None:
        async with open_client("http://127.0.0.1", timeout=30) as client:
            while not self.stop.is_set():
                number = next(self.numbers)
                url = self.urls[number % len(self.urls)]
                if number % 3:
                    path = ["/users/1", "/users/1/sqlalchemy"][number % 2]
                    answer = await ask(client, url + path)
                else:
                    body = {"name": "Ada", "email": f"{number}@rollout.example"}
                    answer = await ask(client, f"{url}/users", "POST", json=body)
                self.statuses[answer.status] += 1
                self.slowest = max(self.slowest, answer.seconds)

    async def pass_on(self, number: int) -> None:
        """Returns when so many more have been answered."""
        end = self.statuses.total() + number
        while self.statuses.total() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def leave(load: Load, service: Service) -> int:
    """As Kubernetes ends a pod: requests still come after it has been told, for a while."""
    service.process.terminate()
    await asyncio.sleep(0.05)
    load.urls.remove(service.url)
    return await asyncio.to_thread(service.process.wait, 40)


# Until the migration has waited for it in vain: its `lock_timeout` is 1 s.
HOLD_LOCK = """
BEGIN;
SELECT FROM users LIMIT 1;
DO $$ BEGIN
    FOR attempt IN 1..300 LOOP
        EXIT WHEN EXISTS
            (SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock');
        PERFORM pg_sleep(0.1);
    END LOOP;
    PERFORM pg_sleep(3);
END $$;
COMMIT
"""


async def test_update_and_way_back(
    project: Path, tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    """The migration has to wait for a lock; the code that is rolled back to has nothing to do"""
    newer = copy(project, tmp_path, NEWER)
    add_migrations(newer, "op.execute('ALTER TABLE users ADD nickname text')")

    def migrate(folder: Path) -> subprocess.CompletedProcess[str]:
        return alembic(folder, "upgrade", "head", url=postgres.url())

    start = time.monotonic()
    with run_postgres() as postgres:
        migrate(project)
        postgres.execute("INSERT INTO users (name, email) VALUES ('Ada', 'ada@rollout.example')")
        load = Load()
        exits = []
        with serve_on(project, postgres.url()) as old:
            load.urls.append(old.url)
            clients = [asyncio.create_task(load.run()) for _ in range(CLIENTS)]
            await load.pass_on(REQUESTS // 5)
            lock = asyncio.create_task(asyncio.to_thread(postgres.execute, HOLD_LOCK))
            await asyncio.sleep(0.2)
            migrated = await asyncio.to_thread(migrate, newer)
            await lock
            new = await asyncio.to_thread((serving := serve_on(newer, postgres.url())).__enter__)
            load.urls.append(new.url)
            await load.pass_on(REQUESTS // 5)
            exits.append(await leave(load, old))
            await load.pass_on(REQUESTS // 5)
        back = await asyncio.to_thread(migrate, project)
        with serve_on(project, postgres.url()) as old:
            load.urls.append(old.url)
            await load.pass_on(REQUESTS // 5)
            exits.append(await leave(load, new))
            await load.pass_on(max(REQUESTS // 5, REQUESTS - load.statuses.total()))
            load.stop.set()
            await asyncio.gather(*clients)
        serving.__exit__(None, None, None)
        by_newer = int(postgres.execute("SELECT count(*) FROM users WHERE nickname = 'newer'"))
    seconds = time.monotonic() - start
    figure(
        "an update and the way back under load, with a migration that waits for a lock",
        f"{dict(load.statuses)}, slowest {load.slowest:.1f} s, in {seconds:.0f} s",
    )
    assert migrated.returncode == 0, migrated.stderr
    assert "tried again" in migrated.stderr
    assert back.returncode == 0, back.stderr
    assert load.statuses.keys() == {200, 201}
    assert load.statuses.total() >= REQUESTS
    assert exits == [0, 0]
    assert by_newer > 100
