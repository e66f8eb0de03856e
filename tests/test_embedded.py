"""The embedded PostgreSQL on somebody's machine: terminals, other users, branches."""

import fcntl
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil
import pytest
from baking import bake, environment, install
from faults.service import RUNNER
from migrating import add_migrations
from serving import HYPERCORN, free_port, serve, wait_until_ready

pytestmark = pytest.mark.slow


@pytest.fixture
def fresh(project: Path) -> Iterator[Path]:
    """A bake without a database yet, in a folder that other users can reach."""
    with TemporaryDirectory(prefix="fresh-") as folder:
        Path(folder).chmod(0o755)
        fresh = bake(Path(folder))
        (fresh / ".venv").symlink_to(project / ".venv")
        yield fresh


def find_servers(*services: psutil.Process) -> list[psutil.Process]:
    """Every process of the embedded servers that the services have started."""
    found = [child for service in services for child in service.children(recursive=True)]
    return [process for process in found if process.name() == "postgres"]


@contextmanager
def serve_on_terminal(
    project: Path, command: tuple[str, ...], **variables: str
) -> Iterator[tuple[int, psutil.Process]]:
    """As from a shell; gives the end of the terminal that its window holds, and the process."""
    window, terminal = pty.openpty()
    port = free_port()

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [project / ".venv/bin" / command[0], *command[1:]],
        cwd=project,
        env=environment(PORT=str(port), PYTHONPATH=str(project), **variables),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    os.close(terminal)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process, Path(os.devnull), "/readyz")
        yield window, psutil.Process(process.pid)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize(
    ("end", "command", "workers"),
    [
        *(("Ctrl-C", command, workers) for command in (HYPERCORN, RUNNER) for workers in "12"),
        # Workers of Hypercorn's own outlive it: docs/known-limits.md.
        *(("closed", *each) for each in [(HYPERCORN, "1"), (RUNNER, "1"), (RUNNER, "2")]),
    ],
)
def test_terminal_ends_service_and_server(
    fresh: Path, end: str, command: tuple[str, ...], workers: str
) -> None:
    with serve_on_terminal(fresh, command, WEB_CONCURRENCY=workers) as (window, service):
        servers = find_servers(service)
        assert servers
        everything = [service, *service.children(recursive=True)]
        if end == "Ctrl-C":
            os.write(window, b"\x03")
        else:
            os.close(window)
        _, alive = psutil.wait_procs(everything, timeout=30)
        assert alive == []
    if end == "Ctrl-C":
        os.close(window)


def test_two_starts_at_once_in_one_folder(fresh: Path) -> None:
    """They share the server, which the first of them does not take along when it ends."""
    log, processes = fresh / "log", []
    ports = [free_port(), free_port()]
    with log.open("wb") as output:
        for port in ports:
            processes += [
                subprocess.Popen(
                    [fresh / ".venv/bin/python", "-m", "my_service"],
                    cwd=fresh,
                    env=environment(PORT=str(port), PYTHONPATH=str(fresh)),
                    stdout=output,
                    stderr=output,
                )
            ]
    first, second = processes
    try:
        for port, process in zip(ports, processes, strict=True):
            wait_until_ready(f"http://127.0.0.1:{port}", process, log, "/readyz")
        servers = find_servers(*(psutil.Process(process.pid) for process in processes))
        assert len([each for each in servers if each.parent() not in servers]) == 1
        first.terminate()
        assert first.wait(30) == 0
        assert httpx.get(f"http://127.0.0.1:{ports[1]}/users").status_code == 200
        second.terminate()
        assert second.wait(30) == 0
        assert psutil.wait_procs(servers, timeout=30)[1] == []
    finally:
        for process in processes:
            process.kill()
            process.wait()


def find_reachable_python() -> str:
    """This Python, or the system's, that users other than root can run."""
    for python in (sys.executable, "/usr/bin/python3"):
        file = Path(os.path.realpath(python))
        if file.exists() and all(parent.stat().st_mode & 0o001 for parent in file.parents):
            return python
    pytest.skip("Every Python is root's alone")


def test_second_user_of_the_machine(fresh: Path) -> None:
    """Each has a server of their own, at the same time; nothing of one is in the other's way."""
    if os.geteuid() != 0:
        pytest.skip("Root alone can run a program as another user")
    python = find_reachable_python()
    theirs = fresh.parent / "theirs"
    shutil.copytree(fresh, theirs, ignore=shutil.ignore_patterns(".venv"))
    for path in [theirs, *theirs.rglob("*")]:
        shutil.chown(path, "games", "games")
    install(theirs, python=python)  # root's, as is what uv links it to
    with serve(fresh, RUNNER, PYTHONPATH=str(fresh)) as ours:
        port, log = free_port(), theirs / "log"
        with log.open("wb") as output:
            other = subprocess.Popen(
                [theirs / ".venv/bin/python", "-m", "my_service"],
                cwd=theirs,
                user="games",
                group="games",
                extra_groups=[],
                env=environment(PORT=str(port), PYTHONPATH=str(theirs), HOME=str(theirs)),
                stdout=output,
                stderr=output,
            )
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", other, log, "/readyz")
            servers = find_servers(psutil.Process(other.pid))
            assert {process.username() for process in servers} == {"games"}
            other.terminate()
            assert other.wait(30) == 0
            assert psutil.wait_procs(servers, timeout=30)[1] == []
            assert httpx.get(f"{ours.url}/users").status_code == 200
        finally:
            other.kill()
            other.wait()


def test_branch_without_the_newest_migration(fresh: Path) -> None:
    """It serves with what the other branch has added, and says so in a line."""
    tables, migrations = fresh / "my_service/tables.py", fresh / "migrations/versions"
    before = tables.read_text()
    add_migrations(fresh, "op.execute('ALTER TABLE users ADD nickname text')")
    with serve(fresh, RUNNER, PYTHONPATH=str(fresh)):
        pass
    tables.write_text(before)
    (migrations / "0002_more.py").unlink()
    with serve(fresh, RUNNER, PYTHONPATH=str(fresh)) as service:
        assert httpx.get(f"{service.url}/users").status_code == 200
        lines = service.log.read_text().splitlines()
    [line] = [line for line in lines if "newer" in line]
    assert "docs/migrations.md" in line
