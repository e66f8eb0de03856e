"""What is set beside a route holds for it, and is told in the schema."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route

from {{ cookiecutter.__package }}.chassis.drain import Drain
from {{ cookiecutter.__package }}.chassis.endpoint import endpoint
from {{ cookiecutter.__package }}.chassis.errors import (
    ErrorResponses,
    handlers,
)
from {{ cookiecutter.__package }}.chassis.limits import Limits
from {{ cookiecutter.__package }}.chassis.openapi import build_document
from {{ cookiecutter.__package }}.chassis.route_limits import (
    RouteLimits,
    find_longest,
)


class Text(msgspec.Struct):
    text: str


@endpoint()
async def repeat(request: Request[Any], body: Text) -> Text:
    """Repeat a text"""
    return body


async def count(request: Request) -> Response:
    """The parts, and the bytes"""
    sizes = [len(part) async for part in request.stream() if part]
    return JSONResponse([len(sizes), sum(sizes)])


async def answer_at_once(request: Request) -> Response:
    return StreamingResponse(iter("12"))


def limit(**limits: Any) -> list[Middleware]:
    return [Middleware(RouteLimits, **limits)]


ROUTES: list[BaseRoute] = [
    Route("/all", count, methods=["POST"]),
    Route("/ten", count, methods=["POST"], middleware=limit(max_body_size=10)),
    Route("/own", count, methods=["POST"], max_body_size=10),
    Route("/stream", count, methods=["POST"], middleware=limit(max_body_size=10, stream=True)),
    Route("/early", answer_at_once, methods=["POST"], middleware=limit(stream=True)),
    Mount(
        "/v1",
        routes=[
            Route("/ten", count, methods=["POST"]),
            Route("/six", count, methods=["POST"], middleware=limit(max_body_size=6)),
            Mount("/application", Starlette(routes=[Route("/ten", count, methods=["POST"])])),
        ],
        middleware=limit(max_body_size=10),
    ),
    Route("/late", count, middleware=limit(request_timeout=30)),
    Route("/repeat", repeat, methods=["POST"], middleware=limit(body_timeout=20, stream=True)),
]


def build_app() -> Starlette:
    middleware = [
        Middleware(ErrorResponses),
        Middleware(Limits, Drain(), set[str](), 15, 30, 64, max_body_size=5),
    ]
    return Starlette(False, ROUTES, middleware, handlers)


async def post(path: str, *parts: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
    sent = 0

    async def produce() -> AsyncIterator[bytes]:
        nonlocal sent
        for part in parts:
            yield part
            sent += 1

    transport = httpx.ASGITransport(build_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.post(path, content=produce(), headers=headers)
    assert sent == len(parts)
    return response


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/all", 5),
        ("/ten", 10),
        ("/own", 10),
        ("/stream", 10),
        ("/v1/ten", 10),
        ("/v1/six", 6),
        ("/v1/application/ten", 10),
        ("/nowhere", 5),
    ],
)
async def test_greatest_body(path: str, most: int) -> None:
    fitting = await post(path, b"abc", bytes(most - 3))
    assert fitting.status_code == (404 if path == "/nowhere" else 200)
    large = await post(path, b"abc", bytes(most - 2), b"abc")
    assert large.status_code == 413
    assert large.headers["content-type"] == "application/problem+json"
    assert large.json()["detail"] == f"The body is over {most} bytes"


async def test_declared_length_is_enough() -> None:
    response = await post("/stream", b"abc", headers={"Content-Length": "11"})
    assert response.status_code == 413


async def test_stream_comes_in_parts() -> None:
    assert (await post("/all", b"a", b"b", b"c")).json() == [1, 3]
    assert (await post("/stream", b"a", b"b", b"c")).json() == [3, 3]


async def test_what_is_unread_is_dropped_before_the_answer() -> None:
    """Though a streaming response reads it too, to hear of a disconnect."""
    assert (await post("/early", b"a", b"b", b"c")).text == "12"


async def test_endpoint_reads_a_stream() -> None:
    json = {"Content-Type": "application/json"}
    assert (await post("/repeat", b'{"te', b'xt"', b":", b'""}', headers=json)).status_code == 413
    assert (await post("/repeat", b"{", b"}", headers=json)).status_code == 422


def test_schema_tells_them() -> None:
    document = build_document(build_app(), "{{ cookiecutter.__package }}")
    told = document["paths"]["/repeat"]["post"]["description"]
    assert told == "Limits of its own: body_timeout 20, stream True."


def test_longest_times_are_those_of_one_route() -> None:
    assert find_longest(build_app(), 15) == 40
    assert find_longest(Starlette(), 15) == 25
