"""What upstreams answer, passed on."""

import asyncio
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from .chassis.endpoint import endpoint
from .chassis.upstream import fetch_json
from .lifespan import State
from .settings import UPSTREAM_URLS


class Results(msgspec.Struct):
    results: list[Any]


@endpoint(502, 503, 504)
async def read_external_api(request: Request[State]) -> Any:
    """Ask one upstream"""
    return await fetch_json(request.state["client"], UPSTREAM_URLS[0])


@endpoint(502, 503, 504)
async def read_multiple_apis(request: Request[State]) -> Results:
    """Ask three upstreams at once"""
    client = request.state["client"]
    return Results(await asyncio.gather(*(fetch_json(client, url) for url in UPSTREAM_URLS[:3])))


routes = [
    Route("/external-api", read_external_api),
    Route("/multiple-apis", read_multiple_apis),
]
