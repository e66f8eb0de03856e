"""The middleware around small applications, with a client that is a list of messages.

What it raises, the one around it answers.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from {{ cookiecutter.__package }} import limits, traffic
from {{ cookiecutter.__package }}.limits import Limits, finish
from {{ cookiecutter.__package }}.logs import RequestLog

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
) -> list[Message]:
    """What the application sends to a client that sends these messages and then waits."""
    sent: list[Message] = []
    waiting = list(messages)

    async def receive() -> Message:
        if not waiting:
            await asyncio.sleep(60)
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": version,
        "method": "GET",
        "path": path,
        "headers": headers or [],
    }
    await RequestLog(Limits(app))(scope, receive, send)
    assert traffic.traffic.in_flight == 0
    return sent


async def test_body_is_handed_on_whole() -> None:
    _, content = await call(echo, body(b"a", True), body(b"b", True), body(b"c"))
    assert content["body"] == b"abc"


@pytest.mark.parametrize(("size", "status"), [(0, 200), (1, 413)])
async def test_body_is_limited(size: int, status: int) -> None:
    half = bytes(traffic.MAX_BODY_SIZE // 2)
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


async def test_slow_body_is_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "BODY_TIMEOUT", 0.1)
    start, _ = await call(echo, body(b"a", True))
    assert start["status"] == 408
    assert (b"connection", b"close") in start["headers"]


async def test_two_lengths_are_400() -> None:
    headers = [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")]
    start, _ = await call(echo, body(b"a"), headers=headers)
    assert start["status"] == 400


async def test_slow_request_is_504(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "REQUEST_TIMEOUT", 0.2)
    start, _ = await call(sleep, body(b""))
    assert start["status"] == 504


async def test_answer_that_has_begun_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one cannot be begun; the server closes the connection."""

    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(60)

    monkeypatch.setattr(traffic, "REQUEST_TIMEOUT", 0.2)
    with pytest.raises(HTTPException):
        await call(hang, body(b""))


async def test_handler_ends_when_its_client_goes() -> None:
    assert await call(sleep, body(b""), END) == []


async def test_too_many_requests_are_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_IN_FLIGHT", 0)
    start, _ = await call(echo, body(b""))
    assert start["status"] == 503
    assert (b"retry-after", b"1") in start["headers"]


async def test_probe_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_IN_FLIGHT", -1)
    start, _ = await call(echo, body(b""), path="/livez")
    assert start["status"] == 200


async def test_call_is_finished_though_its_caller_is_cancelled() -> None:
    finished = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0.1)
        finished.set()
        raise ValueError

    caller = asyncio.create_task(finish(work()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.wait_for(finished.wait(), 5)
