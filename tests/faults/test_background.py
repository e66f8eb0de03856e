"""Work after the response runs to its end, whatever its client does, and SIGTERM waits for it."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import HYPERCORN, Service

from faults.load import ask, count, open_client
from faults.postgres import Postgres
from faults.service import RUNNER, copy, protocols, read_events, read_names, serve_on, workers

TASKS = 200
KINDS = ["async", "thread", "transaction", "several"]
# The client is watched, and the time limited, as long as the application runs.
UNPROTECTED = {
    "my_service/chassis/in_flight.py": {
        "if self.response_complete or (self.client_gone and self.response_start):": "if False:",
    },
    "my_service/chassis/watched.py": {"if not self.response_ends:": "if True:"},
}


def read_errors(service: Service) -> list[dict[str, Any]]:
    return [event for event in read_events(service) if event["level"] == "error"]


async def accept_many(service: Service, http2: bool) -> list[str]:
    """Hands 200 tasks in, of 0.1 to 5 s, and sends SIGTERM when all are answered; their names."""
    chance = random.Random(1)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(open_client(service.url, http2)) for _ in range(5)
        ]
        names = [str(number) for number in range(TASKS)]
        paths = [
            f"/accept?kind={KINDS[int(name) % 2]}&seconds={chance.uniform(0.1, 5)}&name={name}"
            for name in names
        ]
        load = [ask(client, "/users") for client in clients * 20]
        answers = await asyncio.gather(
            *(ask(clients[int(name) % 5], path) for name, path in zip(names, paths, strict=True)),
            *load,
        )
        service.process.terminate()
        assert count(answers) == {202: TASKS, 200: len(load)}
    return names


@protocols
@workers
async def test_every_task_ends(
    extended: Path,
    postgres: Postgres,
    done: Path,
    figure: Callable[[str, str], None],
    workers: str,
    http2: bool,
) -> None:
    settings = {"WEB_CONCURRENCY": workers, "DONE": str(done)}
    with serve_on(extended, postgres.url(), RUNNER, **settings) as service:
        names = await accept_many(service, http2)
        start = time.monotonic()
        code = await asyncio.to_thread(service.process.wait, 60)
        seconds = time.monotonic() - start
        errors = read_errors(service)
    ended = Counter(read_names(done))
    protocol = "HTTP/2" if http2 else "HTTP/1.1"
    figure(
        f"SIGTERM, {TASKS} background tasks of 0.1 to 5 s, {protocol}, {workers} workers",
        f"{len(ended)} ended, exit {code} after {seconds:.1f} s",
    )
    assert ended == Counter(names)
    assert errors == []
    assert code == 0


@protocols
async def test_control_of_every_task(
    extended: Path, postgres: Postgres, done: Path, tmp_path: Path, http2: bool
) -> None:
    """A task that were bound like its request would be lost with its client."""
    project = copy(extended, tmp_path, UNPROTECTED)
    with serve_on(project, postgres.url(), DONE=str(done)) as service:
        await accept_many(service, http2)
        await asyncio.to_thread(service.process.wait, 60)
    assert len(Counter(read_names(done))) < TASKS


@protocols
async def test_client_that_leaves(
    extended: Path, postgres: Postgres, done: Path, http2: bool
) -> None:
    """Right after its answer, with its connection: what it handed in is done all the same."""
    with serve_on(extended, postgres.url(), DONE=str(done)) as service:
        for kind in KINDS:
            async with open_client(service.url, http2) as client:
                await ask(client, f"/accept?kind={kind}&seconds=1.5&name={kind}")
        assert await asyncio.to_thread(service.stop) == 0
    assert Counter(read_names(done)) == {"async": 1, "thread": 1, "transaction": 1, "several": 3}


@pytest.mark.parametrize("command", [RUNNER, HYPERCORN], ids=["runner", "hypercorn"])
def test_failure_is_logged_once(
    extended: Path, postgres: Postgres, done: Path, command: tuple[str, ...]
) -> None:
    """And what is cut, with the id of its request."""
    variables = {"BACKGROUND_TIMEOUT": "1", "DONE": str(done)}
    kinds = ["failing", "async", "thread", "transaction"]
    with serve_on(extended, postgres.url(), command, **variables) as service:
        for kind in kinds:
            seconds = 0.3 if kind == "failing" else 2
            path = f"/accept?kind={kind}&seconds={seconds}&name={kind}"
            httpx.get(service.url + path, headers={"X-Request-ID": kind})
        deadline = time.monotonic() + 10
        while len(read_errors(service)) < len(kinds):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert service.stop() == 0
        events = read_errors(service)
    cut = "What ran on after the response took over 1 s: cut"
    assert {event["request_id"]: event["message"] for event in events} == {
        "failing": "What ran on after the response failed",
        "async": cut,
        "thread": cut,
        "transaction": cut,
    }
    assert len(events) == len(kinds)
    assert "RuntimeError" in events[0]["traceback"]
