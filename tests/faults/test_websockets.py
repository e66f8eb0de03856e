"""WebSockets are counted, logged and ended in order, and no stranger opens one."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from serving import Service
from wsproto.events import CloseConnection, TextMessage

from faults.load import ask, open_client
from faults.postgres import Postgres
from faults.service import RUNNER, copy, read_events, read_names, serve_on, workers
from faults.websocket import Client, Http2Client

kinds = pytest.mark.parametrize("kind", [Client, Http2Client], ids=["HTTP/1.1", "HTTP/2"])

WEBSOCKETS = 100
RESTART = 1012
UNPROTECTED = {
    "my_service/chassis/limits.py": {'if scope["type"] == "websocket":': "if False:"},
}


def find_events(service: Service) -> list[dict[str, Any]]:
    return [event for event in read_events(service) if "sent" in event or event["level"] != "info"]


async def wait_for_events(service: Service, number: int = 1) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 10
    while len(events := find_events(service)) < number:
        assert time.monotonic() < deadline, events
        await asyncio.sleep(0.05)
    return events


async def open_many(service: Service, number: int, kind: type[Client] = Client) -> list[Client]:
    """Half of them listen, half of them only send."""
    clients = [kind(service.port) for _ in range(number)]
    paths = [f"/{('talk', 'push')[i % 2]}/{i}" for i in range(number)]
    opened = [client.open(path) for client, path in zip(clients, paths, strict=True)]
    assert {*await asyncio.gather(*opened)} == {kind.accepted}
    return clients


@kinds
@workers
async def test_end_of_the_service(
    extended: Path,
    postgres: Postgres,
    done: Path,
    figure: Callable[[str, str], None],
    workers: str,
    kind: type[Client],
) -> None:
    settings = {"DONE": str(done), "WEB_CONCURRENCY": workers, "LOG_LEVEL": "info"}
    with serve_on(extended, postgres.url(), RUNNER, **settings) as service:
        clients = await open_many(service, WEBSOCKETS, kind)
        async with open_client(service.url) as client:
            short = asyncio.create_task(ask(client, "/sleep?seconds=2"))
            await asyncio.sleep(0.5)
            service.process.terminate()
            start = time.monotonic()
            codes = await asyncio.gather(*(client.end() for client in clients))
            answer = await short
        code = await asyncio.to_thread(service.process.wait, 30)
        after = time.monotonic() - answer.end
        events = find_events(service)
    figure(
        f"SIGTERM, {WEBSOCKETS} WebSockets of {kind.__name__}, {workers} workers",
        f"{codes.count(RESTART)} closed with {RESTART}, exit {code} {after:.2f} s after the last "
        "short request",
    )
    assert Counter(codes) == {RESTART: WEBSOCKETS}
    assert sorted(read_names(done), key=int) == [str(n) for n in range(WEBSOCKETS)]
    assert [event for event in events if "code" not in event] == []
    assert Counter(event["code"] for event in events) == {RESTART: WEBSOCKETS}
    assert answer.status == 200
    assert answer.end - start < 5
    assert after < 3
    assert code == 0


async def test_control_of_the_end(
    extended: Path, postgres: Postgres, done: Path, tmp_path: Path
) -> None:
    """Hypercorn cuts them with 1011, or without a word."""
    project = copy(extended, tmp_path, UNPROTECTED)
    with serve_on(project, postgres.url(), DONE=str(done)) as service:
        clients = await open_many(service, 10)
        service.process.terminate()
        codes = [await client.end() for client in clients]
    assert RESTART not in codes


@kinds
async def test_message_under_way_is_answered_no_more_but_handled(
    kind: type[Client], extended: Path, postgres: Postgres, done: Path
) -> None:
    """What works on a message when the service ends has time for it, as a request has."""
    with serve_on(extended, postgres.url(), DONE=str(done)) as service:
        client = kind(service.port)
        await client.open("/talk/a?seconds=3")
        client.send(TextMessage(data="work"))
        await asyncio.sleep(0.5)
        start = time.monotonic()
        assert await asyncio.to_thread(service.stop) == 0
        assert 2 < time.monotonic() - start < 8
        assert await client.end() == RESTART
        assert find_events(service) == []
    assert read_names(done) == ["a"]


@kinds
@pytest.mark.parametrize("closes", ["client", "service"])
async def test_work_after_the_end(
    kind: type[Client], extended: Path, postgres: Postgres, done: Path, closes: str
) -> None:
    """Has its time, though no message had come, and is an error in the log where that is over."""
    path = "/linger/a?seconds=2.5" + ("&close=1" if closes == "service" else "")
    for seconds, names in (("1", []), ("10", ["a"])):
        settings = {"DONE": str(done), "BACKGROUND_TIMEOUT": seconds}
        with serve_on(extended, postgres.url(), RUNNER, **settings) as service:
            client = kind(service.port)
            await client.open(path)
            if closes == "client":
                client.send(CloseConnection(code=1000))
            await asyncio.sleep(3.5)
            cut = [] if names else ["What ran on after a WebSocket was cut"]
            assert [event["message"] for event in find_events(service)] == cut
            assert read_names(done) == names
            client.go()


@kinds
@pytest.mark.parametrize(("failure", "code"), [("late", 1011), ("raise", 500), ("return", 500)])
async def test_code_is_that_of_the_client(
    kind: type[Client], extended: Path, postgres: Postgres, failure: str, code: int
) -> None:
    with serve_on(extended, postgres.url(), LOG_LEVEL="info") as service:
        client = kind(service.port)
        status = await client.open(f"/fail-to-open/{failure}")
        if status == kind.accepted:
            status = await client.end()
        client.go()
        assert status == code
        error, event = await wait_for_events(service, 2)
    assert error["message"] == "A WebSocket failed"
    assert event["code"] == code


@kinds
async def test_one_line(kind: type[Client], extended: Path, postgres: Postgres, done: Path) -> None:
    """With its route, code and messages, and the id that its client gave."""
    with serve_on(extended, postgres.url(), DONE=str(done), LOG_LEVEL="info") as service:
        client = kind(service.port)
        await client.open("/talk/a", (b"X-Request-ID", b"one-1"))
        assert [await client.ask(text) for text in "abc"] == ["a", "b", "c"]
        client.send(CloseConnection(code=1000))
        assert await client.end() == 1000
        (event,) = await wait_for_events(service)
    # Hypercorn says 1006 for every WebSocket that its client has ended.
    assert event["message"].startswith("WEBSOCKET /talk/{name} 1006 in ")
    assert (event["received"], event["sent"], event["request_id"]) == (3, 3, "one-1")
    assert event["route"] == "/talk/{name}"


@kinds
async def test_exception_is_logged_once(
    kind: type[Client], extended: Path, postgres: Postgres, done: Path
) -> None:
    with serve_on(extended, postgres.url(), DONE=str(done), LOG_LEVEL="info") as service:
        client = kind(service.port)
        await client.open("/talk/a")
        client.send(TextMessage(data="fail"))
        assert await client.end() == 1011
        error, event = await wait_for_events(service, 2)
        assert await asyncio.to_thread(service.stop) == 0
        assert len(find_events(service)) == 2
    assert error["traceback"].endswith("RuntimeError: fail\n")
    assert error["request_id"] == event["request_id"]
    assert event["code"] == 1011


async def ask_beside(service: Service) -> int:
    """The status of a request on the connection of a WebSocket that fails meanwhile."""
    client = Http2Client(service.port)
    await client.open("/talk/a")
    client.ask_beside("/sleep?seconds=2")
    client.send(TextMessage(data="fail"))
    with suppress(TimeoutError):
        async with asyncio.timeout(6):
            await client.end()
    client.go()
    assert client.code == 1011
    return client.status_beside


async def test_end_leaves_other_streams_alone(
    extended: Path, postgres: Postgres, done: Path
) -> None:
    """The client's closing frame comes after the end of its application."""
    with serve_on(extended, postgres.url(), DONE=str(done)) as service:
        assert await ask_beside(service) == 200


