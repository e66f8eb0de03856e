"""A task of the service's own that raises is logged and goes on, by the recipe for one."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from baking import bake
from recipes import apply
from serving import Service

from faults.load import ask_many, count, open_client
from faults.postgres import Postgres
from faults.service import RUNNER, copy, edit, read_events, serve_on, workers

ENTER = "await stack.enter_async_context(repeating(count_users, database, pause=60))"
TIMES = 10  # that each process's job has raised
# A plain task, whose error nobody takes.
UNPROTECTED = {"my_service/periodic.py": {"except Exception:": "except ZeroDivisionError:"}}


@pytest.fixture(scope="module")
def periodic(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bake with the recipe, whose job asks the database for what is not there, every 0.1 s."""
    folder = tmp_path_factory.mktemp("periodic")
    periodic = bake(folder)
    (periodic / ".venv").symlink_to(project / ".venv")
    apply(periodic, "periodic-tasks", folder)
    edit(periodic / "my_service/periodic.py", "count(*) FROM users", "count(*) FROM nowhere")
    edit(periodic / "my_service/lifespan.py", ENTER, ENTER.replace("60", "0.1"))
    return periodic


@pytest.fixture
def nowhere(postgres: Postgres) -> Iterator[str]:
    """Makes the table that the job asks for."""
    yield "CREATE TABLE nowhere ()"
    postgres.execute("DROP TABLE IF EXISTS nowhere")


def find_events(service: Service, text: str) -> list[dict[str, Any]]:
    return [event for event in read_events(service) if text in event["message"]]


async def wait_for(service: Service, text: str, number: int) -> list[dict[str, Any]]:
    """So many events; raises `TimeoutError`."""
    async with asyncio.timeout(20):
        while True:
            events = find_events(service, text)
            if len(events) >= number:
                return events
            await asyncio.sleep(0.05)


@workers
async def test_job_that_raises(
    periodic: Path,
    postgres: Postgres,
    nowhere: str,
    figure: Callable[[str, str], None],
    workers: str,
) -> None:
    """Each time with its cause, until it can; requests do not notice, and the end waits for it."""
    settings = {"WEB_CONCURRENCY": workers, "LOG_LEVEL": "info"}
    with serve_on(periodic, postgres.url(), RUNNER, **settings) as service:
        failures = await wait_for(service, "count_users", TIMES * int(workers))
        async with open_client(service.url) as client:
            answers = await ask_many([client], "/users", 100)
        postgres.execute(nowhere)
        done = await wait_for(service, "There are users", TIMES)
        start = time.monotonic()
        code = await asyncio.to_thread(service.stop)
        seconds = time.monotonic() - start
        errors = [event for event in read_events(service) if event["level"] == "error"]
    figure(
        f"a periodic task that raises, {workers} workers",
        f"{len(failures)} failures in the log, done again until it could, "
        f"exit {code} after {seconds:.1f} s",
    )
    assert count(answers) == {200: 100}
    for failure in errors:
        assert "count_users" in failure["message"]
        assert 'relation "nowhere" does not exist' in failure["traceback"]
    assert {event["users"] for event in done} == {0}
    assert code == 0


async def test_control(periodic: Path, postgres: Postgres, tmp_path: Path) -> None:
    project = copy(periodic, tmp_path, UNPROTECTED)
    with serve_on(project, postgres.url(), LOG_LEVEL="info") as service:
        await asyncio.sleep(2)
        assert find_events(service, "count_users") == []
