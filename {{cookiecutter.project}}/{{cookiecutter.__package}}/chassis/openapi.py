"""The OpenAPI 3.1 document, from the route table and the signatures of its endpoints.

`python -m` prints that of an application, `package.module:name`, without a server or a database.
"""

import importlib
import json
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import metadata
from typing import Any, NamedTuple

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Host, Route

from .components import describe_types
from .endpoint import operation_of
from .errors import Problem
from .layers import find_layers, find_problems, is_foreign
from .operation import Schema, describe_operation, name_operations, types_of
from .route_limits import map_limits
from .routes import CONVERTOR, find_functions, find_root_path, walk_routes
from .signature import Operation

# Of any endpoint; middleware adds the statuses of its attribute `problems`.
PROBLEMS = frozenset({400, 422, 500})

logger = logging.getLogger(__name__)


class Described(NamedTuple):
    path: str
    method: str
    operation: Operation


def find_operations(routes: Sequence[BaseRoute]) -> Iterator[Described]:
    """Those that the document has; the others, plain routes of Starlette, are logged at debug."""
    limits = map_limits(routes)
    for path, route, above in walk_routes(routes):
        layers = [*find_layers(*above, route)]
        if not isinstance(route, Route) or not route.include_in_schema or is_foreign(layers):
            continue
        path, convertors = CONVERTOR.subn("}", path)
        hosts = [each for each in above if isinstance(each, Host)]
        # What a convertor or a host does not take is found nowhere.
        problems = find_problems(layers) | ({404} if convertors or hosts else set())
        host = frozenset(name for each in hosts for name in each.param_convertors)
        for method, function in find_functions(route):
            operation = operation_of(function)
            if operation:
                every, own = (*operation.problems, *problems), limits.get(id(route), {})
                operation = replace(operation, problems=every, limits=own, host=host)
                yield Described(path, method, operation)
            else:
                logger.debug("%s %s is not in the OpenAPI document", method.upper(), path)


def check(path: str, method: str, operation: Operation) -> None:
    """Raises `TypeError` where a route and its function do not fit."""
    known = operation.parameters.__struct_encode_fields__
    fault = ""
    for name in re.findall(r"{(\w+)}", path):
        if name not in known or name in operation.lists:
            fault = f"`{name}` must be one of its parameters, and no list"
    if operation.body and method == "get":
        fault = "a GET has no body: its route must name the methods"
    if fault:
        function = operation.function
        where = f"{function.__module__}.{function.__qualname__}"
        raise TypeError(f"{where}, at {method.upper()} {path}: {fault}")


def read_operations(routes: Sequence[BaseRoute]) -> list[Described]:
    """Raises `TypeError` as `check` and `describe_types` do."""
    described = list(find_operations(routes))
    for each in described:
        check(*each)
    describe_types(type_ for each in described for type_ in types_of(each.operation))
    return described


def build_document(app: Starlette, distribution: str, root_path: str = "") -> Schema:
    """https://spec.openapis.org/oas/v3.1.1.html

    Its title, version and description are those of the installed `distribution`.
    """
    first: dict[tuple[str, str], Described] = {}  # of those that differ by their host alone
    for each in read_operations(app.routes):
        first.setdefault((each.path, each.method), each)
    described = first.values()
    types = [Problem, *(type_ for each in described for type_ in types_of(each.operation))]
    schemas, components = describe_types(types)
    problems = PROBLEMS | find_problems([app])
    paths: dict[str, Schema] = {}
    schemes: Schema = {}
    for each, name in zip(described, name_operations(described), strict=True):
        description = describe_operation(*each, problems, lambda type_: schemas[types.index(type_)])
        description["operationId"] = name
        paths.setdefault(each.path, {})[each.method] = description
        schemes |= {scheme.name: scheme.describe() for scheme in each.operation.security if scheme}
    project = metadata(distribution)
    title, version, summary = (project[name] for name in ("Name", "Version", "Summary"))
    document = {
        "openapi": "3.1.1",
        "info": {"title": title, "version": version, "description": summary},
        **({"servers": [{"url": root_path}]} if root_path else {}),
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": schemes},
    }
    # Plain data: a default may be a tuple.
    return msgspec.json.decode(msgspec.json.encode(document), type=Schema)


def build_routes(distribution: str) -> list[Route]:
    @lru_cache(maxsize=8)
    def encode_document(app: Starlette, root_path: str) -> bytes:
        return msgspec.json.encode(build_document(app, distribution, root_path))

    async def read_openapi(request: Request[Any]) -> Response:
        content = encode_document(request.app, find_root_path(request.scope))
        return Response(content, media_type="application/json")

    return [Route("/openapi.json", read_openapi, include_in_schema=False)]


if __name__ == "__main__":
    module, _, name = sys.argv[1].partition(":")
    document = build_document(getattr(importlib.import_module(module), name), module.split(".")[0])
    print(json.dumps(document, indent=2))
