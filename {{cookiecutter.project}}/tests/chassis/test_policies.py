"""Rules that hold for every route, whoever wrote it."""

import re
from inspect import isclass
from typing import Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.routing import BaseRoute, Route

from {{ cookiecutter.__package }}.chassis.endpoint import operation_of
from {{ cookiecutter.__package }}.chassis.layers import (
    find_layers,
    find_problems,
    is_foreign,
)
from {{ cookiecutter.__package }}.chassis.limits import MAX_BODY_SIZE
from {{ cookiecutter.__package }}.chassis.openapi import find_operations
from {{ cookiecutter.__package }}.chassis.route_limits import find_limits
from {{ cookiecutter.__package }}.chassis.routes import (
    CONVERTOR,
    METHODS,
    match_routes,
    walk_routes,
)
from {{ cookiecutter.__package }}.chassis.signature import Operation

PARAMETER = re.compile(r"{\w+(?::(\w+))?}")
# A text that each convertor takes; any other takes the first, or is its owner's to test.
EXAMPLES = {"float": "1.5", "uuid": "00000000-0000-0000-0000-000000000000"}


def fill(path: str) -> str:
    """A path that the route takes, with values in the place of its parameters."""
    return PARAMETER.sub(lambda found: EXAMPLES.get(found[1], "1"), path)


def has_methods(route: Route) -> bool:
    """An ASGI application that is a route answers to all, as it will."""
    endpoint = route.endpoint
    return bool(route.methods) or (isclass(endpoint) and issubclass(endpoint, HTTPEndpoint))


def find_paths(app: Starlette) -> dict[str, set[int]]:
    """Of all routes but those of other hosts and applications, which have rules of their own.

    With the statuses by which what is around a route may refuse a request before it.
    """
    found: dict[str, set[int]] = {}
    for path, route, above in walk_routes(app.routes):
        layers = [*find_layers(*above, route)]
        scope = {"type": "http", "method": "GET", "path": fill(path), "headers": []}
        at_path = [other for _, other in match_routes(app.routes, scope)]
        own = not any(isinstance(layer, Starlette) for layer in layers)
        if own and isinstance(route, Route) and has_methods(route) and route in at_path:
            found.setdefault(path, {401, 403}).update(find_problems(layers))
    return found


def find_described(route: BaseRoute) -> set[str]:
    """The methods for which it has an `@endpoint`."""
    if not isinstance(route, Route) or not route.include_in_schema:
        return set()
    methods = [method.upper() for method in METHODS]
    if isclass(route.endpoint):
        functions = {name: getattr(route.endpoint, name.lower(), None) for name in methods}
    else:
        functions = dict.fromkeys((route.methods or set()).intersection(methods), route.endpoint)
    return {name for name, each in functions.items() if operation_of(each)}


def is_open(operation: Operation) -> bool:
    """Whether its query string may have fields that it does not know."""
    config = getattr(operation.body and operation.body.type, "__struct_config__", None)
    return operation.query_body and not (config and config.forbid_unknown_fields)


async def test_unknown_method_is_405_and_options_204(
    app: Starlette, client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    """Both say in `Allow` what the path takes, but where a client is refused before."""
    for path, refusals in find_paths(app).items():
        with subtests.test(path=path):
            refused = await client.request("BREW", fill(path))
            assert refused.headers["content-type"] == "application/problem+json"
            if refused.status_code in refusals:
                continue
            asked = await client.options(fill(path))
            assert refused.status_code == 405
            assert asked.status_code == 204
            assert refused.headers["allow"] == asked.headers["allow"]
            assert {"OPTIONS"} < set(asked.headers["allow"].split(", "))


async def test_answers_have_security_headers(
    app: Starlette, client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    for path in [*find_paths(app), "/nowhere"]:
        with subtests.test(path=path):
            headers = (await client.request("BREW", fill(path))).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"


async def test_unknown_query_parameter_is_422(
    app: Starlette, client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    """But where a client is refused before, or a body in the query may have any field."""
    described = {(path, method): each for path, method, each in find_operations(app.routes)}
    for path, refusals in find_paths(app).items():
        for method in METHODS:
            operation = described.get((CONVERTOR.sub("}", path), method))
            if not operation or is_open(operation):
                continue
            with subtests.test(path=path, method=method):
                response = await client.request(method, fill(path), params={"unknown": "1"})
                if response.status_code not in refusals:
                    assert response.status_code == 422
                    violation = {"location": "query", "field": "unknown", "detail": "Is not known"}
                    assert violation in response.json()["errors"]


async def test_no_path_redirects_to_the_host_that_the_client_claims(
    app: Starlette, client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    """As a slash too many or too few would, if Starlette's redirects were on."""
    for path in find_paths(app):
        for other in (f"{fill(path)}/", fill(path).rstrip("/")):
            with subtests.test(path=other):
                response = await client.request("BREW", other, headers={"Host": "attacker.example"})
                assert "attacker.example" not in response.headers.get("location", "")


async def test_body_over_the_limit_is_413(
    app: Starlette, client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    """Over that of the route, where it has one; of one that is greater, little is sent."""
    for path in find_paths(app):
        with subtests.test(path=path):
            scope = {"type": "http", "method": "POST", "path": fill(path), "headers": []}
            limit = find_limits(app, scope).get("max_body_size", MAX_BODY_SIZE)
            headers = {"Content-Type": "application/json", "Content-Length": str(limit + 1)}
            body = b" " * (min(limit, MAX_BODY_SIZE) + 1)
            response = await client.post(fill(path), content=body, headers=headers)
            assert response.status_code == 413
            assert response.headers["content-type"] == "application/problem+json"


def test_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_document_has_every_endpoint(app: Starlette, document: dict[str, Any]) -> None:
    """Left out are functions that are no `@endpoint`, and applications with errors of their own."""
    documented = {
        (path, method.upper()) for path in document["paths"] for method in document["paths"][path]
    }
    described = {
        (CONVERTOR.sub("}", path), method)
        for path, route, above in walk_routes(app.routes)
        if not is_foreign(find_layers(*above))
        for method in find_described(route)
    }
    assert documented == described
