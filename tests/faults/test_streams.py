"""What lasts as long as its client: no time limit ends it, a client that goes and SIGTERM do."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import h2.connection
import httpx
import pytest
from serving import Service

from faults.load import ask, open_client
from faults.postgres import Postgres
from faults.service import RUNNER, copy, protocols, read_events, read_names, serve_on, workers

STREAMS = 100
MIB = 1 << 20


def read_log(service: Service) -> list[str]:
    return [event["message"] for event in read_events(service)]


async def read(client: httpx.AsyncClient, path: str, begun: asyncio.Semaphore) -> str:
    """How the response ends, after `begun` has been told of its first part."""
    try:
        async with client.stream("GET", path) as response:
            parts = response.aiter_raw()
            await anext(parts)
            begun.release()
            async for _ in parts:
                pass
    except httpx.HTTPError as error:
        return type(error).__name__
    return "ended"


@asynccontextmanager
async def open_streams(
    service: Service, http2: bool, path: str, number: int = STREAMS
) -> AsyncIterator[list[asyncio.Task[str]]]:
    """Streams that have begun, over ten connections where they can share one."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(open_client(service.url, http2)) for _ in range(10)
        ]
        begun = asyncio.Semaphore(0)
        tasks = [
            asyncio.create_task(read(clients[i % 10], f"{path}&name={i}", begun))
            for i in range(number)
        ]
        for _ in range(number):
            await asyncio.wait_for(begun.acquire(), 20)
        yield tasks


@protocols
@workers
async def test_end_of_the_service(
    extended: Path,
    postgres: Postgres,
    done: Path,
    figure: Callable[[str, str], None],
    workers: str,
    http2: bool,
) -> None:
    """Each stream ends as it should, its generator is closed, a short request has its time."""
    settings = {"DONE": str(done), "WEB_CONCURRENCY": workers}
    with serve_on(extended, postgres.url(), RUNNER, **settings) as service:
        async with (
            open_streams(service, http2, "/stream?seconds=0.5") as streams,
            open_client(service.url, http2) as client,
        ):
            short = asyncio.create_task(ask(client, "/sleep?seconds=2"))
            await asyncio.sleep(0.5)
            service.process.terminate()
            start = time.monotonic()
            ends = await asyncio.gather(*streams)
            seconds = time.monotonic() - start
            answer = await short
            code = await asyncio.to_thread(service.process.wait, 30)
            after = time.monotonic() - answer.end
        log = read_log(service)
    protocol = "HTTP/2" if http2 else "HTTP/1.1"
    figure(
        f"SIGTERM, {STREAMS} event streams, {protocol}, {workers} workers",
        f"{ends.count('ended')} ended in {seconds:.2f} s, exit {code} {after:.2f} s after the last "
        "short request",
    )
    assert ends == ["ended"] * STREAMS
    assert sorted(read_names(done), key=int) == [str(n) for n in range(STREAMS)]
    assert answer.status == 200
    assert seconds < 2
    assert after < 2
    assert code == 0
    assert log == []


@protocols
async def test_control_of_the_end(
    extended: Path, postgres: Postgres, done: Path, tmp_path: Path, http2: bool
) -> None:
    """Streams that are not told hold the process for as long as a drain may take."""
    edits = {"my_service/chassis/in_flight.py": {"if drain.started and": "if drain.over and"}}
    project = copy(extended, tmp_path, edits)
    with serve_on(project, postgres.url(), DONE=str(done), BACKGROUND_TIMEOUT="1") as service:
        async with open_streams(service, http2, "/stream?seconds=0.5", 10):
            service.process.terminate()
            await asyncio.sleep(5)
            assert service.process.poll() is None
            service.process.kill()


@protocols
async def test_it_lasts(extended: Path, postgres: Postgres, done: Path, http2: bool) -> None:
    """Past the time in which an answer must begin, and ends by itself."""
    kinds = ["", "&thread=1", "&type=text/csv"]
    with serve_on(extended, postgres.url(), DONE=str(done), REQUEST_TIMEOUT="1") as service:
        async with open_client(service.url, http2) as client:
            begun = asyncio.Semaphore(0)
            paths = [f"/stream?seconds=0.2&for=3&name=x{kind}" for kind in kinds]
            ends = await asyncio.gather(*(read(client, path, begun) for path in paths))
            late = await ask(client, "/sleep?seconds=3")
        assert read_log(service) == []
    assert ends == ["ended"] * len(kinds)
    assert late.status == 504


