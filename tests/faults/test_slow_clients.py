"""Clients that are silent or slow are sent away, and nobody waits for them."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from serving import Service

from faults.load import Answer, ask, open_client
from faults.postgres import Postgres
from faults.service import copy, serve_on

CONNECTIONS = 200
LIMIT = 11.0  # seconds
HEADERS = b"POST /users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
# What is sent at once, and then each second.
KINDS: dict[str, tuple[bytes, bytes]] = {
    "silent": (b"", b""),
    "slow headers": (HEADERS, b"X-Slow: slow\r\n"),
    "slow body": (HEADERS + b"Content-Length: 1000\r\n\r\n", b"x"),
}


async def linger(service: Service, first: bytes, each: bytes) -> float:
    """Seconds until the service closes the connection, 15 where it does not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    start = time.monotonic()
    try:
        writer.write(first)
        while time.monotonic() < start + 15:
            try:
                async with asyncio.timeout(1):
                    if not await reader.read(1000):
                        break
            except TimeoutError:
                writer.write(each)
    except ConnectionError:
        pass
    finally:
        writer.close()
    return time.monotonic() - start


async def linger_all(service: Service, kind: str) -> tuple[list[float], list[Answer]]:
    """For each connection the seconds until it was closed; the answers to others meanwhile."""
    lingering = [asyncio.create_task(linger(service, *KINDS[kind])) for _ in range(CONNECTIONS)]
    answers = []
    async with open_client(service.url) as client:
        await asyncio.sleep(1)
        for _ in range(16):
            answers.append(await ask(client, "/users"))
            await asyncio.sleep(0.5)
    return [await each for each in lingering], answers


@pytest.mark.parametrize("kind", KINDS)
async def test_slow_clients(
    extended: Path, postgres: Postgres, figure: Callable[[str, str], None], kind: str
) -> None:
    with serve_on(extended, postgres.url()) as service:
        seconds, answers = await linger_all(service, kind)
    slowest = max(answer.seconds for answer in answers)
    figure(
        f"{CONNECTIONS} connections, {kind}",
        f"closed within {max(seconds):.1f} s, others answered within {slowest:.2f} s",
    )
    assert {answer.status for answer in answers} == {200}
    assert max(seconds) < LIMIT
    assert slowest < 0.5


@pytest.mark.parametrize("kind", KINDS)
async def test_control(extended: Path, postgres: Postgres, tmp_path: Path, kind: str) -> None:
    edits = {
        "my_service/chassis/route_limits.py": {"BODY_TIMEOUT = 10.0": "BODY_TIMEOUT = 60"},
        "hypercorn.conf.py": {"keep_alive_timeout = 5": "keep_alive_timeout = 60"},
    }
    with serve_on(copy(extended, tmp_path, edits), postgres.url()) as service:
        seconds, _ = await linger_all(service, kind)
        service.process.kill()  # It would wait for them.
        service.process.wait()
    assert max(seconds) > LIMIT
