"""Pools are whole after transactions that fail and requests whose clients go away."""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from serving import Service

from faults.load import Answer, ask, ask_many, count, open_client
from faults.postgres import Postgres
from faults.service import UNPROTECTED_DATABASE, copy, serve_on

POOL = 5
IN_TRANSACTION = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
RUNNING = """SELECT count(*) FROM pg_stat_activity
              WHERE state = 'active' AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()"""

UNPROTECTED_CALL = {
    "my_service/chassis/upstream.py": {
        "await run_to_completion(send(client, request, seconds, sending))": (
            "await send(client, request, seconds, sending)"
        )
    }
}


async def cancel_at_random(service: Service, path: str, number: int) -> None:
    """Sends requests whose clients go away after up to 0.4 s, 40 at a time.

    That is after the 0.2 s from which the service watches for it, for half of them.
    """
    clock = random.Random(1)

    async def cancel(limit: asyncio.Semaphore) -> None:
        async with limit:
            _, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await asyncio.sleep(clock.uniform(0, 0.4))
            writer.close()

    limit = asyncio.Semaphore(40)
    await asyncio.gather(*(cancel(limit) for _ in range(number)))


async def use_whole_pool(service: Service, path: str = "/query?seconds=0.3") -> list[Answer]:
    """As many requests at once as the pool has connections."""
    async with open_client(service.url) as client:
        return await ask_many([client], path, POOL)


async def fail_commits(service: Service) -> list[Answer]:
    async with open_client(service.url) as client:
        return [await ask(client, "/fail-commit") for _ in range(20 * POOL)]


async def test_failed_commits(
    extended: Path, postgres: Postgres, figure: Callable[[str, str], None]
) -> None:
    with serve_on(extended, postgres.url(), DATABASE_POOL_SIZE=str(POOL)) as service:
        failures = await fail_commits(service)
        answers = await use_whole_pool(service)
        left = postgres.execute(IN_TRANSACTION)
    figure(
        f"{len(failures)} failed COMMITs, pool of {POOL}",
        f"then {count(answers)[200]}/{POOL} at once, {left} idle in transaction",
    )
    assert count(failures) == {409: 20 * POOL}
    assert count(answers) == {200: POOL}
    assert left == "0"


async def test_control_of_failed_commits(
    extended: Path, postgres: Postgres, tmp_path: Path
) -> None:
    project = copy(extended, tmp_path, UNPROTECTED_DATABASE)
    with serve_on(project, postgres.url(), DATABASE_POOL_SIZE=str(POOL)) as service:
        async with open_client(service.url) as client:
            for _ in range(POOL):
                await ask(client, "/fail-commit")
        answers = await use_whole_pool(service)
        service.process.kill()  # It would wait for its connections for ever.
        service.process.wait()
    assert count(answers)[200] <= 1  # on the connection that the start opened


@pytest.mark.parametrize(
    "path", ["/transact", "/nest", "/query?seconds=0.2", "/iterate", "/query-orm?seconds=0.2"]
)
async def test_cancelled_queries(
    extended: Path, postgres: Postgres, figure: Callable[[str, str], None], path: str
) -> None:
    with serve_on(extended, postgres.url(), DATABASE_POOL_SIZE=str(POOL)) as service:
        await cancel_at_random(service, path, 600)
        await asyncio.sleep(1)
        answers = await use_whole_pool(service)
        answers += await use_whole_pool(service, "/query-orm?seconds=0.3")
        left = postgres.execute(IN_TRANSACTION)
    figure(
        f"600 random cancels of {path}, pool of {POOL}",
        f"then {count(answers)[200]}/{2 * POOL} at once, {left} idle in transaction",
    )
    assert count(answers) == {200: 2 * POOL}
    assert left == "0"


@pytest.mark.parametrize("path", ["/transact", "/nest"])
async def test_control_of_cancelled_transactions(
    extended: Path, postgres: Postgres, tmp_path: Path, path: str
) -> None:
    project = copy(extended, tmp_path, UNPROTECTED_DATABASE)
    with serve_on(project, postgres.url(), DATABASE_POOL_SIZE=str(POOL)) as service:
        await cancel_at_random(service, path, 600)
        await asyncio.sleep(1)
        answers = await use_whole_pool(service)
        service.process.kill()
        service.process.wait()
    assert count(answers)[200] < POOL


