"""The shared HTTP client, and the one function that calls upstreams with it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from .request_id import request_id

T = TypeVar("T")

calls: set[asyncio.Task[Any]] = set()  # An event loop itself holds no task.


async def run_to_completion(call: Coroutine[Any, Any, T]) -> T:
    """The result of a call that goes on, and is dropped at its end, where the caller is cancelled.

    httpx loses connections of its pool where calls are cancelled: encode/httpcore#830.
    """

    def forget(task: asyncio.Task[T]) -> None:
        calls.discard(task)
        if not task.cancelled():
            task.exception()  # Else asyncio logs one that nobody waits for any more.

    task = asyncio.create_task(call)
    calls.add(task)
    task.add_done_callback(forget)
    await asyncio.wait([task])
    return task.result()


async def answer(request: Request) -> JSONResponse:
    return JSONResponse({"source": request.path_params["name"]})


# Answers for http://example, so that the service works before UPSTREAM_URLS is set.
example = Starlette(routes=[Route("/{name}", answer)])


async def send_request_id(request: httpx.Request) -> None:
    if id_ := request_id.get():
        request.headers["X-Request-ID"] = id_


def open_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        http2=True,
        timeout=httpx.Timeout(5.0, connect=2.0, pool=2.0),
        limits=httpx.Limits(max_connections=100, max_keepalive_connections=20),
        mounts={"http://example": httpx.ASGITransport(example)},
        event_hooks={"request": [send_request_id]},
    )


async def get(client: httpx.AsyncClient, url: str) -> httpx.Response:
    """The response to a GET, which is sent anew where its connection fails, once."""
    try:
        return await client.get(url)
    except (httpx.NetworkError, httpx.RemoteProtocolError):
        return await client.get(url)


async def fetch_json(client: httpx.AsyncClient, url: str) -> Any:
    """The JSON that a GET of `url` answers, of any shape.

    Raises `HTTPException`: 502 where the upstream fails or answers no JSON, 503 where the pool has
    no connection to spare, 504 where the upstream is too slow.
    """
    try:
        response = await run_to_completion(get(client, url))
        return msgspec.json.decode(response.raise_for_status().content)
    except httpx.PoolTimeout:
        raise HTTPException(503, "Too many upstream calls", {"Retry-After": "1"}) from None
    except httpx.TimeoutException:
        raise HTTPException(504, "The upstream did not answer in time") from None
    except httpx.HTTPError as error:
        raise HTTPException(502, f"The upstream failed: {type(error).__name__}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise HTTPException(502, "The upstream answered no JSON") from None
