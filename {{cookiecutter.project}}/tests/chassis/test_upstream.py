import asyncio
import codecs
import gzip
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from {{ cookiecutter.__package }}.chassis import upstream as upstreams
from {{ cookiecutter.__package }}.chassis.download import run_to_completion
from {{ cookiecutter.__package }}.chassis.request_id import request_id
from {{ cookiecutter.__package }}.chassis.upstream import (
    call_upstream,
    fetch_json,
    open_client,
)


async def test_json_is_passed_on(upstream: str) -> None:
    async with open_client() as client:
        assert await fetch_json(client, f"{upstream}/a") == {"source": "a", "protocol": "1.1"}


async def test_call_takes_what_httpx_takes() -> None:
    """Credentials and redirects too; the response says how long it took, and from where it came."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        response: Response = RedirectResponse("/b")
        if request.url.path == "/b":
            response = JSONResponse(request.headers["authorization"])
        await response(scope, receive, send)

    transport = httpx.ASGITransport(answer)
    async with httpx.AsyncClient(transport=transport) as client:
        response = await call_upstream(
            client, "GET", "http://test/a", auth=("ada", "x"), follow_redirects=True
        )
    assert response.json() == "Basic YWRhOng="
    assert response.url.path == "/b"
    assert [each.status_code for each in response.history] == [307]
    assert response.elapsed.total_seconds() >= 0


@pytest.mark.parametrize("path", ["500", "404", "302", "text"])
async def test_failure_or_no_json_is_502(upstream: str, path: str) -> None:
    async with open_client() as client:
        with pytest.raises(HTTPException) as raised:
            await fetch_json(client, f"{upstream}/{path}")
    assert raised.value.status_code == 502


async def test_refused_connection_is_502() -> None:
    async with open_client() as client:
        with pytest.raises(HTTPException) as raised:
            await fetch_json(client, "http://127.0.0.1:1/")
    assert raised.value.status_code == 502


async def test_slowness_is_504(upstream: str) -> None:
    async with open_client() as client:
        with pytest.raises(HTTPException) as raised:
            await fetch_json(client, f"{upstream}/a", seconds=0.1)
    assert raised.value.status_code == 504


async def test_slow_answer_may_take_all_the_seconds_of_its_call() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"
    async with answer_with(b"", head + b"1", pause=0.5) as url, open_client() as client:
        client.timeout = httpx.Timeout(0.1)
        assert await fetch_json(client, url, seconds=3) == 1
        with pytest.raises(HTTPException) as raised:
            await fetch_json(client, url, timeout=0.1)
    assert raised.value.status_code == 504


async def test_longer_timeout_is_that_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """`timeout` is what users of httpx give; what is not longer, as None, lifts no limit."""
    monkeypatch.setattr(upstreams, "CALL_TIMEOUT", 0.1)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"
    async with answer_with(b"", head + b"1", pause=0.5) as url, open_client() as client:
        assert await fetch_json(client, url, timeout=3) == 1
        with pytest.raises(HTTPException) as raised:
            await fetch_json(client, url, timeout=None)
    assert raised.value.status_code == 504


async def test_json_may_begin_with_a_byte_order_mark() -> None:
    """https://www.rfc-editor.org/rfc/rfc8259#section-8.1"""
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    async with answer_with(head, codecs.BOM_UTF8 + b"[1]") as url, open_client() as client:
        assert await fetch_json(client, url) == [1]


