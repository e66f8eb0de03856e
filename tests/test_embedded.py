"""The embedded PostgreSQL on somebody's machine: terminals, other users, branches."""

import fcntl
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from threading import Event

import httpx
import psutil
import pytest
from baking import bake, environment, install
from faults.service import RUNNER
from migrating import add_migrations
from serving import HYPERCORN, free_port, launch, serve, wait_until_ready

pytestmark = pytest.mark.slow

KILLS = 12


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
    return [process for process in found if find_name(process) == "postgres"]


def find_name(process: psutil.Process) -> str:
    """Empty where it has ended since it was found, as what initdb starts soon does."""
    name = ""
    with suppress(psutil.NoSuchProcess):
        name = process.name()
    return name


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
    variables = {"PYTHONPATH": str(fresh)}
    with launch(fresh, RUNNER, **variables) as first, launch(fresh, RUNNER, **variables) as second:
        first.wait_until_ready()
        second.wait_until_ready()
        servers = find_servers(*(psutil.Process(each.process.pid) for each in (first, second)))
        assert len([each for each in servers if each.parent() not in servers]) == 1
        assert first.stop() == 0
        assert httpx.get(f"{second.url}/users").status_code == 200
        assert second.stop() == 0
        assert psutil.wait_procs(servers, timeout=30)[1] == []


def test_interrupt_in_the_first_start_reaches_the_service_and_ends_all(fresh: Path) -> None:
    with launch(fresh, RUNNER, PYTHONPATH=str(fresh)) as service:
        while not (fresh / ".postgres.new/PG_VERSION").exists():
            assert service.process.poll() is None
        parts = find_parts(psutil.Process(service.process.pid))
        # And what it has just forked, which has its name until it runs another program.
        initdb, *_ = [part for part in parts if find_name(part) == "initdb"]
        assert os.getsid(initdb.pid) != os.getsid(service.process.pid)  # not the terminal's
        service.process.send_signal(signal.SIGINT)
        assert psutil.wait_procs(parts, timeout=30)[1] == []


def find_parts(process: psutil.Process) -> list[psutil.Process]:
    """All that runs of a service: itself, its workers, the server and what looks after that."""
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def write_users(url: str, name: str, stop: Event) -> list[str]:
    """The paths of those that were answered 201, until `stop`."""
    created: list[str] = []
    with httpx.Client(base_url=url, timeout=5) as client:
        for number in count():
            if stop.is_set():
                return created
            user = {"name": "Ada", "email": f"{name}-{number}@example.com"}
            try:
                response = client.post("/users", json=user)
            except httpx.TransportError:
                stop.wait(0.05)
                continue
            if response.status_code == 201:
                created.append(response.headers["location"])
    return created


def test_any_part_is_killed_at_any_moment(
    fresh: Path, project: Path, record_property: Callable[[str, object], None]
) -> None:
    """The next start serves with every row that was answered for; a neighbour notices nothing."""
    random = Random(1)
    created: list[str] = []
    killed: Counter[str] = Counter()
    with serve(project, RUNNER) as neighbour, ThreadPoolExecutor() as pool:
        its_parts = find_parts(psutil.Process(neighbour.process.pid))
        for number in range(KILLS):
            workers, stop = str(random.randint(1, 2)), Event()
            in_start = random.random() < 0.3
            with launch(fresh, RUNNER, PYTHONPATH=str(fresh), WEB_CONCURRENCY=workers) as service:
                if not in_start:
                    service.wait_until_ready()
                writer = pool.submit(write_users, service.url, str(number), stop)
                time.sleep(random.uniform(0, 1.5 if in_start else 0.3))
                parts = find_parts(psutil.Process(service.process.pid))
                victim = random.choice(parts)
                killed[f"{find_name(victim)}{' in the start' if in_start else ''}"] += 1
                with suppress(psutil.NoSuchProcess):
                    victim.kill()
                time.sleep(0.1)
                stop.set()
                created += writer.result()
        with serve(fresh, RUNNER, PYTHONPATH=str(fresh)) as service:
            with httpx.Client(base_url=service.url) as client:
                lost = [path for path in created if client.get(path).status_code != 200]
        assert all(part.is_running() for part in its_parts)
        assert httpx.get(f"{neighbour.url}/users").status_code == 200
    figure = f"{dict(killed)}, {len(created)} rows, {len(lost)} lost"
    record_property("figure", f"fault: {KILLS} parts killed at random, figure: {figure}")
    assert len(created) > KILLS
    assert lost == []


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


@pytest.mark.parametrize("command", [RUNNER, HYPERCORN])
def test_start_names_each_migration_that_it_applies(fresh: Path, command: tuple[str, ...]) -> None:
    """As one that is written by itself may drop something; the next start has none to name."""

    def start() -> list[str]:
        with serve(fresh, command, PYTHONPATH=str(fresh)) as service:
            return re.findall(r"upgrade +(.*?)\.?\"", service.log.read_text())

    assert start() == ["-> 0001, Create the tables users and posts"]
    add_migrations(fresh, "op.execute('ALTER TABLE users ADD nickname text')", "pass")
    assert start() == ["0001 -> 0002", "0002 -> 0003"]
    assert start() == []


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
