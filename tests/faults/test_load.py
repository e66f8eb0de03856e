"""Many requests: none fails, nothing grows, and a flood leaves the database to the others."""

import asyncio
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import h2.config
import h2.connection
import h2.errors
import h2.exceptions
import psutil
import pytest
from serving import Service

from faults.load import Answer, ask, ask_many, count, open_client
from faults.postgres import Postgres
from faults.service import UNPROTECTED_DATABASE, copy, serve_on

POOL = 5


def find(program: str, package: str) -> str:
    path = shutil.which(program)
    if path is None and os.environ.get("CI") != "true":
        pytest.skip(f"{program} is not installed: Debian's package {package}")
    assert path, program
    return path


def run_h2load(service: Service, path: str, requests: int) -> tuple[int, float]:
    """The failed requests, and requests a second, of 4 connections with 20 streams each."""
    done = subprocess.run(
        [
            *(find("h2load", "nghttp2-client"), "-n", str(requests), "-c", "4", "-m", "20"),
            service.url + path,
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    succeeded = re.search(r"(\d+) succeeded", done.stdout)
    rate = re.search(r"([\d.]+) req/s", done.stdout)
    assert succeeded, done.stdout
    assert rate, done.stdout
    return requests - int(succeeded[1]), float(rate[1])


def test_http2_loses_nothing(
    extended: Path, postgres: Postgres, figure: Callable[[str, str], None]
) -> None:
    with serve_on(extended, postgres.url()) as service:
        failed, rate = run_h2load(service, "/", 20_000)
    figure("h2load, 20,000 requests, 4 x 20 streams", f"{failed} failed, {rate:.0f} a second")
    assert failed == 0


def test_control_of_http2(extended: Path, postgres: Postgres, tmp_path: Path) -> None:
    """Hypercorn's own limit of 1,000 requests a connection loses those in flight."""
    edits = {"hypercorn.conf.py": {"keep_alive_max_requests = 2**31": ""}}
    with serve_on(copy(extended, tmp_path, edits), postgres.url()) as service:
        failed, _ = run_h2load(service, "/", 5_000)
    assert failed > 0


def measure_growth(service: Service, path: str, rounds: int) -> tuple[float, int]:
    """MiB by which the service grows in rounds of 10,000 requests, after a first, and the failures.

    Each round has connections of its own: on one that lives, h2 remembers up to 65,536 streams.
    """
    process = psutil.Process(service.process.pid)
    run_h2load(service, path, 10_000)
    before = process.memory_info().rss
    failed = sum(run_h2load(service, path, 10_000)[0] for _ in range(rounds))
    return (process.memory_info().rss - before) / (1 << 20), failed


def test_memory(extended: Path, postgres: Postgres, figure: Callable[[str, str], None]) -> None:
    with serve_on(extended, postgres.url()) as service:
        growth, failed = measure_growth(service, "/", 10)
    figure("100,000 requests", f"memory grows by {growth:.1f} MiB, {failed} failed")
    assert growth < 10


def test_control_of_memory(extended: Path, postgres: Postgres) -> None:
    """An endpoint that keeps 1 KB a request is found out."""
    with serve_on(extended, postgres.url()) as service:
        growth, _ = measure_growth(service, "/leak", 2)
    assert growth > 10


async def reset_rapidly(port: int, end: float) -> int:
    """Opens streams and resets each at once, until `end`; how many."""
    resets = 0
    while time.monotonic() < end:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        connection.initiate_connection()
        try:
            while time.monotonic() < end:
                for _ in range(50):
                    stream = connection.get_next_available_stream_id()
                    connection.send_headers(
                        stream,
                        [
                            (":method", "GET"),
                            (":path", "/transact"),
                            (":scheme", "http"),
                            (":authority", "localhost"),
                        ],
                        end_stream=True,
                    )
                    connection.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
                    resets += 1
                writer.write(connection.data_to_send())
                await writer.drain()
                try:
                    async with asyncio.timeout(0.001):
                        connection.receive_data(await reader.read(1 << 16))
                except TimeoutError:
                    pass
            await asyncio.sleep(2)  # Its end would end its requests.
        except (ConnectionError, h2.exceptions.ProtocolError):
            pass
        writer.close()
    return resets


async def flood(service: Service, seconds: float) -> int:
    end = time.monotonic() + seconds
    return sum(await asyncio.gather(*(reset_rapidly(service.port, end) for _ in range(4))))


async def suffer_flood(service: Service) -> tuple[list[Answer], list[Answer], int]:
    """The answers to others during ten seconds of attack, those to as many as the pool has
    connections after it, and the resets."""
    attack = asyncio.create_task(flood(service, 10))
    end = time.monotonic() + 10
    others = []
    async with open_client(service.url) as client:
        while time.monotonic() < end:
            others.append(await ask(client, "/users"))
            await asyncio.sleep(0.2)
        await asyncio.sleep(1)
        after = await ask_many([client], "/query?seconds=0.5", POOL)
    return others, after, await attack


def slowest(answers: list[Answer]) -> float:
    return max(answer.seconds for answer in answers)


async def test_rapid_reset(
    extended: Path, postgres: Postgres, figure: Callable[[str, str], None]
) -> None:
    """Only a proxy stops it; but the requests that were reset leave the database soon."""
    with serve_on(extended, postgres.url(), DATABASE_POOL_SIZE=str(POOL)) as service:
        process = psutil.Process(service.process.pid)
        before = process.memory_info().rss
        others, after, resets = await suffer_flood(service)
        growth = (process.memory_info().rss - before) / (1 << 20)
    figure(
        "rapid reset, 4 attackers, 10 s",
        f"{resets} resets; others meanwhile {dict(count(others))}, slowest "
        f"{slowest(others):.1f} s; 1 s after it {dict(count(after))}, slowest "
        f"{slowest(after):.1f} s; memory grows by {growth:.0f} MiB",
    )
    assert count(after) == {200: POOL}
    assert slowest(after) < 5


async def test_control_of_rapid_reset(extended: Path, postgres: Postgres, tmp_path: Path) -> None:
    """Each reset in a transaction of `databases` keeps a connection, until there is none."""
    project = copy(extended, tmp_path, UNPROTECTED_DATABASE)
    with serve_on(project, postgres.url(), DATABASE_POOL_SIZE=str(POOL)) as service:
        _, after, _ = await suffer_flood(service)
        service.process.kill()  # It would wait for its connections for ever.
        service.process.wait()
    assert count(after)[200] < POOL
