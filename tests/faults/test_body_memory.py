"""Bodies under way take no more memory together than they may: what comes on top is 503."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h2.connection
import httpx
import psutil
import pytest
from serving import Service

from faults.load import ask, open_client
from faults.postgres import Postgres
from faults.service import RUNNER, copy, protocols, serve_on, workers
from faults.test_bodies import MIB

BODIES = 80
SIZE = 5 * MIB
UNPROTECTED = {
    "my_service/chassis/bounded_body.py": {
        "self.bounds.held.size > self.bounds.held.most": "self.bounds.held.size < 0"
    }
}


async def begin(service: Service, http2: bool) -> None:
    """Sends all of a body of 5 MiB but its last byte, as far as the service takes it, and waits."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    connection = h2.connection.H2Connection()
    try:
        if http2:
            headers = {":method": "POST", ":scheme": "http", ":authority": "a", ":path": "/read"}
            connection.initiate_connection()
            connection.send_headers(1, headers.items())
        else:
            head = f"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"
            writer.write(head.encode() + bytes(SIZE - 1))
        left = SIZE - 1 if http2 else 0
        while left:
            while left and (size := min(left, 16_384, connection.local_flow_control_window(1))):
                connection.send_data(1, bytes(size))
                left -= size
            writer.write(connection.data_to_send())
            if left:
                connection.receive_data(await reader.read(65_536))
        await writer.drain()
        await asyncio.sleep(60)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def measure(service: Service) -> int:
    """The most MiB that one of its processes has."""
    root = psutil.Process(service.process.pid)
    processes = [root, *root.children(recursive=True)]
    return int(max(process.memory_info().rss for process in processes)) >> 20


async def fill(service: Service, http2: bool) -> tuple[int, list[int | str]]:
    """By how many MiB a process grows with unfinished bodies; the answers to others meanwhile."""
    before = most = measure(service)
    begun = [asyncio.create_task(begin(service, http2)) for _ in range(BODIES)]
    answers = []
    async with open_client(service.url, http2) as client:
        for _ in range(50):
            answers.append(await ask(client, "/"))
            most = max(most, measure(service))
            await asyncio.sleep(0.1)
    for task in begun:
        task.cancel()
    await asyncio.gather(*begun, return_exceptions=True)
    return most - before, [answer.status for answer in answers]


@protocols
@workers
async def test_unfinished_bodies(
    extended: Path,
    postgres: Postgres,
    figure: Callable[[str, str], None],
    workers: str,
    http2: bool,
) -> None:
    """They hold as much as is set, 16 MiB here; requests without a body do not mind."""
    settings = {"WEB_CONCURRENCY": workers, "BODY_MEMORY": "16"}
    with serve_on(extended, postgres.url(), RUNNER, **settings) as service:
        growth, answers = await fill(service, http2)
    protocol = "HTTP/2" if http2 else "HTTP/1.1"
    figure(
        f"{BODIES} unfinished bodies of 5 MiB, {protocol}, {workers} workers",
        f"memory grows by {growth} MiB",
    )
    assert set(answers) == {200}
    assert growth < 150  # What the server reads ahead is not counted.


@protocols
async def test_control(extended: Path, postgres: Postgres, tmp_path: Path, http2: bool) -> None:
    with serve_on(copy(extended, tmp_path, UNPROTECTED), postgres.url()) as service:
        growth, _ = await fill(service, http2)
    assert growth > 200


@protocols
@workers
@pytest.mark.parametrize("size", [1, MIB])
async def test_refusal(
    extended: Path, postgres: Postgres, workers: str, http2: bool, size: int
) -> None:
    """What comes on top is read and refused, the client told to come again; and then it fits."""
    settings = {"WEB_CONCURRENCY": workers, "BODY_MEMORY": "1"}
    limits = httpx.Limits(max_keepalive_connections=0)
    with serve_on(extended, postgres.url(), RUNNER, **settings) as service:
        async with httpx.AsyncClient(http1=not http2, http2=http2, limits=limits) as client:
            url = f"{service.url}/read"
            larger = await client.post(url, content=bytes(MIB + size))
            fitting = [await client.post(url, content=bytes(MIB)) for _ in range(5)]
    assert (larger.status_code, larger.headers["retry-after"]) == (503, "1")
    assert larger.headers["content-type"] == "application/problem+json"
    assert [answer.status_code for answer in fitting] == [200] * 5
