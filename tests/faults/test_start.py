"""A start that cannot succeed ends at once, with one line that says why."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from baking import environment
from serving import HYPERCORN, free_port

from faults.postgres import Postgres
from faults.service import RUNNER

FAULTS = {
    "bad setting": "PORT must be a port number",
    "port taken": "Address already in use",
    "migration missing": "run alembic upgrade head",
    "database missing": 'database "none" does not exist',
}


@contextmanager
def fail(fault: str, postgres: Postgres) -> Iterator[dict[str, str]]:
    """The settings for a start that has this fault."""
    settings = {"PORT": str(free_port()), "DATABASE_URL": postgres.url()}
    if fault == "bad setting":
        settings["PORT"] = "http"
    elif fault == "database missing":
        settings["DATABASE_URL"] = postgres.url("none")
    elif fault == "migration missing":
        settings["DATABASE_URL"] = postgres.url("template1")
    with socket.socket() as other:
        if fault == "port taken":
            other.bind(("127.0.0.1", int(settings["PORT"])))
            other.listen()
        yield settings


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("fault", FAULTS)
def test_failed_start(
    extended: Path,
    postgres: Postgres,
    figure: Callable[[str, str], None],
    fault: str,
    workers: int,
) -> None:
    with fail(fault, postgres) as settings:
        start = time.monotonic()
        done = subprocess.run(
            [extended / ".venv/bin" / RUNNER[0], *RUNNER[1:]],
            cwd=extended,
            env=environment(**settings, WEB_CONCURRENCY=str(workers), PYTHONPATH=str(extended)),
            capture_output=True,
            text=True,
            timeout=30,
        )
        seconds = time.monotonic() - start
    figure(f"start, {fault}, {workers} workers", f"exit {done.returncode} after {seconds:.1f} s")
    assert done.returncode == 1
    [line] = (done.stdout + done.stderr).splitlines()
    assert FAULTS[fault] in line
    assert seconds < 5


def test_control(extended: Path, postgres: Postgres) -> None:
    """Hypercorn's own workers exit 0 where their start fails."""
    with fail("migration missing", postgres) as settings:
        done = subprocess.run(
            [extended / ".venv/bin" / HYPERCORN[0], *HYPERCORN[1:]],
            cwd=extended,
            env=environment(**settings, WEB_CONCURRENCY="2", PYTHONPATH=str(extended)),
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert done.returncode == 0
