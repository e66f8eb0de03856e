"""The steps of a run: what is started, put under load and noted, in which order."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
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
    LIST,
    ORM,
    POST,
    QUERIES,
    ROOT,
    SERVICE,
    SUBJECTS,
    USER,
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
OTHERS = 5  # What no criterion names has its turn in each fifth round.
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
    running: dict[Subject, Server] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)  # of what is running

    def steps(self) -> Iterator[Step]:
        """All subjects run side by side, idle but for the one whose turn it is.

        A request is asked of one after the other, so that what disturbs the machine disturbs all.
        """
        subjects = SUBJECTS if self.rounds.thorough else ESSENTIAL
        load = self.rounds.seconds + 0.15
        for subject in subjects:
            name = f"{subject.app} on {subject.server}"
            rows = len(subject.requests) * len(subject.protocols)
            seconds = 2.5 + rows * self.rounds.warmup
            yield Step(f"start: {name}", seconds, partial(self.start, subject))
        for n in range(self.rounds.rounds):
            turn = subjects if n % OTHERS == 0 else ESSENTIAL
            for request in (ROOT, USER, LIST, POST):
                asked = [subject for subject in turn if request in subject.requests]
                rows = sum(len(self.protocols(request, subject)) for subject in asked)
                step = partial(self.request, request, asked)
                yield Step(f"round {n + 1}: {request}", rows * load, step)
        for n in range(self.rounds.sleep_rounds):
            for subject in COMPARED:
                seconds = self.rounds.sleeps / 1000 * 6.5 * len(subject.protocols)
                name = f"sleep {n + 1}: {subject.app} on {subject.server}"
                yield Step(name, seconds, partial(self.sleep, subject))
        yield Step("stop", 1, self.stack.close)
        for _ in range(self.rounds.starts):
            for subject in COMPARED:
                yield Step("starts", 2.5, partial(self.time_start, subject))
        for subject in COMPARED:
            name = f"{subject.app} on {subject.server}"
            seconds = 10 + 2 * self.rounds.rounds * load * (1 + 2 * (HTTP2 in subject.protocols))
            yield Step(f"idle: {name}", seconds, partial(self.idle, subject))
            yield Step(f"growth: {name}", 5 + 8 * load, partial(self.grow, subject))
            yield Step(f"workers: {name}", 5 + 3 * load, partial(self.multiply, subject))
        yield Step("query", self.rounds.rounds, self.query)

    @staticmethod
    def protocols(request: str, subject: Subject) -> tuple[str, ...]:
        return (HTTP1,) if request == POST else subject.protocols

    def start(self, subject: Subject) -> None:
        server = self.stack.enter_context(self.environments.start(subject, self.core))
        self.note_start(subject, server)
        check(server.url, subject)
        self.environments.seed()  # It may have made a user.
        for request in set(subject.requests) - {POST}:
            load(server, ANSWERS[request][0], self.rounds.warmup)
        self.running[subject] = server

    def load(self, server: Server, path: str, connections: int = AT_ONCE) -> Sample:
        load(server, path, self.rounds.warmup)
        settle(server)
        # Opening connections counts little in the longer time.
        return load(server, path, self.rounds.seconds + connections / 5000, connections)

    def request(self, request: str, subjects: list[Subject]) -> None:
        for subject in subjects:
            server = self.running[subject]
            for protocol in self.protocols(request, subject):
                if request == POST:
                    sample = load(
                        server, "", self.rounds.seconds, arguments=f"u{time.monotonic_ns()}"
                    )
                elif protocol == HTTP1:
                    sample = load(server, ANSWERS[request][0], self.rounds.seconds)
                    number = max(4 * AT_ONCE, int(sample["requests/s"] * self.rounds.seconds))
                else:
                    sample = load_http2(server, ANSWERS[request][0], number)
                key = (request, protocol, subject.app, subject.server)
                self.results.add("requests", key, sample)
                settle(server)
            if request == POST:
                self.environments.seed()

    def sleep(self, subject: Subject) -> None:
        server = self.running[subject]
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
            for connections in (1, 10, 100, 1000, 5000) if self.rounds.thorough else (1, 100):
                sample = self.load(server, "/", connections)
                key = (subject.app, subject.server, f"{connections:,}")
                self.results.add("connections", key, sample)

    def multiply(self, subject: Subject) -> None:
        """On all cores, which the load then shares."""
        for workers in (1, 2, 4) if self.rounds.thorough else (2,):
            cores = self.core | self.others
            with self.environments.start(subject, cores, workers=workers) as server:
                sample = self.load(server, "/")
                self.results.add("workers", (subject.app, subject.server, str(workers)), sample)

    def idle(self, subject: Subject) -> None:
        """The same server twice, by turns: with idle connections, and with none."""
        start = partial(self.environments.start, subject, self.core, patient=True)
        with start() as alone, start() as crowded:
            for server in (alone, crowded):
                load(server, "/", self.rounds.warmup)
            before = crowded.memory()
            clients = hold(crowded, IDLE)
            memory = crowded.memory() - before
            for _ in range(self.rounds.rounds):
                for protocol in subject.protocols:
                    none, idle = (
                        self.load_many(protocol, server)["requests/s"]
                        for server in (alone, crowded)
                    )
                    sample = {
                        "requests/s, none idle": none,
                        "requests/s, 5,000 idle": idle,
                        "kept": idle / none,
                        "KiB a connection": memory * 1024 / IDLE,
                    }
                    self.results.add("idle", (protocol, subject.app, subject.server), sample)
            closed = sum(map(is_closed, clients))
            if closed:
                raise RuntimeError(f"{subject} closed {closed} idle connections")
            for client in clients:
                client.close()

    def load_many(self, protocol: str, server: Server) -> Sample:
        """On 64 connections, one request at a time on each."""
        if protocol == HTTP1:
            return load(server, "/", self.rounds.seconds, 64)
        return load_http2(server, "/", int(5000 * self.rounds.seconds), 64, 1)

    def query(self) -> None:
        """Pinned by itself, as it is no server."""
        queries = 500 + int(1500 * self.rounds.seconds)
        os.sched_setaffinity(0, self.core)
        try:
            output = run(
                self.environments.service,
                *(
                    "python",
                    str(PEERS / "query.py"),
                    str(max(3, self.rounds.rounds)),
                    str(queries),
                ),
                variables={"DATABASE_URL": self.environments.postgres.url()},
            )
        finally:
            os.sched_setaffinity(0, self.others)
        for figures in json.loads(output.splitlines()[-1]):
            names = [f"{name} µs" for name in QUERIES]
            self.results.add("query", (), dict(zip(names, figures, strict=True)))