@protocols
async def test_client_that_goes(
    extended: Path, postgres: Postgres, done: Path, figure: Callable[[str, str], None], http2: bool
) -> None:
    """Its generator is closed soon, nobody sees a traceback."""
    with serve_on(extended, postgres.url(), DONE=str(done)) as service:
        async with open_streams(service, http2, "/stream?seconds=0.5") as streams:
            for stream in streams:
                stream.cancel()
            await asyncio.gather(*streams, return_exceptions=True)
        start = time.monotonic()
        while len(read_names(done)) < STREAMS:
            assert time.monotonic() < start + 5
            await asyncio.sleep(0.05)
        seconds = time.monotonic() - start
        assert await asyncio.to_thread(service.stop) == 0
        assert read_log(service) == []
    protocol = "HTTP/2" if http2 else "HTTP/1.1"
    figure(f"clients of {STREAMS} event streams go, {protocol}", f"closed in {seconds:.2f} s")


@protocols
async def test_download_ends_in_the_drain(
    extended: Path, postgres: Postgres, tmp_path: Path, http2: bool
) -> None:
    """It has a length, and cannot be ended before."""
    file = tmp_path / "file"
    file.write_bytes(bytes(32 * MIB))
    with serve_on(extended, postgres.url(), FILE=str(file), REQUEST_TIMEOUT="1") as service:
        async with (
            open_client(service.url, http2) as client,
            client.stream("GET", "/download") as response,
        ):
            size = 0
            async for part in response.aiter_raw(MIB):
                size += len(part)
                if size == MIB:
                    service.process.terminate()
                await asyncio.sleep(0.1)
        assert await asyncio.to_thread(service.process.wait, 10) == 0
        assert read_log(service) == []
    assert size == 32 * MIB


def ask_for(path: str, http2: bool) -> bytes:
    """Over HTTP/2 the client never opens its window of 64 KiB again."""
    if not http2:
        return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    headers = {":method": "GET", ":scheme": "http", ":authority": "localhost"}
    connection.send_headers(1, [*headers.items(), (":path", path)], end_stream=True)
    return connection.data_to_send()


@protocols
async def test_stream_that_never_waits(extended: Path, postgres: Postgres, http2: bool) -> None:
    """Its client reads a little and goes: the others are served meanwhile and after."""
    with serve_on(extended, postgres.url()) as service:
        async with open_client(service.url, http2) as client, open_client(service.url) as other:
            async with client.stream("GET", "/flood") as response:
                await anext(response.aiter_raw())
                assert (await ask(other, "/livez")).status == 200
            await asyncio.sleep(1)
            assert (await ask(other, "/livez")).status == 200
        assert await asyncio.to_thread(service.stop) == 0
        assert read_log(service) == []


@protocols
@pytest.mark.parametrize("path", ["/download?name=a", "/download?name=a&whole"])
async def test_client_that_does_not_read(
    extended: Path,
    postgres: Postgres,
    tmp_path: Path,
    done: Path,
    figure: Callable[[str, str], None],
    http2: bool,
    path: str,
) -> None:
    """It holds up neither its request nor the end of the service for long.

    A background task of its response runs all the same.
    """
    file = tmp_path / "file"
    file.write_bytes(bytes(64 * MIB))
    edits = {"my_service/chassis/limits.py": {"SEND_TIMEOUT = 60.0": "SEND_TIMEOUT = 2.0"}}
    project = copy(extended, tmp_path, edits)
    settings = {"FILE": str(file), "DONE": str(done), "LOG_LEVEL": "info"}
    with serve_on(project, postgres.url(), RUNNER, **settings) as service:
        _, writer = await asyncio.open_connection("127.0.0.1", service.port, limit=1)
        writer.write(ask_for(path, http2))
        start = time.monotonic()
        while not any("GET /download" in line for line in read_log(service)):
            assert time.monotonic() < start + 10
            await asyncio.sleep(0.1)
        seconds = time.monotonic() - start
        code = await asyncio.to_thread(service.stop)
        end = time.monotonic() - start - seconds
        writer.close()
    protocol = "HTTP/2" if http2 else "HTTP/1.1"
    figure(
        f"a client that does not read, {protocol}, 2 s for a part", f"noticed after {seconds:.1f} s"
    )
    assert seconds > 2
    assert end < 3
    assert code == 0
    assert read_names(done) == ["a"]