async def test_control_of_other_streams(
    extended: Path, postgres: Postgres, done: Path, tmp_path: Path
) -> None:
    edits = {"my_service/chassis/websockets.py": {"await self.wait_for_client()": "pass"}}
    with serve_on(copy(extended, tmp_path, edits), postgres.url(), DONE=str(done)) as service:
        assert await ask_beside(service) != 200
        service.stop(signal.SIGKILL)


@kinds
@pytest.mark.parametrize("path", ["/talk/a", "/push/a"])
async def test_client_that_goes(
    kind: type[Client], extended: Path, postgres: Postgres, done: Path, path: str
) -> None:
    """Is noticed, whether its application listens or not; the drain does not wait for it."""
    with serve_on(extended, postgres.url(), DONE=str(done), LOG_LEVEL="info") as service:
        client = kind(service.port)
        await client.open(path)
        client.go()
        (event,) = await wait_for_events(service)
        start = time.monotonic()
        assert await asyncio.to_thread(service.stop) == 0
    assert event["level"] == "info"
    assert time.monotonic() - start < 5
    assert read_names(done) == ["a"]


async def test_client_that_does_not_read(
    extended: Path, postgres: Postgres, done: Path, tmp_path: Path
) -> None:
    """Over HTTP/2 Hypercorn takes all that is sent to it into its memory."""
    edits = {"my_service/chassis/limits.py": {"SEND_TIMEOUT = 60.0": "SEND_TIMEOUT = 2.0"}}
    project = copy(extended, tmp_path, edits)
    with serve_on(project, postgres.url(), DONE=str(done), LOG_LEVEL="info") as service:
        client = Client(service.port)
        await client.open("/push/a?size=1000000&seconds=0")
        client.reading.cancel()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        (event,) = await wait_for_events(service)
        client.go()
    assert event["level"] == "info"
    assert event["milliseconds"] > 2000


@kinds
async def test_message_over_the_limit(
    kind: type[Client], extended: Path, postgres: Postgres, done: Path
) -> None:
    with serve_on(extended, postgres.url(), DONE=str(done)) as service:
        client = kind(service.port)
        await client.open("/talk/a")
        assert await client.ask("x" * (1 << 20)) == "x" * (1 << 20)
        client.send(TextMessage(data="x" * ((1 << 20) + 1)))
        assert await client.end() == 1009


@kinds
@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("a.example", None, 101),
        ("a.example", "https://a.example", 101),
        ("a.example", "https://b.example", 101),
        ("a.example", "https://c.example", 403),
        ("a.example", "null", 403),
        ("c.example", "https://c.example", 421),
    ],
)
async def test_host_and_origin(
    kind: type[Client],
    extended: Path,
    postgres: Postgres,
    done: Path,
    host: str,
    origin: str | None,
    status: int,
) -> None:
    """Pages of the service and of `CORS_ORIGINS` may open one, and programs."""
    settings = {
        "ALLOWED_HOSTS": "a.example",
        "CORS_ORIGINS": "https://b.example",
        "DONE": str(done),
    }
    with serve_on(extended, postgres.url(), RUNNER, **settings) as service:
        client = kind(service.port)
        headers = [(b"Origin", origin.encode())] if origin else []
        opened = await client.open("/talk/a", *headers, host=host)
        assert opened == (kind.accepted if status == 101 else status)
        client.go()
