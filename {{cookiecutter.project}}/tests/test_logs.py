import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from {{ cookiecutter.__package }} import logs

ReadEvents = Callable[[], Awaitable[list[dict[str, Any]]]]


@pytest.fixture
def read_events(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> ReadEvents:
    """Reads what has been logged."""

    async def read() -> list[dict[str, Any]]:
        await asyncio.sleep(0)  # Requests are written when the event loop comes round.
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    monkeypatch.setattr(logs, "AS_JSON", True)
    logs.configure()
    return read


async def fail(request: Request) -> Response:
    raise RuntimeError("the password is secret")


def open_failing() -> httpx.AsyncClient:
    routes = [Route("/fail/{n}", fail)]
    app = Starlette(routes=routes, middleware=[Middleware(logs.RequestLog)])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def test_request_is_one_event(client: httpx.AsyncClient, read_events: ReadEvents) -> None:
    await client.get("/items/5?q=private", headers={"X-Request-ID": "abc-1"})
    (event,) = await read_events()
    assert event.keys() == {
        "time", "level", "message", "request_id", "trace_id",
        "method", "route", "status", "milliseconds", "protocol", "client",
    }  # fmt: skip
    assert event["request_id"] == "abc-1"
    assert (event["method"], event["route"], event["status"]) == ("GET", "/items/{item_id}", 200)
    assert "private" not in json.dumps(event)


async def test_terminal_shows_text(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "AS_JSON", False)
    await client.get("/items/5?q=private")
    await asyncio.sleep(0)
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d INFO GET /items/{item_id} 200 in \d+\.\d ms\n", capsys.readouterr().err
    )


async def test_unexpected_exception_is_answered_and_logged(read_events: ReadEvents) -> None:
    """The client learns nothing internal; the log has the traceback, with the request's id."""
    async with open_failing() as client:
        response = await client.get("/fail/1")
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json().keys() == {"type", "title", "status", "detail"}
    assert "secret" not in response.text
    failure, request = await read_events()
    assert failure["level"] == "error"
    assert "RuntimeError: the password is secret" in failure["traceback"]
    assert failure["request_id"] == request["request_id"] == response.headers["x-request-id"]
    assert request["status"] == 500


async def test_what_asyncio_logs_is_an_event(read_events: ReadEvents) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": "an error is lost"})
    (event,) = await read_events()
    assert (event["level"], event["message"]) == ("error", "an error is lost")


async def test_sane_request_id_is_taken_over(client: httpx.AsyncClient) -> None:
    response = await client.get("/", headers={"X-Request-ID": "abc-1.2_3"})
    assert response.headers["x-request-id"] == "abc-1.2_3"


async def test_request_id_is_made(client: httpx.AsyncClient, read_events: ReadEvents) -> None:
    """Only an error tells it: whoever asks about the answer can name it."""
    good, bad = await client.get("/"), await client.get("/nowhere")
    made = [event["request_id"] for event in await read_events()]
    assert [len(id_) for id_ in made] == [32, 32]
    assert "x-request-id" not in good.headers
    assert bad.headers["x-request-id"] == made[1] != made[0]


@pytest.mark.parametrize("given", ["a" * 65, "a b", 'a"b', "é"])
async def test_other_request_id_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    response = await client.get("/", headers=[(b"X-Request-ID", given.encode())])
    assert len(response.headers["x-request-id"]) == 32
