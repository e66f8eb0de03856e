"""What an owner saves while the service runs for development: none of it ends more than a run."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from baking import bake, install, run
from faults.postgres import run_postgres
from serving import Service, launch, serve, wait_until_ready

pytestmark = pytest.mark.slow

MIGRATION = 'revision = "0002"\ndown_revision = "0001"\n\n\ndef upgrade() -> None:\n    {}\n'

# A file, what is saved in it, how that is mended, and what tells of it; None: as it was before.
MISTAKES: dict[str, tuple[str, str, str | None, str]] = {
    "syntax": ("my_service/home.py", "def half(\n", None, "SyntaxError: '(' was never closed"),
    "import": ("my_service/users.py", "import nothing\n", None, "No module named 'nothing'"),
    "setting": (".env", "LOG_LEVEL=loud\n", None, "LOG_LEVEL must be "),
    "migration": (
        "migrations/versions/0002_half.py",
        MIGRATION.format("half()"),
        MIGRATION.format("pass"),
        "name 'half' is not defined",
    ),
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bake whose files the tests change."""
    project = bake(tmp_path_factory.mktemp("reload"))
    (project / ".env").touch()
    install(project)
    return project


@pytest.fixture(scope="module")
def reloading(own: Path) -> Iterator[Service]:
    """Run as the README says, on the embedded database."""
    with serve_anew(own, "/readyz") as service:
        yield service


@contextmanager
def serve_anew(project: Path, ready: str) -> Iterator[Service]:
    path = f"{project / '.venv/bin'}:{os.environ['PATH']}"  # as `uv run` sets it
    with serve(project, read_command(project), ready=ready, PATH=path) as service:
        yield service


def read_command(project: Path) -> list[str]:
    """The README's command that serves anew whenever a file changes."""
    text = (project / "README.md").read_text()
    [command] = re.findall(r"\| serve, starting anew .*? \| `uv run ([^`]+)`", text)
    return str(command).split()


def wait_for_end(service: Service, told: str) -> None:
    """Until nobody serves, and that is told."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert service.process.poll() is None, service.log.read_text()
        try:
            httpx.get(f"{service.url}/livez")
        except httpx.TransportError:
            if told in service.log.read_text():
                return
        time.sleep(0.05)
    raise AssertionError(service.log.read_text())


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_waited_out(own: Path, reloading: Service, mistake: str) -> None:
    name, wrong, mended, told = MISTAKES[mistake]
    file = own / name
    before = file.read_text() if file.exists() else ""
    printed = len(reloading.log.read_text())
    file.write_text(before + wrong)
    wait_for_end(reloading, told)
    lines = reloading.log.read_text()[printed:].splitlines()
    assert len([line for line in lines if told in line]) == 1
    assert f"Starting anew, as this changed: {name}" in lines
    file.write_text(mended or before)
    wait_until_ready(reloading.url, reloading.process, reloading.log, "/readyz")


def test_command_ends_at_once_where_a_script_started_it(own: Path) -> None:
    """By `&`: a shell has SIGINT ignored then, and a command that has no handler for it yet."""
    script = 'trap "" INT; exec "$@"'
    waiting = "import time; print('up', flush=True); time.sleep(60)"
    command = [*read_command(own)[:3], "python", "-c", waiting]
    path = f"{own / '.venv/bin'}:{os.environ['PATH']}"
    with launch(own, ["/bin/sh", "-c", script, "sh", *command], PATH=path) as reloading:
        for number in (1, 2):
            deadline = time.monotonic() + 4
            while reloading.log.read_text().splitlines().count("up") < number:
                assert time.monotonic() < deadline, reloading.log.read_text()
                time.sleep(0.1)
            time.sleep(1)  # until its files are watched
            (own / ".env").write_text("")


def test_pending_migration_is_waited_out(own: Path) -> None:
    """Of a database that is not the embedded one: its owner migrates it, and saves a file."""
    file = own / ".env"
    with run_postgres() as postgres:
        settings = f"DATABASE_URL={postgres.url()}\n"
        with serve_anew(own, "/livez") as service:
            file.write_text(settings)
            wait_for_end(service, "run alembic upgrade head")
            run(own, "alembic", "upgrade", "head")
            file.write_text(settings)
            wait_until_ready(service.url, service.process, service.log, "/readyz")
    file.write_text("")
