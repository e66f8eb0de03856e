"""The steps of a run: what is started, put under load and noted, in which order."""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from baking import run

from .load import AT_ONCE, hold, is_closed, load, load_http2, settle, sleep, sleep_http2
from .results import Results, Sample
from .rounds import Rounds
from .servers import PEERS, Environments, Server
from .subjects import (
    ANSWERS,
    ESSENTIAL,
    GRANIAN,
    HTTP1,
    HTTP2,
    HYPERCORN,
    ORM,
    POST,
    SERVICE,
    SUBJECTS,
    UVICORN,
    Subject,
    check,
)

COMPARED = [
    subject
    for subject in SUBJECTS
    if (subject.app, subject.server) in {(SERVICE, HYPERCORN), (SERVICE, GRANIAN), (ORM, UVICORN)}
]
THREADS = 40  # that run plain functions, in Starlette and in FastAPI
SLEEP = 0.1  # seconds
IDLE = 5000


@dataclass(frozen=True)
class Step:
    name: str
    seconds: float  # about, for the progress bar
    run: Callable[[], None]


@dataclass
class Bench:
    """Servers run on `core`; this process, what makes the load, and PostgreSQL on `others`."""

    environments: Environments
    results: Results
    rounds: Rounds
    core: set[int]
    others: set[int]

    def steps(self) -> Iterator[Step]:
        """Each subject once in each round, so that what disturbs the machine disturbs all."""
        load = self.rounds.warmup + self.rounds.seconds
        for n in range(self.rounds.rounds):
            for subject in SUBJECTS if self.rounds.thorough else ESSENTIAL:
                rows = len(subject.requests) * len(subject.protocols)
                name = f"round {n + 1}: {subject.app} on {subject.server}"
                seconds = 1.5 + rows * load
                if subject in COMPARED:
                    seconds += self.rounds.sleeps / 1000 * 6.5 * len(subject.protocols)
                yield Step(name, seconds, partial(self.request, subject))
            for subject in COMPARED:
                name = f"idle {n + 1}: {subject.app} on {subject.server}"
                yield Step(name, 5 + 2 * load, partial(self.idle, subject))
        for _ in range(self.rounds.starts):
            for subject in COMPARED:
                yield Step("starts", 1, partial(self.time_start, subject))
        for subject in COMPARED:
            name = f"{subject.app} on {subject.server}"
            yield Step(f"growth: {name}", 5 + 8 * load, partial(self.grow, subject))
            yield Step(f"workers: {name}", 5 + 3 * load, partial(self.multiply, subject))
        yield Step("database helper", 2 * self.rounds.rounds, self.query)

    def load(self, server: Server, path: str, connections: int = AT_ONCE) -> Sample:
        load(server, path, self.rounds.warmup)
        settle(server)
        # Opening connections counts little in the longer time.
        return load(server, path, self.rounds.seconds + connections / 5000, connections)

    def request(self, subject: Subject) -> None:
        with self.environments.start(subject, self.core) as server:
            self.note_start(subject, server)
            check(server.url, subject)
            for request in subject.requests:
                if request == POST:
                    for seconds in (self.rounds.warmup, self.rounds.seconds):
                        sample = load(server, "", seconds, arguments=f"u{time.monotonic_ns()}")
                        settle(server)
                    self.environments.seed()
                else:
                    sample = self.load(server, ANSWERS[request][0])
                self.results.add("requests", (request, HTTP1, subject.app, subject.server), sample)
                if HTTP2 in subject.protocols and request != POST:
                    path = ANSWERS[request][0]
                    load_http2(server, path, 2 * AT_ONCE)
                    number = max(4 * AT_ONCE, int(sample["requests/s"] * self.rounds.seconds))
                    sample = load_http2(server, path, number)
                    key = (request, HTTP2, subject.app, subject.server)
                    self.results.add("requests", key, sample)
            if subject in COMPARED:
                self.sleep(subject, server)

    def sleep(self, subject: Subject, server: Server) -> None:
        requests = self.rounds.sleeps
        for at, at_once in (("100", 100), ("all", requests)):
            floor = SLEEP * -(-requests // at_once)
            threads_floor = SLEEP * -(-requests // THREADS)
            for protocol in subject.protocols:
                measure = sleep if protocol == HTTP1 else sleep_http2
                sync = measure(server, "/sync-sleep", requests, at_once)
                async_ = measure(server, "/async-sleep", requests, at_once)
                sample = {
                    "async s": async_,
                    "floor s": floor,
                    "async / floor": async_ / floor,
                    "sync s": sync,
                    "floor of 40 threads s": threads_floor,
                    "sync / floor": sync / threads_floor,
                    "sync / async": sync / async_,
                }
                key = (at, protocol, subject.app, subject.server)
                self.results.add("sleeps", key, sample)

    def time_start(self, subject: Subject) -> None:
        with self.environments.start(subject, self.core) as server:
            self.note_start(subject, server)

    def note_start(self, subject: Subject, server: Server) -> None:
        sample = {"first answer s": server.first_answer, "MiB": server.memory()}
        self.results.add("starts", (subject.app, subject.server), sample)

    def grow(self, subject: Subject) -> None:
        with self.environments.start(subject, self.core) as server:
            for limit in (1, 10, 100) if self.rounds.thorough else (1, 100):
                sample = self.load(server, f"/users?limit={limit}")
                self.results.add("lists", (subject.app, subject.server, str(limit)), sample)
        with self.environments.start(subject, self.core) as server:
            for connections in (1, 10, 100, 1000, 5000) if self.rounds.thorough else (1, 100):
                sample = self.load(server, "/", connections)
                key = (subject.app, subject.server, f"{connections:,}")
                self.results.add("connections", key, sample)

    def multiply(self, subject: Subject) -> None:
        """On all cores, which the load then shares."""
        for workers in (1, 2, 4) if self.rounds.thorough else (1, 2):
            cores = self.core | self.others
            with self.environments.start(subject, cores, workers=workers) as server:
                sample = self.load(server, "/")
                self.results.add("workers", (subject.app, subject.server, str(workers)), sample)

    def idle(self, subject: Subject) -> None:
        with self.environments.start(subject, self.core, patient=True) as server:
            alone = self.load(server, "/", 64)["requests/s"]
            before = server.memory()
            clients = hold(server, IDLE)
            memory = server.memory() - before
            crowded = self.load(server, "/", 64)["requests/s"]
            closed = sum(map(is_closed, clients))
            if closed:
                raise RuntimeError(f"{subject} closed {closed} idle connections")
            for client in clients:
                client.close()
        sample = {
            "requests/s, none idle": alone,
            "requests/s, 5,000 idle": crowded,
            "kept": crowded / alone,
            "KiB a connection": memory * 1024 / IDLE,
        }
        self.results.add("idle", (subject.app, subject.server), sample)

    def query(self) -> None:
        """Pinned by itself, as it is no server."""
        queries = 500 + int(1500 * self.rounds.seconds)
        os.sched_setaffinity(0, self.core)
        try:
            output = run(
                self.environments.service,
                *(
                    "python",
                    str(PEERS / "helper.py"),
                    str(max(3, self.rounds.rounds)),
                    str(queries),
                ),
                variables={"DATABASE_URL": self.environments.postgres.url()},
            )
        finally:
            os.sched_setaffinity(0, self.others)
        for helper, held in json.loads(output.splitlines()[-1]):
            self.results.add("helper", (), {"helper µs": helper, "held µs": held})
