"""What stands between the application and the function of a route."""

from collections.abc import Iterable, Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.routing import BaseRoute

from .errors import http_error


def find_layers(*routes: BaseRoute) -> Iterator[Any]:
    """The middleware of each, the outermost first, and what it stands around."""
    for route in routes:
        layer = getattr(route, "app", None)
        while layer:
            yield layer
            layer = getattr(layer, "app", None)


def find_problems(layers: Iterable[Any]) -> set[int]:
    """By which middleware answers, that of applications too."""
    problems = set[int]()
    for layer in layers:
        for cls in (type(layer), *(each.cls for each in getattr(layer, "user_middleware", ()))):
            own = {401} if cls is AuthenticationMiddleware else getattr(cls, "problems", ())
            problems.update(own)
    return problems


def is_foreign(layers: Iterable[Any]) -> bool:
    """Whether one is an application whose errors are not those that the document has."""
    apps = [layer for layer in layers if isinstance(layer, Starlette)]
    return any(app.exception_handlers.get(HTTPException) is not http_error for app in apps)
