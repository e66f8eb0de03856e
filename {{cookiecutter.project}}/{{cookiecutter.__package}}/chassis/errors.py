"""Every error as RFC 9457 problem details, formatted once."""

import logging
from collections.abc import Awaitable, Mapping, Sequence
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .error_groups import find_handler, group_error, try_handler
from .routes import match_routes

logger = logging.getLogger(__name__)


class Violation(msgspec.Struct):
    """One value that cannot be accepted: where it stands, and what is wrong with it."""

    location: str
    field: str
    detail: str


class Problem(msgspec.Struct):
    """https://www.rfc-editor.org/rfc/rfc9457#section-3"""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Violation] | msgspec.UnsetType = msgspec.UNSET


class Invalid(HTTPException):
    """Values of the wrong type or out of range: the answer is 422 and names each."""

    def __init__(self, violations: list[Violation]) -> None:
        super().__init__(
            422, "; ".join(f"{v.location} {v.field}".strip() + f": {v.detail}" for v in violations)
        )
        self.violations = violations


def title(status: int) -> str:
    """https://www.rfc-editor.org/rfc/rfc9110#section-15, which Python follows from 3.13 on."""
    phrases = {413: "Content Too Large", 422: "Unprocessable Content"}
    known = status in HTTPStatus.__members__.values()
    return phrases.get(status) or (HTTPStatus(status).phrase if known else "Error")


def problem(
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    errors: list[Violation] | msgspec.UnsetType = msgspec.UNSET,
) -> Response:
    body = Problem("about:blank", title(status), status, detail, errors)
    return Response(msgspec.json.encode(body), status, headers, "application/problem+json")


def answer(error: HTTPException) -> Response:
    """204 and 304 have no body: https://www.rfc-editor.org/rfc/rfc9110#section-6.4.1"""
    if error.status_code in {204, 304}:
        return Response(status_code=error.status_code, headers=error.headers)
    violations = error.violations if isinstance(error, Invalid) else msgspec.UNSET
    return problem(error.status_code, error.detail, error.headers, violations)


async def http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404 and error.detail == HTTPStatus.NOT_FOUND.phrase:
        error = HTTPException(404, f"Nothing is at {request.url.path[:100]}", error.headers)
    if error.status_code == 405:
        headers = dict(error.headers or {})
        headers["Allow"] = ", ".join(sorted(allowed_methods(request, headers.get("Allow", ""))))
        status = 204 if request.method == "OPTIONS" else 405
        detail = f"{request.url.path[:100]} takes {headers['Allow']}"
        error = HTTPException(status, detail, headers)
    return answer(error)


def allowed_methods(request: Request, known: str) -> set[str]:
    """A route knows only its own methods, `known` or not; the path may have others.

    What tells none is a mounted application that files are served by.
    """
    routes = (route for _, route in match_routes(request.scope["router"].routes, request.scope))
    found = {"OPTIONS", *filter(None, known.split(", "))}
    for route in routes:
        found |= getattr(route, "methods", None) or set()
    return found if len(found) > 1 else {*found, "GET", "HEAD"}


handlers = {HTTPException: http_error, ExceptionGroup: group_error}


FAILED = HTTPException(500, "The service failed; its log says why")


async def respond(request: Request, error: Exception) -> Response:
    """By the application's handler of its class, where that has one, else of 500 or `Exception`."""
    if isinstance(error, HTTPException):
        return answer(error)
    own = request.app.exception_handlers if "app" in request.scope else {}
    known = find_handler(own, error)
    if known and (response := await try_handler(known, request, error)):
        return response
    logger.error("The request failed", exc_info=error)
    handler = own.get(500) or own.get(Exception)
    return (handler and await try_handler(handler, request, error)) or answer(FAILED)


class ErrorResponses:
    """Answers what is raised around the routes, by other middleware, and what nobody expected.

    All answers go through `around`: CORS, without which the page that asked could not read them.
    """

    def __init__(self, app: ASGIApp, around: Sequence[Middleware] = ()) -> None:
        self.app = app
        self.around = around

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        def note_start(message: Message) -> Awaitable[None]:
            nonlocal started
            started = True
            return send(message)

        try:
            await self.app(scope, receive, note_start)
        except ClientDisconnect:
            pass  # Nobody is there to be answered.
        except Exception as error:
            if started:
                logger.exception("The request failed")
                raise
            app: ASGIApp = await respond(Request(scope, receive), error)
            for cls, args, kwargs in reversed(self.around):
                app = cls(app, *args, **kwargs)
            await app(scope, receive, send)
