"""A database that may be killed, the extended bake, and the figures at the end of the run."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import fasteners
import pytest
from baking import bake, environment

from faults.postgres import Postgres, run_postgres
from faults.service import extend

Record = Callable[[str, object], None]

# Nothing accepted is lost, nobody sees another's, and the database may go: the first verdict.
FIRST = {"test_drain", "test_isolation", "test_outage"}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Marks the others as slow, and the negative controls: they measure luck, and are run apart."""
    if item.name.startswith("test_control"):
        item.add_marker("control")
    elif item.path.stem not in FIRST:
        item.add_marker("slow")


@pytest.fixture(autouse=True)
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Their times are judged: of the processes that share the tests one at a time runs one."""
    with fasteners.InterProcessLock(tmp_path_factory.getbasetemp().parent / "faults.lock"):
        yield


@pytest.fixture(scope="session")
def extended(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default bake with endpoints that meet faults, in the environment of the other."""
    extended = bake(tmp_path_factory.mktemp("extended"))
    (extended / ".venv").symlink_to(project / ".venv")
    extend(extended)
    return extended


@pytest.fixture(scope="session")
def server(project: Path) -> Iterator[Postgres]:
    with run_postgres() as postgres:
        subprocess.run(
            [project / ".venv/bin/alembic", "upgrade", "head"],
            cwd=project,
            env=environment(DATABASE_URL=postgres.url()),
            check=True,
            capture_output=True,
        )
        postgres.execute("CREATE TABLE pairs (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        yield postgres


@pytest.fixture
def postgres(server: Postgres) -> Iterator[Postgres]:
    """The server, running, whatever the test before has done to it."""
    server.start()
    yield server
    server.start()


@pytest.fixture
def done(tmp_path: Path) -> Path:
    """Where the endpoints write the names of what has ended: see `read_names`."""
    file = tmp_path / "done"
    file.touch()
    return file


@pytest.fixture
def figure(record_property: Record) -> Callable[[str, str], None]:
    """Takes a fault and its figure, for the table at the end of the run."""

    def note(fault: str, value: str) -> None:
        print(f"fault: {fault}, figure: {value}")
        record_property("figure", f"fault: {fault}, figure: {value}")

    return note
