"""The database goes away for 5 s under 40 clients: each is told so in time, then all is well."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from faults.load import Answer, ask, count, open_client
from faults.postgres import Postgres
from faults.service import copy, serve_on

CLIENTS = 40
OUTAGE = 5.0  # seconds
PATHS = ["/users/1", "/users", "/users/1/sqlalchemy", "/with-context"]
FAULTS: dict[str, tuple[Callable[[Postgres], None], Callable[[Postgres], None]]] = {
    "stopped": (Postgres.stop, Postgres.start),
    "frozen": (Postgres.freeze, Postgres.thaw),
    "killed": (Postgres.kill, Postgres.start),
}


async def load(url: str, path: str, end: float) -> list[Answer]:
    answers = []
    async with open_client(url, timeout=30) as client:
        while time.monotonic() < end:
            answers.append(await ask(client, path))
            await asyncio.sleep(0.05)
    return answers


async def suffer(
    url: str, postgres: Postgres, fault: str
) -> tuple[list[Answer], list[Answer], float]:
    """Answers to the load, answers of /readyz, when the database was back."""
    end = time.monotonic() + 1 + OUTAGE + 4
    paths = [PATHS[index % len(PATHS)] for index in range(CLIENTS)]
    clients = [asyncio.create_task(load(url, path, end)) for path in paths]
    probe = asyncio.create_task(load(url, "/readyz", end))
    await asyncio.sleep(1)
    await asyncio.to_thread(FAULTS[fault][0], postgres)
    await asyncio.sleep(OUTAGE)
    await asyncio.to_thread(FAULTS[fault][1], postgres)
    back = time.monotonic()
    return [answer for client in clients for answer in await client], await probe, back


@pytest.mark.parametrize("fault", FAULTS)
async def test_outage(
    extended: Path, postgres: Postgres, figure: Callable[[str, str], None], fault: str
) -> None:
    postgres.execute(
        "INSERT INTO users (id, name, email) OVERRIDING SYSTEM VALUE"
        " VALUES (1, 'Ada', 'ada@example.com') ON CONFLICT DO NOTHING"
    )
    with serve_on(extended, postgres.url(), WEB_CONCURRENCY="2") as service:
        before = {each.pid for each in psutil.Process(service.process.pid).children()}
        answers, probes, back = await suffer(service.url, postgres, fault)
        after = {each.pid for each in psutil.Process(service.process.pid).children()}
        log = service.log.read_text()
    slowest = max(answer.seconds for answer in answers)
    returned = min(a.end for a in answers if a.status == 200 and a.end > back) - back
    slowest_probe = max(answer.seconds for answer in probes)
    figure(
        f"PostgreSQL {fault} for {OUTAGE:g} s under {CLIENTS} clients",
        f"{dict(count(answers))}, slowest {slowest:.1f} s, first 200 after {returned:.2f} s, "
        f"readyz {dict(count(probes))}, slowest {slowest_probe:.1f} s",
    )
    assert count(answers).keys() - {504} == {200, 503}, log[-3000:]
    assert slowest < 5
    assert returned < 1
    assert before == after
    assert count(probes).keys() == {200, 503}
    assert slowest_probe < 1.5
    tail = [answer for answer in answers if answer.start > back + 1]
    assert count(tail).keys() == {200}


async def test_control_of_status(extended: Path, postgres: Postgres, tmp_path: Path) -> None:
    """Without the translation of errors, an outage is the service's own failure."""
    edits = {"my_service/app.py": {"errors.handlers | database_errors.handlers": "errors.handlers"}}
    project = copy(extended, tmp_path, edits)
    with serve_on(project, postgres.url()) as service:
        answers, *_ = await suffer(service.url, postgres, "stopped")
    assert count(answers)[500]


async def test_control_of_time(extended: Path, postgres: Postgres, tmp_path: Path) -> None:
    """Without limits, everybody waits for as long as the server is frozen."""
    limits = "acquire_timeout=60.0, connect_timeout=59.0, command_timeout=60.0"
    edits = {"my_service/lifespan.py": {"pooler=pooler)": f"pooler=pooler, {limits})"}}
    with serve_on(copy(extended, tmp_path, edits), postgres.url()) as service:
        answers, *_ = await suffer(service.url, postgres, "frozen")
    assert max(answer.seconds for answer in answers) >= OUTAGE
