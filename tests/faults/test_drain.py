"""SIGTERM: what was accepted is answered, what comes meanwhile too, and then the process ends."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
from serving import HYPERCORN, Service

from faults.load import Answer, ask, ask_many, count, open_client
from faults.postgres import Postgres
from faults.service import copy, protocols, serve_on, workers

REQUESTS = 50


async def drain(
    service: Service, http2: bool, number: int = REQUESTS
) -> tuple[list[Answer], list[Answer], int, float]:
    """The answers under way at SIGTERM, those to later requests, the exit code, seconds to it."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(open_client(service.url, http2)) for _ in range(5)
        ]
        under_way = asyncio.create_task(ask_many(clients, "/sleep?seconds=2", number))
        await asyncio.sleep(0.5)
        service.process.terminate()
        await asyncio.sleep(0.3)
        async with open_client(service.url, http2) as client:
            later = [await ask(client, path) for path in ("/", "/users", "/livez", "/readyz")]
        answers = await under_way
        code = await asyncio.to_thread(service.process.wait, 30)
        return answers, later, code, time.monotonic() - max(a.end for a in answers + later)


@protocols
@workers
async def test_every_request_is_answered(
    extended: Path,
    postgres: Postgres,
    figure: Callable[[str, str], None],
    workers: str,
    http2: bool,
) -> None:
    with serve_on(extended, postgres.url(), WEB_CONCURRENCY=workers) as service:
        answers, later, code, seconds = await drain(service, http2)
    protocol = "HTTP/2" if http2 else "HTTP/1.1"
    figure(
        f"SIGTERM, {REQUESTS} requests in flight, {protocol}, {workers} workers",
        f"{count(answers)[200]} answered, exit {code} after {seconds:.2f} s",
    )
    assert count(answers) == {200: REQUESTS}
    assert [answer.status for answer in later] == [200, 200, 200, 503]
    assert code == 0
    assert seconds < 3


async def send_slowly(service: Service, seconds: int) -> bytes:
    """The status line of a request whose body takes `seconds`, and its handler 4 s."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    head = "POST /sleep?seconds=4 HTTP/1.1\r\nHost: localhost\r\n"
    writer.write(f"{head}Content-Length: {seconds}\r\n\r\n".encode())
    line = b""
    with suppress(ConnectionError):
        for _ in range(seconds):
            await asyncio.sleep(1)
            writer.write(b"x")
        line = await reader.readline()
    writer.close()
    return line


async def test_slow_body_is_answered(
    extended: Path, postgres: Postgres, figure: Callable[[str, str], None]
) -> None:
    """The drain is as long as a body and a request together may be."""
    with serve_on(extended, postgres.url(), REQUEST_TIMEOUT="5", BACKGROUND_TIMEOUT="1") as service:
        request = asyncio.create_task(send_slowly(service, 9))
        await asyncio.sleep(0.5)
        service.process.terminate()
        line = await request
        code = await asyncio.to_thread(service.process.wait, 10)
    figure("SIGTERM, a body of 9 s and a request of 4 s", f"{line!r}, exit {code}")
    assert line.split()[1] == b"200"
    assert code == 0


async def test_control_of_slow_body(extended: Path, postgres: Postgres, tmp_path: Path) -> None:
    """A drain for neither breaks it off."""
    edits = {"my_service/__main__.py": {"find_longest(app, settings.REQUEST_TIMEOUT)": "0"}}
    project = copy(extended, tmp_path, edits)
    with serve_on(project, postgres.url(), REQUEST_TIMEOUT="5", BACKGROUND_TIMEOUT="1") as service:
        request = asyncio.create_task(send_slowly(service, 9))
        await asyncio.sleep(0.5)
        service.process.terminate()
        assert b"200" not in await request


@protocols
async def test_control(extended: Path, postgres: Postgres, tmp_path: Path, http2: bool) -> None:
    """Without the wait for what is under way, requests are lost."""
    edits = {"my_service/chassis/drain.py": {"while busy + QUIET >": "while False and busy >"}}
    with serve_on(copy(extended, tmp_path, edits), postgres.url()) as service:
        answers, *_ = await drain(service, http2)
    assert count(answers)[200] < REQUESTS


async def test_plain_hypercorn(
    extended: Path, postgres: Postgres, figure: Callable[[str, str], None]
) -> None:
    """One process loses nothing over HTTP/1.1."""
    with serve_on(extended, postgres.url(), HYPERCORN) as service:
        answers, _, code, _ = await drain(service, http2=False)
    figure(f"SIGTERM to plain hypercorn, {REQUESTS} in flight", f"{count(answers)[200]}, {code}")
    assert count(answers) == {200: REQUESTS}


@pytest.mark.parametrize(
    ("workers", "http2", "number"), [("1", True, REQUESTS), ("2", False, 1), ("2", True, 1)]
)
async def test_control_of_plain_hypercorn(
    extended: Path, postgres: Postgres, workers: str, http2: bool, number: int
) -> None:
    """Over HTTP/2 it does, and where one of several has nothing to do: thus there is a runner."""
    with serve_on(extended, postgres.url(), HYPERCORN, WEB_CONCURRENCY=workers) as service:
        answers, *_ = await drain(service, http2, number)
    assert count(answers)[200] < number