async def test_any_client_asks_for_what_is_read() -> None:
    """The encodings that httpx asks for are not; an owner's own choice is passed on."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse(Request(scope).headers["accept-encoding"])(scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(answer)) as client:
        assert await fetch_json(client, "http://test/") == "gzip"
        own = {"Accept-Encoding": "identity"}
        assert await fetch_json(client, "http://test/", headers=own) == "identity"


async def test_wrong_url_is_502() -> None:
    async with open_client() as client:
        with pytest.raises(HTTPException) as raised:
            await call_upstream(client, "GET", "http://[::1")
    assert raised.value.status_code == 502


async def test_example_answers_without_a_network() -> None:
    async with open_client() as client:
        assert await fetch_json(client, "http://example/a") == {"source": "a"}


async def test_request_id_is_sent_on() -> None:
    received = b""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        received = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
        writer.close()

    token = request_id.set("abc-1")
    async with (
        await asyncio.start_server(answer, "127.0.0.1", 0) as server,
        open_client() as client,
    ):
        await fetch_json(client, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    request_id.reset(token)
    assert b"\r\nX-Request-ID: abc-1\r\n" in received


async def test_call_is_sent_anew_where_its_connection_fails() -> None:
    """Once: a second failure is passed on."""
    calls = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await reader.readuntil(b"\r\n\r\n")
        if calls == 2:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
        writer.close()

    async with (
        await asyncio.start_server(answer, "127.0.0.1", 0) as server,
        open_client() as client,
    ):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        assert await fetch_json(client, url) == 1
        with pytest.raises(HTTPException) as raised:
            await fetch_json(client, url)
    assert raised.value.status_code == 502
    assert calls == 4


async def test_call_is_finished_though_its_caller_is_cancelled() -> None:
    finished = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0.1)
        finished.set()
        raise ValueError

    caller = asyncio.create_task(run_to_completion(work()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.wait_for(finished.wait(), 5)


@asynccontextmanager
async def answer_with(
    *parts: bytes, pause: float = 0, received: list[bytes] | None = None
) -> AsyncIterator[str]:
    """A server that answers each request with the parts, and closes; its URL."""
    heads = [] if received is None else received

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        for part in parts:
            writer.write(part)
            await asyncio.sleep(pause)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"


@pytest.mark.parametrize("name", [b"gzip", b"GZip", b"x-gzip"])
async def test_members_of_gzip_are_one_content(name: bytes) -> None:
    """https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1.3"""
    head = GZIP.replace(b"gzip", name)
    content = gzip.compress(b"[1,") + gzip.compress(b"2]")
    async with answer_with(head, content[:30], content[30:]) as url, open_client() as client:
        assert await fetch_json(client, url) == [1, 2]


@pytest.mark.parametrize(
    "content", [gzip.compress(b"1" * 100)[:-9], b"no gzip", gzip.compress(bytes(11 << 20))]
)
async def test_content_cut_off_or_broken_or_too_large_is_502(content: bytes) -> None:
    async with answer_with(GZIP, content) as url, open_client() as client:
        with pytest.raises(HTTPException) as raised:
            await call_upstream(client, "GET", url)
    assert raised.value.status_code == 502


async def test_upstream_that_drips_has_a_deadline() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
    async with answer_with(head, *[b"1"] * 50, pause=0.1) as url, open_client() as client:
        start = time.monotonic()
        with pytest.raises(HTTPException) as raised:
            await call_upstream(client, "GET", url, seconds=0.5)
    assert raised.value.status_code == 504
    assert time.monotonic() < start + 4


COOKIES = b"HTTP/1.1 207 Some\r\nSet-Cookie: session=1\r\nSet-Cookie: theme=dark\r\n\r\n"


async def test_response_is_as_it_came() -> None:
    async with answer_with(COOKIES) as url, open_client() as client:
        response = await call_upstream(client, "GET", url)
    assert dict(response.cookies) == {"session": "1", "theme": "dark"}
    assert (response.status_code, response.reason_phrase) == (207, "Some")


async def test_cookies_of_an_answer_are_not_sent_back() -> None:
    """They may be of one user's session, and the client is everybody's; a call may send its own"""
    received: list[bytes] = []
    async with answer_with(COOKIES, received=received) as url, open_client() as client:
        await call_upstream(client, "GET", url)
        await call_upstream(client, "GET", url)
        await call_upstream(client, "GET", url, headers={"Cookie": "session=2"})
    sent = [re.findall(b"(?i)cookie: (.*)\r", head) for head in received]
    assert sent == [[], [], [b"session=2"]]


@pytest.mark.parametrize(("method", "calls"), [("POST", 1), ("PATCH", 1), ("PUT", 2)])
async def test_call_is_sent_anew_where_it_is_idempotent(method: str, calls: int) -> None:
    received: list[bytes] = []
    async with answer_with(received=received) as url, open_client() as client:
        with pytest.raises(HTTPException) as raised:
            await call_upstream(client, method, url, json={"amount": 1})
    assert raised.value.status_code == 502
    assert len(received) == calls


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1080"),
        ("https_proxy", "ftp://127.0.0.1"),
        ("SSL_CERT_FILE", "/nowhere.pem"),
        ("SSLKEYLOGFILE", "/nowhere/keys"),
    ],
)
def test_variable_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(RuntimeError, match=f"cannot use {name}: "):
        open_client()
