"""Environments, and applications run in them as processes of their own on chosen cores."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from baking import bake, environment, install, run
from faults.postgres import Postgres
from serving import free_port

from .subjects import (
    BLACKSHEEP,
    COMMANDS,
    GRANIAN,
    HYPERCORN,
    LITESTAR,
    MODULES,
    OWN,
    PATIENT,
    SEED,
    SERVICE,
    Subject,
)

PEERS = Path(__file__).parent / "peers"


@dataclass
class Server:
    """A running subject. `first_answer` is in seconds from the process's start."""

    port: int
    process: subprocess.Popen[bytes]
    first_answer: float = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def tree(self) -> list[psutil.Process]:
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def cpu(self) -> float:
        """Seconds that its threads have run; what psutil tells is in ticks of 10 ms."""
        threads = (Path(f"/proc/{each.pid}/task").glob("*/schedstat") for each in self.tree())
        return sum(int(file.read_text().split()[0]) for files in threads for file in files) / 1e9

    def memory(self) -> float:
        """MiB, proportional set size: what processes share counts once."""
        return float(sum(process.memory_full_info().pss for process in self.tree())) / 2**20


class Environments:
    """The baked service, with and without Granian, and the peers', made below `folder`.

    Apart, as httpx imports its command line wherever that finds its packages, which takes longer
    than the rest of it.
    """

    def __init__(self, folder: Path, postgres: Postgres) -> None:
        self.folder = folder
        self.postgres = postgres
        with silence():
            self.service = bake(folder / "service")
            self.service_on_granian = bake(folder / "granian")
        for project in (self.service, self.service_on_granian):
            install(project, "--no-dev")
            # The versions that the peers have.
            limits = ["--constraint", str(PEERS / "fastapi.txt")]
            add(project / ".venv", *limits, "hypercorn", "uvloop", "asyncpg", "starlette")
        add(
            self.service_on_granian / ".venv", "--constraint", str(PEERS / "fastapi.txt"), "granian"
        )
        for name in ("fastapi", "frameworks"):
            venv = folder / name / ".venv"
            command = ["uv", "venv", "--quiet", "--python", sys.executable, str(venv)]
            subprocess.run(command, check=True, env=environment())
            add(venv, "--requirement", str(PEERS / f"{name}.txt"))
        run(self.service, "alembic", "upgrade", "head", variables={"DATABASE_URL": postgres.url()})
        self.seed()

    def seed(self) -> None:
        self.postgres.execute(SEED)

    def venvs(self) -> list[Path]:
        return [
            self.service_on_granian / ".venv",
            *(self.folder / name / ".venv" for name in ("fastapi", "frameworks")),
        ]

    def programs(self, subject: Subject) -> Path:
        if subject.app == SERVICE:
            project = self.service_on_granian if subject.server == GRANIAN else self.service
        else:
            project = self.folder / (
                "frameworks" if subject.app in (LITESTAR, BLACKSHEEP) else "fastapi"
            )
        return project / ".venv/bin"

    @contextmanager
    def start(
        self,
        subject: Subject,
        cores: set[int],
        *,
        workers: int = 1,
        patient: bool = False,
    ) -> Iterator[Server]:
        """Runs it until the block ends, then kills it; `patient` keeps idle connections for 120 s.

        Raises `RuntimeError` with its log where it does not answer 200 within 60 s.
        """
        programs = self.programs(subject)
        own = subject.app == SERVICE and subject.server == HYPERCORN
        command = (PATIENT if patient else OWN) if own else COMMANDS[subject.server]
        port = free_port()
        program, *arguments = command.format(
            port=port, workers=workers, module=MODULES[subject.app]
        ).split()
        variables = {
            "DATABASE_URL": self.postgres.url(),
            "DEMOS": "true",
            "PORT": str(port),
            "WEB_CONCURRENCY": str(workers),
        }
        log = self.folder / f"{port}.log"
        with ExitStack() as stack:
            begin = time.perf_counter()
            process = subprocess.Popen(
                ["taskset", "-c", ",".join(map(str, cores)), programs / program, *arguments],
                cwd=programs.parents[1] if subject.app == SERVICE else PEERS,
                env=environment(**variables),
                stdout=stack.enter_context(log.open("wb")),
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            stack.callback(process.wait, 10)
            stack.enter_context(suppress(ProcessLookupError))
            stack.callback(os.killpg, process.pid, signal.SIGKILL)
            while not answers(port):
                if process.poll() is not None or time.perf_counter() > begin + 60:
                    raise RuntimeError(f"{subject} does not start:\n{log.read_text()}")
                time.sleep(0.002)
            yield Server(port, process, time.perf_counter() - begin)
        log.unlink()


@contextmanager
def silence() -> Iterator[None]:
    """For the hooks of a bake: processes that print what its owner may do next."""
    sys.stdout.flush()
    saved = os.dup(1)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def add(venv: Path, *arguments: str) -> None:
    command = ["uv", "pip", "install", "--quiet", "--python", str(venv), *arguments]
    subprocess.run(command, check=True, env=environment())


def answers(port: int) -> bool:
    """Whether a request that needs the database gets a 200. Costs little, unlike a real client."""
    request = b"GET /users/1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            client.sendall(request)
            return client.recv(12) == b"HTTP/1.1 200"
    except OSError:
        return False
