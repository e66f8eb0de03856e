"""A start that cannot succeed ends at once, with one line that says why."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from baking import environment
from serving import HYPERCORN, free_port

from faults.postgres import Postgres
from faults.service import COMMANDS, RUNNER, copy

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
    with ExitStack() as stack:
        if fault == "port taken":
            stack.enter_context(socket.create_server(("127.0.0.1", int(settings["PORT"]))))
        yield settings


def start(
    project: Path, command: Sequence[str] = RUNNER, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command of the project's environment until it ends by itself."""
    return subprocess.run(
        [project / ".venv/bin" / command[0], *command[1:]],
        cwd=project,
        env=environment(PYTHONPATH=str(project), **settings),
        capture_output=True,
        text=True,
        timeout=30,
    )


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
        begin = time.monotonic()
        done = start(extended, WEB_CONCURRENCY=str(workers), **settings)
        seconds = time.monotonic() - begin
    figure(f"start, {fault}, {workers} workers", f"exit {done.returncode} after {seconds:.1f} s")
    assert done.returncode == 1
    [line] = (done.stdout + done.stderr).splitlines()
    assert FAULTS[fault] in line
    assert seconds < 5


@pytest.mark.parametrize("fault", FAULTS)
def test_failed_start_of_hypercorn(extended: Path, postgres: Postgres, fault: str) -> None:
    with fail(fault, postgres) as settings:
        done = start(extended, HYPERCORN, **settings)
    assert done.returncode == 1
    [line] = (done.stdout + done.stderr).splitlines()
    assert FAULTS[fault] in line.replace(r"\"", '"')
    assert "Traceback" not in line


MIDDLEWARE = """
class Broken:
    def __init__(self, app):
        raise ValueError("no key for Broken")

middleware += [Middleware(Broken)]
handlers ="""


@pytest.mark.parametrize("workers", [1, 2])
def test_middleware_that_cannot_be_made(
    extended: Path, postgres: Postgres, tmp_path: Path, workers: int
) -> None:
    """Starlette makes it at the first event, and Hypercorn takes what fails then for no lifespan"""
    project = copy(extended, tmp_path, {"my_service/app.py": {"\nhandlers =": MIDDLEWARE}})
    settings = {"PORT": str(free_port()), "DATABASE_URL": postgres.url()}
    done = start(project, WEB_CONCURRENCY=str(workers), **settings)
    assert done.returncode == 1
    [line] = (done.stdout + done.stderr).splitlines()
    assert line == "The start failed: ValueError: no key for Broken"


def test_interrupt_of_a_start(extended: Path, postgres: Postgres, tmp_path: Path) -> None:
    """Ctrl-C reaches all processes of a terminal, and is no error of any."""
    begin = "    async with AsyncExitStack() as stack:\n"
    wait = f'    print("up", flush=True)\n    await asyncio.sleep(20)\n{begin}'
    project = copy(extended, tmp_path, {"my_service/lifespan.py": {begin: wait}})
    process = subprocess.Popen(
        [project / ".venv/bin" / RUNNER[0], *RUNNER[1:]],
        cwd=project,
        env=environment(
            PYTHONPATH=str(project),
            PORT=str(free_port()),
            WEB_CONCURRENCY="2",
            DATABASE_URL=postgres.url(),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )
    with process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        os.killpg(process.pid, signal.SIGINT)
        try:
            output, _ = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert output == ""
    assert process.returncode != 0


JOB = """
@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[State]:
    async def work() -> None:
        await asyncio.sleep(1)
        raise ConnectionError("no redis at 1.2.3.4")

    async with asyncio.TaskGroup() as group, open_state(app) as state:
        group.create_task(work())
        yield state
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_job_that_fails(extended: Path, postgres: Postgres, tmp_path: Path, command: str) -> None:
    """What the lifespan opened is closed with it: the process ends, and is not to be asked."""
    edit = {"async def lifespan(": "async def open_state("}
    project = copy(extended, tmp_path, {"my_service/lifespan.py": edit})
    with (project / "my_service/lifespan.py").open("a") as file:
        file.write(JOB)
    settings = {"PORT": str(free_port()), "DATABASE_URL": postgres.url()}
    done = start(project, COMMANDS[command], LOG_LEVEL="error", **settings)
    assert done.returncode == 1
    line, *_ = (done.stdout + done.stderr).splitlines()
    assert "The service ends: ConnectionError: no redis at 1.2.3.4" in line
    assert "The end failed: ConnectionError: no redis at 1.2.3.4" in done.stdout + done.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_broken_migration(
    extended: Path, tmp_path: Path, figure: Callable[[str, str], None], workers: int
) -> None:
    """The embedded database is migrated by the start, which names it, and the cause in a line."""
    broken = {"def upgrade() -> None:": 'def upgrade() -> None:\n    op.execute("BROKEN")'}
    for folder in (tmp_path, (extended / ".venv").resolve().parents[1]):
        folder.chmod(0o755)  # PostgreSQL runs as another user.
    project = copy(extended, tmp_path, {"migrations/versions/0001_users_and_posts.py": broken})
    done = start(project, PORT=str(free_port()), WEB_CONCURRENCY=str(workers))
    figure(f"start, broken migration, {workers} workers", f"exit {done.returncode}")
    assert done.returncode == 1
    named, line = (done.stdout + done.stderr).splitlines()
    assert "Running upgrade  -> 0001" in named
    assert 'syntax error at or near "BROKEN"' in line


def test_certificate_that_is_none(extended: Path, postgres: Postgres) -> None:
    file = str(extended / "README.md")
    done = start(extended, DATABASE_URL=postgres.url(), TLS_CERTFILE=file, TLS_KEYFILE=file)
    assert done.returncode == 1
    [line] = (done.stdout + done.stderr).splitlines()
    assert line.startswith("TLS_CERTFILE and TLS_KEYFILE must be PEM files")


def test_control(extended: Path, postgres: Postgres) -> None:
    """Hypercorn's own workers exit 0 where their start fails."""
    with fail("migration missing", postgres) as settings:
        done = start(extended, HYPERCORN, WEB_CONCURRENCY="2", **settings)
    assert done.returncode == 0
