"""A worker that dies is replaced, and the others do not notice; workers that all die end it."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import psutil
import pytest
from baking import environment
from serving import HYPERCORN, Service, free_port

from faults.load import Answer, ask, open_client
from faults.postgres import Postgres
from faults.service import RUNNER, copy, serve_on


async def load(client: httpx.AsyncClient, end: float) -> list[Answer]:
    answers = []
    while time.monotonic() < end:
        answers.append(await ask(client, "/sleep?seconds=0.01"))
    return answers


async def kill_one(service: Service) -> tuple[list[Answer], list[Answer], float | None]:
    """Kills one of two workers under load.

    The answers on the connections to the victim, those to the other, and the seconds until two
    workers serve again.
    """
    async with AsyncExitStack() as stack:
        tasks: dict[int, list[asyncio.Task[list[Answer]]]] = {}
        end = time.monotonic() + 8
        # Which worker takes a connection is chance.
        while len(tasks) < 2 or min(map(len, tasks.values())) < 3:
            assert time.monotonic() < end - 5
            client = await stack.enter_async_context(open_client(service.url))
            worker = int((await ask(client, "/sleep?seconds=0")).text)
            tasks.setdefault(worker, []).append(asyncio.create_task(load(client, end)))
        victim, other = tasks
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        replaced = None
        client = await stack.enter_async_context(open_client(service.url))
        while time.monotonic() < end:
            answer = await ask(client, "/sleep?seconds=0", headers={"Connection": "close"})
            if replaced is None and answer.status == 200 and int(answer.text) not in tasks:
                replaced = time.monotonic() - killed
        mine, others = [
            [answer for task in tasks[worker] for answer in await task]
            for worker in (victim, other)
        ]
    return mine, others, replaced


def failures(answers: list[Answer]) -> int:
    return sum(answer.status != 200 for answer in answers)


async def test_killed_worker_is_replaced(
    extended: Path, postgres: Postgres, figure: Callable[[str, str], None]
) -> None:
    with serve_on(extended, postgres.url(), WEB_CONCURRENCY="2") as service:
        mine, others, replaced = await kill_one(service)
    assert replaced is not None
    figure(
        "kill -9 of one of two workers under load",
        f"{failures(mine)} of its {len(mine)} requests failed, {failures(others)} of the other's "
        f"{len(others)}, replaced in {replaced:.2f} s",
    )
    assert failures(others) == 0
    assert failures(mine) > 0
    assert replaced < 2


async def test_control_of_plain_hypercorn(extended: Path, postgres: Postgres) -> None:
    """Hypercorn ends with its first dead worker, and the requests of the other fail."""
    with serve_on(extended, postgres.url(), HYPERCORN, WEB_CONCURRENCY="2") as service:
        _, others, replaced = await kill_one(service)
    assert failures(others) > 0
    assert replaced is None


# Every worker ends at once.
CRASH = {"my_service/chassis/server.py": {"    loop =": "    raise SystemExit(3)\n    loop ="}}


def crash(project: Path, postgres: Postgres, timeout: float) -> int:
    """The exit code; raises `subprocess.TimeoutExpired` where it goes on."""
    process = subprocess.Popen(
        [project / ".venv/bin" / RUNNER[0], *RUNNER[1:]],
        cwd=project,
        env=environment(DATABASE_URL=postgres.url(), PORT=str(free_port()), WEB_CONCURRENCY="2")
        | {"PYTHONPATH": str(project)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return process.wait(timeout)
    finally:
        process.terminate()
        process.wait()


def test_crash_loop_ends(
    extended: Path, postgres: Postgres, tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    project = copy(extended, tmp_path, CRASH)
    start = time.monotonic()
    exit_code = crash(project, postgres, timeout=60)
    figure("crash loop", f"exit {exit_code} after {time.monotonic() - start:.1f} s")
    assert exit_code == 1


def test_control_of_crash_loop(extended: Path, postgres: Postgres, tmp_path: Path) -> None:
    endless = {"MAX_YOUNG_DEATHS = 3": "MAX_YOUNG_DEATHS = 10**9"}
    project = copy(extended, tmp_path, CRASH | {"my_service/chassis/supervisor.py": endless})
    with pytest.raises(subprocess.TimeoutExpired):
        crash(project, postgres, timeout=15)


def test_workers_end_with_their_supervisor(extended: Path, postgres: Postgres) -> None:
    """They would hold the port against its successor."""
    with serve_on(extended, postgres.url(), WEB_CONCURRENCY="2") as service:
        workers = psutil.Process(service.process.pid).children()
        service.process.kill()
        service.process.wait()
        _, alive = psutil.wait_procs(workers, timeout=5)
    assert [worker for worker in alive if worker.status() != psutil.STATUS_ZOMBIE] == []
