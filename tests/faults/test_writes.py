"""What was answered with 201 is stored, whoever is killed meanwhile."""

import asyncio
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from baking import environment
from serving import free_port

from faults.load import ask, open_client
from faults.postgres import Postgres
from faults.service import RUNNER

STORED = "SELECT email FROM users WHERE email LIKE '%.writes.example'"


class Victim:
    """The service, started again on its port after each kill, without a wait for it to be ready."""

    def __init__(self, project: Path, postgres: Postgres) -> None:
        self.project = project
        self.port = free_port()
        self.variables = environment(
            DATABASE_URL=postgres.url(), PORT=str(self.port), LOG_LEVEL="critical"
        ) | {"PYTHONPATH": str(project)}
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [self.project / ".venv/bin" / RUNNER[0], *RUNNER[1:]],
            cwd=self.project,
            env=self.variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


async def write(url: str, name: str, stop: asyncio.Event) -> list[str]:
    """Creates users one after the other; the addresses that were answered with 201."""
    created = []
    async with open_client(url, timeout=10) as client:
        number = 0
        while not stop.is_set():
            number += 1
            email = f"{number}@{name}.writes.example"
            answer = await ask(client, "/users", "POST", json={"name": name, "email": email})
            if answer.status == 201:
                created.append(email)
            elif not isinstance(answer.status, int):
                await asyncio.sleep(0.05)
    return created


async def kill_at_random(
    project: Path, postgres: Postgres, rounds: int
) -> tuple[list[str], list[str]]:
    """The addresses that were answered with 201, and those that are stored.

    In each round the service and the server are both killed, each at a moment of its own.
    """
    postgres.execute("DELETE FROM users WHERE email LIKE '%.writes.example'")
    clock = random.Random(1)
    service = Victim(project, postgres)
    stop = asyncio.Event()
    url = f"http://127.0.0.1:{service.port}"

    async def kill_after(seconds: float, victim: Victim | Postgres) -> None:
        await asyncio.sleep(seconds)
        await asyncio.to_thread(victim.kill)
        await asyncio.to_thread(victim.start)

    try:
        writers = [asyncio.create_task(write(url, f"w{n}", stop)) for n in range(8)]
        async with open_client(url) as client:
            for _ in range(rounds):
                deadline = time.monotonic() + 20
                while (await ask(client, "/readyz")).status != 200:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.02)
                await asyncio.gather(
                    *(kill_after(clock.uniform(0, 0.4), victim) for victim in (service, postgres))
                )
        stop.set()
        created = [email for writer in writers for email in await writer]
    finally:
        service.kill()
    return created, postgres.execute(STORED).split()


async def test_every_created_user_is_stored(
    extended: Path, postgres: Postgres, figure: Callable[[str, str], None]
) -> None:
    created, stored = await kill_at_random(extended, postgres, 25)
    lost = set(created) - set(stored)
    figure(
        "POST /users, the service and PostgreSQL killed 50 times",
        f"{len(created)} answered 201, {len(lost)} lost, {len(stored) - len(set(stored))} twice",
    )
    assert len(created) > 500
    assert lost == set()
    assert len(stored) == len(set(stored))


async def test_control(extended: Path, postgres: Postgres) -> None:
    """Where the server answers before it has written, the same measurement finds what is lost."""
    postgres.execute("ALTER ROLE postgres SET synchronous_commit = off")
    try:
        created, stored = await kill_at_random(extended, postgres, 4)
    finally:
        postgres.execute("ALTER ROLE postgres RESET synchronous_commit")
    assert set(created) - set(stored)
