"""From a typed function to a Starlette endpoint: authenticate, parse, call, encode.

The signature is the contract, and `openapi.py` reads the same one. A parameter that the path of the
route names comes from the path, `body` is the JSON body, what `markers.py` marks comes from where
it says, any other comes from the query string. The annotation of the result is that of the answer.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial, wraps
from inspect import iscoroutinefunction, unwrap
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from .answers import Accepted, Answer, Created, Tagged, close_after, finish, require_match
from .body import Body, is_json, parse_body
from .errors import Invalid, Violation
from .parse import parse_cookies, parse_headers, parse_parameters, parse_query
from .results import Result
from .security import Scheme, authenticate
from .signature import Operation, read_signature
from .violations import MOST_VIOLATIONS, convert_texts

__all__ = ["Accepted", "Answer", "Created", "Tagged", "endpoint", "require_match"]

Endpoint = Callable[..., Awaitable[Response]]

operations: dict[Any, Operation] = {}


def endpoint(
    *problems: int,
    query_body: bool = False,
    security: Scheme | Sequence[Scheme | None] = (),
) -> Callable[[Callable[..., Any]], Endpoint]:
    """Makes an endpoint of `async def f(request, …) -> Result`, or of a `def`, run in a thread.

    `problems` are the statuses of the errors that the function itself raises. With `query_body` the
    query string may give the fields of the body. One of the schemes of `security` is needed; None
    among them lets everybody in. Raises `TypeError` where the signature cannot work.
    """
    for each in problems:
        if not isinstance(each, int):
            raise TypeError(f"{each!r} is no status; without any @endpoint() has its parentheses")
    schemes = (security,) if isinstance(security, Scheme) else tuple(security)
    if any(not isinstance(each, Scheme | None) for each in schemes):
        raise TypeError('security takes schemes as Bearer("token"), or None')

    def decorate(function: Callable[..., Any]) -> Endpoint:
        if not hasattr(function, "__qualname__"):
            raise TypeError(f"{function!r} is no function")
        try:
            operation = read_signature(function, problems, query_body, schemes)
        except (TypeError, NameError, ValueError) as error:
            where = f"{function.__module__}.{function.__qualname__}"
            raise TypeError(f"{where}: {error}") from None
        model, lists, body = operation.parameters, operation.lists, operation.body
        plain = not (body or operation.headers or operation.cookies)
        no_content = Result(204) in operation.results
        media_type = operation.media_type
        encode = msgspec.json.encode if is_json(media_type) else None
        # A decorator's wrapper is often a `def` that returns what its coroutine function does.
        asynchronous = iscoroutinefunction(unwrap(function, stop=iscoroutinefunction))
        call = function if asynchronous else partial(run_in_threadpool, function)

        @wraps(function)
        async def respond(*given: Any) -> Response:
            request: Request[Any] = given[-1]  # In an `HTTPEndpoint` itself comes first.
            if schemes:
                await authenticate(request, schemes)
            try:
                if plain:
                    query = parse_query(request.scope["query_string"], lists)
                    arguments = parse_parameters(request, model, query)
                else:
                    arguments = await parse_request(request, operation)
                result = await call(*given, **arguments)
                if isinstance(result, Response):
                    response = finish(request, result)
                elif result is None and no_content:
                    response = Response(status_code=204)
                else:
                    content = encode(result) if encode else result
                    response = Response(content, media_type=media_type)
            except BaseException:
                if body:
                    await request.close()  # the files of a form
                raise
            return close_after(request, response) if body and body.is_form else response

        operations[respond] = operation
        return respond

    return decorate


def operation_of(function: Any) -> Operation | None:
    """What `endpoint` read of it: below its decorators, or where it is the method of an object."""
    found = unwrap(function, stop=lambda each: getattr(each, "__func__", each) in operations)
    return operations.get(getattr(found, "__func__", found))


async def parse_request(request: Request[Any], operation: Operation) -> dict[str, Any]:
    """All arguments. Raises `Invalid` with all that is wrong, else as `parse_body` does."""
    body, arguments, violations = operation.body, dict[str, Any](), list[Violation]()
    query = parse_query(request.scope["query_string"], operation.lists)
    parts = [partial(parse_parameters, request, operation.parameters, query)]
    if operation.headers:
        parts.append(partial(parse_headers, request, operation.headers))
    if operation.cookies:
        parts.append(partial(parse_cookies, request, operation.cookies))
    if body and operation.query_body and query and not await request.body():
        known = operation.parameters.__struct_encode_fields__
        fields = {name: query.pop(name) for name in list(query) if name not in known}
        parts.append(partial(parse_fields, fields, body))
        body = None
    for parse in parts:
        try:
            arguments |= parse()
        except Invalid as error:
            violations += error.violations
    if body:
        try:
            arguments[body.name] = await parse_body(request, body)
        except Invalid as error:
            violations += error.violations
        except HTTPException:
            if not violations:
                raise
    if violations:
        raise Invalid(violations[:MOST_VIOLATIONS])
    return arguments


def parse_fields(fields: dict[str, Any], body: Body) -> dict[str, Any]:
    return {body.name: convert_texts(fields, body.type, "query")}