@asynccontextmanager
async def run_upstream() -> AsyncIterator[str]:
    """A server that keeps its connections and answers after 0.1 s."""

    tasks = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(2.5 if b"/slow" in head else 0.1)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    yield f"http://{host}:{port}/"
    server.close()
    # The service has ended, and its connections with it.
    await asyncio.wait([task for task in tasks if task], timeout=5)


# So that ten connections are the whole pool.
SMALL_POOL = {"max_connections=100": "max_connections=10"}


async def cancel_calls(project: Path, postgres: Postgres) -> tuple[list[Answer], str]:
    """Ten answers at once through the client after 600 random cancels, and the log."""
    async with run_upstream() as upstream:
        path = f"/call?url={upstream}"
        with serve_on(project, postgres.url()) as service:
            await cancel_at_random(service, path, 600)
            await asyncio.sleep(1)
            async with open_client(service.url) as client:
                # Longer than a call waits for a connection, so that a single lost one shows.
                answers = await ask_many([client], f"{path}slow", 10)
            return answers, service.log.read_text()


async def test_cancelled_calls(
    extended: Path, postgres: Postgres, tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    project = copy(extended, tmp_path, {"my_service/chassis/upstream.py": SMALL_POOL})
    answers, log = await cancel_calls(project, postgres)
    figure("600 random cancels of upstream calls, pool of 10", f"then {count(answers)[200]}/10")
    assert count(answers) == {200: 10}
    assert not re.search("never retrieved|Traceback", log), log


async def test_control_of_cancelled_calls(
    extended: Path, postgres: Postgres, tmp_path: Path
) -> None:
    edits = SMALL_POOL | UNPROTECTED_CALL["my_service/chassis/upstream.py"]
    answers, _ = await cancel_calls(
        copy(extended, tmp_path, {"my_service/chassis/upstream.py": edits}), postgres
    )
    assert count(answers)[200] < 10


async def fill(service: Service) -> tuple[Counter[bytes], float]:
    """The statuses of 200 answers, and the seconds until the last one."""
    sockets = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(200)]
    start = time.monotonic()
    for _, writer in sockets:
        writer.write(b"GET /query?seconds=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    statuses = Counter([(await reader.readline()).split()[1] for reader, _ in sockets])
    seconds = time.monotonic() - start
    for _, writer in sockets:
        writer.close()
    return statuses, seconds


async def test_full_pool(
    extended: Path, postgres: Postgres, figure: Callable[[str, str], None]
) -> None:
    with serve_on(extended, postgres.url(), DATABASE_POOL_SIZE=str(POOL)) as service:
        statuses, slowest = await fill(service)
    figure(f"pool of {POOL}, 200 queries of 1 s", f"{dict(statuses)}, slowest {slowest:.1f} s")
    assert statuses.keys() == {b"200", b"503"}
    assert slowest < 4


async def test_control_of_full_pool(extended: Path, postgres: Postgres, tmp_path: Path) -> None:
    edits = {"my_service/lifespan.py": {"pooler=pooler)": "pooler=pooler, acquire_timeout=10.0)"}}
    with serve_on(
        copy(extended, tmp_path, edits), postgres.url(), DATABASE_POOL_SIZE=str(POOL)
    ) as service:
        _, slowest = await fill(service)
    assert slowest > 4


async def leave(service: Service, postgres: Postgres) -> float | None:
    """Leaves in mid-query; seconds until no query runs, or None after 1.5 s."""
    clients = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(POOL)]
    for _, writer in clients:
        writer.write(b"GET /query?seconds=1.9 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await asyncio.sleep(0.3)
    assert postgres.execute(RUNNING) == str(POOL)
    left = time.monotonic()
    for _, writer in clients:
        writer.close()
    while time.monotonic() < left + 1.3:
        if await asyncio.to_thread(postgres.execute, RUNNING) == "0":
            return time.monotonic() - left
    return None


async def test_client_gone(
    extended: Path, postgres: Postgres, figure: Callable[[str, str], None]
) -> None:
    with serve_on(extended, postgres.url(), DATABASE_POOL_SIZE=str(POOL)) as service:
        seconds = await leave(service, postgres)
    figure("client gone in mid-query", f"no query left after {seconds} s")
    assert seconds is not None
    assert seconds < 1


async def test_control_of_client_gone(extended: Path, postgres: Postgres, tmp_path: Path) -> None:
    edits = {"my_service/chassis/in_flight.py": {"WATCH_AFTER = 0.2": "WATCH_AFTER = 60"}}
    with serve_on(
        copy(extended, tmp_path, edits), postgres.url(), DATABASE_POOL_SIZE=str(POOL)
    ) as service:
        assert await leave(service, postgres) is None
