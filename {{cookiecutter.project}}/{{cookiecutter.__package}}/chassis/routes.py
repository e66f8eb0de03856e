"""What a route table has at a path, below mounts and hosts too."""

import re
from collections.abc import Iterable, Iterator
from inspect import isclass
from typing import Any

from starlette.routing import BaseRoute, Host, Match, Mount, Route
from starlette.types import Scope

CONVERTOR = re.compile(r":\w+}")
# Those that OpenAPI 3.1 knows, but for HEAD, which a GET answers.
METHODS = ("get", "post", "put", "patch", "delete", "options", "trace")


def walk_routes(
    routes: Iterable[BaseRoute], prefix: str = "", *above: BaseRoute
) -> Iterator[tuple[str, BaseRoute, tuple[BaseRoute, ...]]]:
    """Each route that is no group of others, with its whole path, and the groups that it is in."""
    for route in routes:
        path = prefix + getattr(route, "path", "")
        if isinstance(route, Mount | Host) and route.routes:
            yield from walk_routes(route.routes, path, *above, route)
        else:
            yield path or "/", route, above


def find_functions(route: Route) -> list[tuple[str, Any]]:
    """What answers each of `METHODS`."""
    cls = route.endpoint
    if isclass(cls):
        return [(name, getattr(cls, name)) for name in METHODS if hasattr(cls, name)]
    return [(name, cls) for name in METHODS if name.upper() in (route.methods or {"GET"})]


def find_root_path(scope: Scope) -> str:
    """That of the service, without what a mount has added to `root_path`."""
    root_path: str = scope.get("app_root_path", scope.get("root_path", ""))
    return root_path


def match_routes(
    routes: Iterable[BaseRoute], scope: Scope, prefix: str = ""
) -> Iterator[tuple[str, BaseRoute]]:
    """Those of `walk_routes` that are at the path of the request, whatever its method.

    A scope that a mount has changed is taken as it was before.
    """
    if not prefix:
        scope = {**scope, "root_path": find_root_path(scope), "path_params": {}}
    for route in routes:
        match, child_scope = route.matches(scope)
        if match is Match.NONE:
            continue
        path = prefix + getattr(route, "path", "")
        if isinstance(route, Mount | Host) and route.routes:
            yield from match_routes(route.routes, {**scope, **child_scope}, path)
        else:
            yield path or "/", route


def find_template(scope: Scope) -> str | None:
    """The path of the route that took a request, as /users/{user_id}; None where none did."""
    if "route" not in scope:
        return None
    route = scope["route"]
    if "app_root_path" in scope:  # It is below a mount, and knows only the rest of its path.
        for path, each in match_routes(scope["router"].routes, scope):
            if each is route:
                return CONVERTOR.sub("}", path)
        return None
    return getattr(route, "path_format", None)
