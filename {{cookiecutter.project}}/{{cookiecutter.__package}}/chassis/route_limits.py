"""Limits of one route, where they are not those of all."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from starlette.applications import Starlette
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from .layers import find_layers
from .routes import match_routes, walk_routes

Overrides = dict[str, Any]

BODY_TIMEOUT = 10.0  # seconds
NAMES = ("max_body_size", "body_timeout", "request_timeout", "stream")


@dataclass
class RouteLimits:
    """In the `middleware` of a `Route`, or of a `Mount` for all below: what it sets holds there.

    `Limits` looks here, before it reads a body; so it does for `max_body_size` of Starlette's own
    routes. With `stream` the handler takes the body as it comes, by `request.stream()`, and must
    keep up with it: over HTTP/2 the other streams of the connection wait meanwhile.
    """

    app: ASGIApp
    max_body_size: int | None = None  # bytes
    body_timeout: float | None = None  # seconds for the whole body
    request_timeout: float | None = None  # seconds from then until the response begins
    stream: bool | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def map_limits(routes: Iterable[BaseRoute]) -> dict[int, Overrides]:
    """What is set for a route, by its `id`; the innermost comes first."""
    found: dict[int, Overrides] = {}
    for _, route, above in walk_routes(routes):
        own: Overrides = {}
        for layer in find_layers(*above, route):
            if isinstance(layer, RouteLimits | RequestBodyLimitMiddleware):
                given = {name: getattr(layer, name, None) for name in NAMES}
                own |= {name: value for name, value in given.items() if value is not None}
        if own:
            found[id(route)] = own
    return found


@lru_cache(maxsize=8)
def map_application(app: Starlette) -> dict[int, Overrides]:
    return map_limits(app.routes)


def find_limits(app: Starlette, scope: Scope) -> Overrides:
    """Those of the route that takes the request, or will take it."""
    if limits := map_application(app):
        for _, route in match_routes(app.routes, scope):
            if scope["method"] in (getattr(route, "methods", None) or [scope["method"]]):
                return limits.get(id(route), {})
    return {}


def find_longest(app: Starlette, request_timeout: float) -> float:
    """Seconds until an answer must begin, with those of the body, on the route that has most."""
    timeouts = {"body_timeout": BODY_TIMEOUT, "request_timeout": request_timeout}
    every: list[Overrides] = [{}, *map_application(app).values()]
    return max(float(sum((timeouts | each)[name] for name in timeouts)) for each in every)
