import asyncio

import httpx
import pytest
from starlette.exceptions import HTTPException

from {{ cookiecutter.__package }}.chassis.request_id import request_id
from {{ cookiecutter.__package }}.chassis.upstream import (
    fetch_json,
    open_client,
    run_to_completion,
)


async def test_json_is_passed_on(upstream: str) -> None:
    async with open_client() as client:
        assert await fetch_json(client, f"{upstream}/a") == {"source": "a", "protocol": "1.1"}


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
        client.timeout = httpx.Timeout(0.1)
        with pytest.raises(HTTPException) as raised:
            await fetch_json(client, f"{upstream}/a")
    assert raised.value.status_code == 504


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
