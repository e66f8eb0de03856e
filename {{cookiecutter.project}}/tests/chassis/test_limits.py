"""The middleware around small applications, with a client that is a list of messages.

What it raises, the one around it answers.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from {{ cookiecutter.__package }}.chassis import limits
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
    **options: Any,
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
    drain = Drain()
    limited = Limits(app, drain, {"/livez"}, request_timeout, **options)
    await ErrorResponses(limited)(scope, receive, send)
    assert drain.in_flight == 0
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


async def test_answer_that_has_begun_is_broken_off() -> None:
    """A second one cannot be begun; the server closes the connection."""

    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(60)

    with pytest.raises(HTTPException):
        await call(hang, body(b""), request_timeout=0.2)


async def test_handler_ends_when_its_client_goes() -> None:
    assert await call(sleep, body(b""), END) == []


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


async def test_failing_check_ends_no_other_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that fails is logged; the others are checked, now and later."""
    check = RequestInFlight.check
    failed = False

    def fail_once(request: RequestInFlight, *values: float) -> None:
        nonlocal failed
        if not failed:
            failed = True
            raise RuntimeError
        check(request, *values)

    monkeypatch.setattr(RequestInFlight, "check", fail_once)
    start, _ = await call(sleep, body(b""), request_timeout=0.2)
    assert failed
    assert start["status"] == 504


async def test_too_many_requests_are_503() -> None:
    start, _ = await call(echo, body(b""), max_in_flight=0)
    assert start["status"] == 503
    assert (b"retry-after", b"1") in start["headers"]


async def test_probe_is_not_counted() -> None:
    start, _ = await call(echo, body(b""), path="/livez", max_in_flight=-1)
    assert start["status"] == 200
