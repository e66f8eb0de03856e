import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from {{ cookiecutter.__package }}.chassis.errors import ErrorResponses
from {{ cookiecutter.__package }}.chassis.logs import output
from {{ cookiecutter.__package }}.chassis.request_id import RequestId
from {{ cookiecutter.__package }}.chassis.request_log import RequestLog

ReadEvents = Callable[[], Awaitable[list[dict[str, Any]]]]

logger = logging.getLogger(__name__)


@pytest.fixture
def read_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReadEvents]:
    """Reads the requests that have been logged."""

    async def read() -> list[dict[str, Any]]:
        await asyncio.sleep(0)  # They are written when the event loop comes round.
        return [json.loads(line) for line in file.read_text().splitlines()]

    file = tmp_path / "log"
    logger.setLevel(logging.INFO)
    with file.open("wb") as opened:
        monkeypatch.setattr(output, "fd", opened.fileno())
        yield read
    logger.setLevel(logging.NOTSET)


async def answer(request: Request) -> Response:
    return Response()


async def fail(request: Request) -> Response:
    raise RuntimeError


async def get(path: str, **options: Any) -> httpx.Response:
    routes = [
        Route("/items/{item_id:int}", answer),
        Route("/fail", fail),
        Mount("/v1/{tenant}", routes=[Route("/pets/{pet}", answer), Route("/plain", answer)]),
        Mount("/files", StaticFiles(packages=[("jsonschema", ".")])),
    ]
    middleware = [
        Middleware(RequestId),
        Middleware(RequestLog, logger),
        Middleware(ErrorResponses),
    ]
    app = Starlette(routes=routes, middleware=middleware)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path, **options)


async def test_request_is_one_event(read_events: ReadEvents) -> None:
    """With nothing in it that may be private."""
    await get("/items/5?q=private", headers={"X-Request-ID": "abc-1"})
    (event,) = await read_events()
    assert event.keys() == {
        "time", "level", "message", "request_id", "trace_id",
        "method", "route", "status", "milliseconds", "protocol", "client",
    }  # fmt: skip
    assert event["request_id"] == "abc-1"
    assert (event["method"], event["route"], event["status"]) == ("GET", "/items/{item_id}", 200)
    assert "private" not in json.dumps(event)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/private/pets/private", "/v1/{tenant}/pets/{pet}"),
        ("/v1/private/plain", "/v1/{tenant}/plain"),
        ("/files/__init__.py", "/files"),
        ("/files/private", "/files"),
        ("/v1/private/nowhere", None),
        ("/nowhere", None),
    ],
)
async def test_route_is_the_template_of_the_whole_path(
    read_events: ReadEvents, path: str, route: str | None
) -> None:
    await get(path)
    (event,) = await read_events()
    assert event["route"] == route
    assert event["message"].startswith(f"GET {route or '-'} ")


async def test_failed_request_is_logged_with_its_status(read_events: ReadEvents) -> None:
    await get("/fail")
    event = (await read_events())[-1]
    assert (event["route"], event["status"]) == ("/fail", 500)


async def test_nothing_is_logged_above_info(read_events: ReadEvents) -> None:
    logger.setLevel(logging.WARNING)
    await get("/items/5")
    assert await read_events() == []
