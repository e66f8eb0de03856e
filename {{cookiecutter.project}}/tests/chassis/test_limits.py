"""The middleware around small applications, with a client that is a list of messages.

What it raises, the one around it answers.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from {{ cookiecutter.__package }}.chassis import limits, watched
from {{ cookiecutter.__package }}.chassis.drain import Drain
from {{ cookiecutter.__package }}.chassis.errors import ErrorResponses
from {{ cookiecutter.__package }}.chassis.in_flight import RequestInFlight
from {{ cookiecutter.__package }}.chassis.limits import Limits

END: Message = {"type": "http.disconnect"}


def body(content: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": content, "more_body": more}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


async def sleep(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(60)


async def call(
    app: Callable[[Scope, Receive, Send], Awaitable[None]],
    *messages: Message,
    path: str = "/",
    headers: list[tuple[bytes, bytes]] | None = None,
    version: str = "2",
    request_timeout: float = 15,
    background_timeout: float = 30,
    drain: Drain | None = None,
    body_memory: int = 64,
    takes: int = 1000,
    goes_after: float = 0,
    **options: Any,
) -> list[Message]:
    """What the application sends to a client that sends these messages and then waits.

    It takes so many messages, and goes after so many seconds.
    """
    sent: list[Message] = []
    waiting = list(messages)
    start = asyncio.get_running_loop().time()

    async def receive() -> Message:
        if not waiting:
            await asyncio.sleep(60)
        if waiting[0] is END:
            await asyncio.sleep(start + goes_after - asyncio.get_running_loop().time())
        return waiting.pop(0)

    async def send(message: Message) -> None:
        if len(sent) == takes:
            await asyncio.sleep(60)
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": version,
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": headers or [],
    }
    drain = drain or Drain()
    seconds = request_timeout, background_timeout
    limited = Limits(app, drain, {"/livez"}, *seconds, body_memory, **options)
    await ErrorResponses(limited)(scope, receive, send)
    assert drain.in_flight == 0
    assert limited.bounds.held.size == 0
    return sent


async def test_body_is_handed_on_whole() -> None:
    _, content = await call(echo, body(b"a", True), body(b"b", True), body(b"c"))
    assert content["body"] == b"abc"


@pytest.mark.parametrize(("size", "status"), [(0, 200), (1, 413)])
async def test_body_is_limited(size: int, status: int) -> None:
    half = bytes(limits.MAX_BODY_SIZE // 2)
    start, *_ = await call(echo, body(half, True), body(half, True), body(bytes(size)))
    assert start["status"] == status


async def test_body_without_a_length() -> None:
    """There is none over HTTP/1.1, and the server is not asked; over HTTP/2 there may be one."""
    _, content = await call(echo, version="1.1")
    assert content["body"] == b""
    _, content = await call(echo, body(b"a"), version="2")
    assert content["body"] == b"a"


@pytest.mark.parametrize("name", sorted(limits.LENGTHS))
async def test_body_with_a_length(name: bytes) -> None:
    _, content = await call(echo, body(b"a"), headers=[(name, b"1")], version="1.1")
    assert content["body"] == b"a"


@pytest.mark.parametrize(("version", "closed"), [("1.1", True), ("2", False), ("3", False)])
async def test_slow_body_is_408(version: str, closed: bool) -> None:
    """Then the connection is closed; HTTP/2 and HTTP/3 have no header that could say so."""
    headers = [(b"content-length", b"2")]
    start, _ = await call(
        echo, body(b"a", True), headers=headers, version=version, body_timeout=0.1
    )
    assert start["status"] == 408
    assert ((b"connection", b"close") in start["headers"]) == closed


async def test_two_lengths_are_400() -> None:
    headers = [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")]
    start, _ = await call(echo, body(b"a"), headers=headers)
    assert start["status"] == 400


async def test_slow_request_is_504() -> None:
    start, _ = await call(sleep, body(b""), request_timeout=0.2)
    assert start["status"] == 504


async def start_response(send: Send, type_: bytes = b"text/csv") -> None:
    headers = [(b"Content-Type", type_)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def end_later(scope: Scope, receive: Receive, send: Send) -> None:
    await start_response(send)
    await asyncio.sleep(0.5)
    await send({"type": "http.response.body", "body": b"end"})


async def test_response_lasts_longer_than_a_request() -> None:
    *_, last = await call(end_later, body(b""), request_timeout=0.2)
    assert last["body"] == b"end"


async def test_response_that_fails_is_broken_off(caplog: pytest.LogCaptureFixture) -> None:
    """A second one cannot be begun; the log has it once, as the server is not told."""

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await start_response(send)
        raise RuntimeError

    (start,) = await call(stream, body(b""))
    assert start["status"] == 200
    assert caplog.messages == ["A response failed"]


@pytest.mark.parametrize("begun", [False, True])
async def test_cancel_that_nobody_asked_for_is_a_failure(
    begun: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """As where a handler awaits a task that something else has cancelled."""

    async def wait_for_cancelled(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await start_response(send)
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        await task

    start, *_ = await call(wait_for_cancelled, body(b""))
    assert start["status"] == (200 if begun else 500)
    (record,) = caplog.records
    assert record.getMessage() == ("A response failed" if begun else "The request failed")
    assert record.exc_info


async def test_client_that_takes_nothing_is_given_up() -> None:
    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await start_response(send)
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

    taken = await call(stream, body(b""), takes=3, send_timeout=0.2)
    assert len(taken) == 3


class Work:
    """What takes its time after a response."""

    done = False

    async def run(self) -> None:
        await asyncio.sleep(0.3)
        self.done = True


async def produce(pause: float | None = None) -> AsyncIterator[bytes]:
    """Without end, and without a pause never suspended."""
    while True:
        yield b"x"
        if pause:
            await asyncio.sleep(pause)


@pytest.mark.parametrize("kind", ["whole", "stream", "own"])
async def test_background_task_runs_though_the_client_takes_nothing(kind: str) -> None:
    """As where the client closes; what an owner sends without listening is ended as well."""
    work = Work()

    async def send_for_ever(scope: Scope, receive: Receive, send: Send) -> None:
        await start_response(send)
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
        except ClientDisconnect:
            await work.run()

    apps: dict[str, Callable[[Scope, Receive, Send], Awaitable[None]]] = {
        "whole": Response(b"x", background=BackgroundTask(work.run)),
        "stream": StreamingResponse(produce(), background=BackgroundTask(work.run)),
        "own": send_for_ever,
    }
    assert len(await call(apps[kind], body(b""), takes=1, send_timeout=0.2)) == 1
    assert work.done


@pytest.mark.parametrize("listens", [True, False])
async def test_stream_that_never_waits_lets_the_loop_run(listens: bool) -> None:
    """A server need not suspend what it sends, least of all to a client that has gone."""
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def send_for_ever(scope: Scope, receive: Receive, send: Send) -> None:
        await start_response(send)
        async for part in produce():
            await send({"type": "http.response.body", "body": part, "more_body": True})

    turning = asyncio.create_task(turn())
    app = StreamingResponse(produce()) if listens else send_for_ever
    await call(app, body(b""), END, takes=1 << 30, goes_after=0.3)
    turning.cancel()
    assert turns > 10


@pytest.mark.parametrize("type_", [b"text/event-stream", b"text/event-stream; charset=utf-8"])
async def test_event_stream_ends_with_the_service(type_: bytes) -> None:
    closed = False

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal closed
        try:
            await start_response(send, type_)
            await asyncio.sleep(60)
        finally:
            closed = True

    *_, last = await call(stream, body(b""), drain=Drain(started=True))
    assert closed
    assert last == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_other_response_ends_by_itself() -> None:
    """It may be one whose end its client misses."""
    *_, last = await call(end_later, body(b""), drain=Drain(started=True))
    assert last["body"] == b"end"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], None),
        ([True], "The service ended before a response was complete"),
        ([True, False], "The service ended before what ran on after the response"),
    ],
)
async def test_end_of_the_drain_ends_everything(
    parts: list[bool], message: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        for more in parts:
            if more:
                await start_response(send)
            await send({"type": "http.response.body", "body": b"x", "more_body": more})
        await asyncio.sleep(60)

    drain = Drain(started=True, over=True)
    answer = await call(hang, body(b""), drain=drain)
    assert answer[0]["status"] == (200 if parts else 504)
    assert caplog.messages == ([message] if message else [])


async def test_lifespan_ends_after_what_is_in_flight() -> None:
    """Granian ends it while a background task still runs: the database is needed until then."""
    ends: list[str] = []

    async def end(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
        else:
            await asyncio.sleep(0.5)
        ends.append(scope["type"])

    async def receive() -> Message:
        return {"type": "lifespan.shutdown"}

    async def wait_for_client() -> Message:
        await asyncio.sleep(60)
        return END

    async def send(message: Message) -> None:
        pass

    limited = Limits(end, Drain(), (), 15, 30, 64)
    request = {"type": "http", "http_version": "1.1", "path": "/", "headers": []}
    await asyncio.gather(
        limited(request, wait_for_client, send), limited({"type": "lifespan"}, receive, send)
    )
    assert ends == ["http", "lifespan"]


async def test_handler_ends_when_its_client_goes() -> None:
    assert await call(sleep, body(b""), END) == []


async def test_handler_that_asks_is_told_that_its_client_has_gone() -> None:
    told = False

    async def poll(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal told
        request = Request(scope, receive)
        for _ in range(10):
            told = told or await request.is_disconnected()
            await asyncio.sleep(0.1)
        await Response()(scope, receive, send)

    await call(poll, body(b""), END, goes_after=0.3, request_timeout=5)
    assert told


async def test_handler_that_asks_no_more_ends_when_its_client_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watched, "LISTEN_GRACE", 0.3)

    async def ask_once(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        with suppress(TimeoutError):
            await asyncio.wait_for(receive(), 0.1)
        await asyncio.sleep(60)

    assert await call(ask_once, body(b""), END, goes_after=0.2) == []


async def test_deadline_holds_for_what_listens_to_its_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def listen(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        await asyncio.sleep(60)

    start, *_ = await call(listen, body(b""), END, request_timeout=0.3, background_timeout=1)
    assert start["status"] == 504
    assert caplog.messages == []


@pytest.mark.parametrize("disconnect", [True, False])
async def test_work_after_the_answer_runs_to_its_end(disconnect: bool) -> None:
    """As a background task does: the client is gone, and the time of the request is over."""
    done = False

    async def work_on(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal done
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        await asyncio.sleep(0.6)
        done = True

    await call(work_on, body(b""), *([END] if disconnect else []), request_timeout=0.2)
    assert done


async def test_work_after_the_answer_is_bound(caplog: pytest.LogCaptureFixture) -> None:
    async def work_on(scope: Scope, receive: Receive, send: Send) -> None:
        await echo(scope, receive, send)
        await asyncio.sleep(60)

    assert len(await call(work_on, body(b""), background_timeout=0.2)) == 2
    assert caplog.messages == ["What ran on after the response took over 0.2 s: cut"]


async def test_server_that_cuts_work_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """As Hypercorn does where a connection fails, and Daphne after each response."""

    async def work_on(scope: Scope, receive: Receive, send: Send) -> None:
        await echo(scope, receive, send)
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        await asyncio.sleep(60)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(call(work_on, body(b"")))
    assert caplog.messages == ["The server cut what ran on after the response"]


class Owners(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)


@pytest.mark.parametrize("middleware", [[], [Middleware(Owners)]])
@pytest.mark.parametrize("stream", [False, True])
async def test_background_task_runs_whatever_its_client_does(
    stream: bool, middleware: list[Middleware]
) -> None:
    """A temporary file has to be deleted even where nobody downloads it to the end."""
    work = Work()

    async def answer(request: Request) -> Response:
        await asyncio.sleep(0.3)  # until its client is watched
        background = BackgroundTask(work.run)
        if stream:
            return StreamingResponse(produce(0.1), background=background)
        return Response(background=background)

    app = Starlette(routes=[Route("/", answer)], middleware=middleware)
    messages = [body(b""), END]
    await call(app, *messages, goes_after=0.6, request_timeout=0.5)
    assert work.done


async def test_failing_check_ends_no_other_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that fails is logged; the others are checked, now and later."""
    check = RequestInFlight.check
    failed = False

    def fail_once(request: RequestInFlight, now: float, drain: Drain) -> None:
        nonlocal failed
        if not failed:
            failed = True
            raise RuntimeError
        check(request, now, drain)

    monkeypatch.setattr(RequestInFlight, "check", fail_once)
    start, _ = await call(sleep, body(b""), request_timeout=0.2)
    assert failed
    assert start["status"] == 504


async def test_too_many_requests_are_503() -> None:
    start, _ = await call(echo, body(b""), max_in_flight=0)
    assert start["status"] == 503
    assert (b"retry-after", b"1") in start["headers"]


async def test_bytes_of_all_bodies_are_bound() -> None:
    """One that goes over the bound is read to its end and dropped; then the next one fits."""
    mib = 1 << 20
    for size, status in [(mib, 200), (mib + 1, 503)]:
        messages = body(bytes(mib), True), body(bytes(size - mib), True), body(b"")
        start, *_ = await call(echo, *messages, body_memory=1, max_body_size=9 * mib)
        assert start["status"] == status
        assert ((b"retry-after", b"1") in start["headers"]) == (status == 503)


async def test_probe_is_not_counted() -> None:
    start, _ = await call(echo, body(b""), path="/livez", max_in_flight=-1)
    assert start["status"] == 200
