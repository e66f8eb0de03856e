"""From a typed function to a Starlette endpoint: parse, call, encode.

The signature is the contract, and `openapi.py` reads the same one. A parameter that the path of the
route names comes from the path, `body` is the JSON body, any other comes from the query string. The
annotation of the result is the body of the success response.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from .parse import parse_body, parse_parameters, parse_query, validate

T = TypeVar("T")
Endpoint = Callable[[Request[Any]], Awaitable[Response]]


@dataclass(frozen=True)
class Created(Generic[T]):
    """A result that is answered as 201; `location` is the path of what was made."""

    content: T
    location: str


@dataclass(frozen=True)
class Operation:
    """What a signature says. `parameters` has a field for each path and query parameter."""

    parameters: type[msgspec.Struct]
    body: type[msgspec.Struct] | None
    query_body: bool
    result: Any
    status: int
    problems: tuple[int, ...]


operations: dict[Endpoint, Operation] = {}


def endpoint(*problems: int, query_body: bool = False) -> Callable[[Callable[..., Any]], Endpoint]:
    """Makes an endpoint of `async def f(request, …) -> Result`, or of a `def`, run in a thread.

    `problems` are the statuses of the errors that the function itself raises. With `query_body` the
    query string may give the fields of the body.
    """

    def decorate(function: Callable[..., Any]) -> Endpoint:
        operation = read_signature(function, problems, query_body)
        model = operation.body
        asynchronous = inspect.iscoroutinefunction(function)
        call = function if asynchronous else functools.partial(run_in_threadpool, function)

        @functools.wraps(function)
        async def respond(request: Request[Any]) -> Response:
            query = request.scope["query_string"]
            if model and query_body and query and not await request.body():
                arguments = {"body": validate(parse_query(query), model, "query")}
            else:
                arguments = parse_parameters(request, operation.parameters)
                if model:
                    arguments["body"] = await parse_body(request, model)
            result = await call(request, **arguments)
            headers = {"Location": result.location} if isinstance(result, Created) else None
            content = msgspec.json.encode(result.content if headers else result)
            return Response(content, operation.status, headers, "application/json")

        operations[respond] = operation
        return respond

    return decorate


def read_signature(
    function: Callable[..., Any], problems: tuple[int, ...], query_body: bool
) -> Operation:
    hints = get_type_hints(function, include_extras=True)
    result = hints["return"]
    created = get_origin(result) is Created
    _, *parameters = inspect.signature(function).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return Operation(
        parameters=msgspec.defstruct(
            function.__name__,
            [
                (p.name, hints[p.name], defaults.get(p.name, msgspec.NODEFAULT))
                for p in parameters
                if p.name != "body"
            ],
            forbid_unknown_fields=True,
            kw_only=True,
        ),
        body=hints.get("body"),
        query_body=query_body,
        result=get_args(result)[0] if created else result,
        status=201 if created else 200,
        problems=problems,
    )
