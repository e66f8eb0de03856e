"""Limits of one route: larger bodies, bodies as they come, other times; the others keep theirs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from faults.load import ask, open_client
from faults.postgres import Postgres
from faults.service import RUNNER, copy, protocols, serve_on, workers
from faults.test_bodies import MIB, upload
from faults.test_slow_clients import linger

IGNORED = {
    "my_service/chassis/bounded_body.py": {"**find_limits(self.app, self.scope)": "**{}"},
}
WHOLE = {"my_service/chassis/bounded_body.py": {"self.bounds.stream and not refusal": "False"}}
EARLY = {
    "my_service/chassis/bounded_body.py": {
        "while not (self.accepted or self.client_gone)": "while False"
    }
}


def long(workers: str = "1") -> dict[str, str]:
    """Enough time for large bodies on a slow machine"""
    return {"WEB_CONCURRENCY": workers, "BODY_SECONDS": "60"}


# Path, size of the body, whether it is declared, status.
SIZES = [
    ("/read", 5 * MIB, True, 200),
    ("/read", 5 * MIB, False, 200),
    ("/read", 6 * MIB, True, 413),
    ("/read", 6 * MIB, False, 413),
    ("/below/read", 5 * MIB, True, 200),
    ("/below/read", 6 * MIB, True, 413),
    ("/below/all/read", 6 * MIB, True, 200),
    ("/read-little", MIB, True, 413),
    ("/read-stream", 64 * MIB, True, 200),
    ("/read-stream", 65 * MIB, True, 413),
    ("/read-stream", 65 * MIB, False, 413),
    ("/sleep?seconds=0", MIB, True, 200),
    ("/sleep?seconds=0", 2 * MIB, True, 413),
    ("/nowhere", 2 * MIB, True, 413),
]


@protocols
@workers
def test_sizes(
    extended: Path,
    postgres: Postgres,
    figure: Callable[[str, str], None],
    workers: str,
    http2: bool,
) -> None:
    """What is over the limit is read and dropped: the client hears of it."""
    with serve_on(extended, postgres.url(), RUNNER, **long(workers)) as service:
        for path, size, declared, status in SIZES:
            assert upload(service, size, http2, path, declared)[0] == status, (path, size, declared)
    protocol = "HTTP/2" if http2 else "HTTP/1.1"
    figure(f"limits for one route, {protocol}, {workers} workers", f"{len(SIZES)} as they are set")


def test_control_of_sizes(extended: Path, postgres: Postgres, tmp_path: Path) -> None:
    with serve_on(copy(extended, tmp_path, IGNORED), postgres.url(), RUNNER, **long()) as service:
        assert upload(service, 5 * MIB, False, "/read")[0] == 413


@protocols
@pytest.mark.parametrize("size", [64 * MIB, 128 * MIB])
def test_memory(
    extended: Path, postgres: Postgres, figure: Callable[[str, str], None], http2: bool, size: int
) -> None:
    """Of a stream, only the part that its handler has is held, whether it fits or not."""
    with serve_on(extended, postgres.url(), RUNNER, **long()) as service:
        upload(service, 8 * MIB, http2, "/read-stream", False)
        status, growth = upload(service, size, http2, "/read-stream", False)
    protocol = "HTTP/2" if http2 else "HTTP/1.1"
    figure(
        f"{size >> 20} MiB as a stream, {protocol}", f"{status}, memory grows by {growth:.1f} MiB"
    )
    assert status == (200 if size == 64 * MIB else 413)
    assert growth < 10


def test_control_of_memory(extended: Path, postgres: Postgres, tmp_path: Path) -> None:
    with serve_on(copy(extended, tmp_path, WHOLE), postgres.url(), RUNNER, **long()) as service:
        assert upload(service, 64 * MIB, False, "/read-stream", False)[1] > 10


async def answer_early(
    url: str, http2: bool, pause: float = 0.002
) -> tuple[list[int | str], list[int | str]]:
    """The statuses of requests that are answered before their bodies, and of others meanwhile."""

    async def send() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(MIB // 8)
            await asyncio.sleep(pause)

    queries = ["status=200", "status=401", "fail"] * 3
    async with open_client(url, http2, timeout=10) as client:
        tasks = [
            asyncio.create_task(ask(client, f"/answer-early?{query}", "POST", content=send()))
            for query in queries
        ]
        others = []
        while not all(task.done() for task in tasks):
            others.append(await ask(client, "/"))
            await asyncio.sleep(0.05)
        # The connections are there, and as good as new.
        others += [await ask(client, "/users") for _ in range(10)]
    return [task.result().status for task in tasks], [answer.status for answer in others]


@protocols
@workers
async def test_early_answers(
    extended: Path,
    postgres: Postgres,
    figure: Callable[[str, str], None],
    workers: str,
    http2: bool,
) -> None:
    """A handler that reads none of its stream stops no other one, and is heard."""
    with serve_on(extended, postgres.url(), RUNNER, **long(workers)) as service:
        early, others = await answer_early(service.url, http2)
    protocol = "HTTP/2" if http2 else "HTTP/1.1"
    figure(
        f"{len(early)} streams of 8 MiB answered unread, {protocol}, {workers} workers",
        f"all heard, {len(others)} other requests answered",
    )
    assert early == [200, 401, 500] * 3
    assert set(others) == {200}


@protocols
async def test_control_of_early_answers(
    extended: Path, postgres: Postgres, tmp_path: Path, http2: bool
) -> None:
    with serve_on(copy(extended, tmp_path, EARLY), postgres.url(), RUNNER, **long()) as service:
        early, others = await answer_early(service.url, http2)
        service.process.kill()  # It would wait for them.
        service.process.wait()
    assert early != [200, 401, 500] * 3 or set(others) != {200}


@protocols
@workers
async def test_time_until_the_answer(
    extended: Path,
    postgres: Postgres,
    figure: Callable[[str, str], None],
    workers: str,
    http2: bool,
) -> None:
    """Longer and shorter than that of the others."""
    settings = {"REQUEST_TIMEOUT": "1", "WEB_CONCURRENCY": workers}
    with serve_on(extended, postgres.url(), RUNNER, **settings) as service:
        async with open_client(service.url, http2) as client:
            little, long, other = await asyncio.gather(
                ask(client, "/sleep-little?seconds=3"),
                ask(client, "/sleep-long?seconds=3"),
                ask(client, "/sleep?seconds=3"),
            )
    protocol = "HTTP/2" if http2 else "HTTP/1.1"
    answers = [little, long, other]
    said = ", ".join(f"{answer.status} after {answer.seconds:.1f} s" for answer in answers)
    figure(f"0.5, 10 and, for all, 1 s for an answer, {protocol}, {workers} workers", said)
    assert [answer.status for answer in answers] == [504, 200, 504]
    assert ["over 0.5 s" in answer.text for answer in answers] == [True, False, False]


@pytest.mark.parametrize(
    ("path", "least", "most"), [("/read-soon", 1, 5), ("/read-late", 15, 99), ("/nowhere", 10, 14)]
)
async def test_time_of_a_body(
    extended: Path, postgres: Postgres, path: str, least: float, most: float
) -> None:
    """As `linger` waits for 15 s at most, the late one is not sent away."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n".encode()
    with serve_on(extended, postgres.url(), RUNNER, **long()) as service:
        seconds = await linger(service, head, b"x")
        service.process.kill()  # It would wait for it.
        service.process.wait()
    assert least <= seconds < most
