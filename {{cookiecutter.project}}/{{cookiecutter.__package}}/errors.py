"""Every error as RFC 9457 problem details, formatted once."""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match


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


class Invalid(Exception):
    """Values of the wrong type or out of range: the answer is 422 and names each."""

    def __init__(self, violations: list[Violation]) -> None:
        self.violations = violations


def title(status: int) -> str:
    """https://www.rfc-editor.org/rfc/rfc9110#section-15, which Python follows from 3.13 on."""
    phrases = {413: "Content Too Large", 422: "Unprocessable Content"}
    return phrases.get(status) or HTTPStatus(status).phrase


def problem(
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    errors: list[Violation] | msgspec.UnsetType = msgspec.UNSET,
) -> Response:
    body = Problem("about:blank", title(status), status, detail, errors)
    return Response(msgspec.json.encode(body), status, headers, "application/problem+json")


async def http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    detail = error.detail
    if error.status_code == 404 and "endpoint" not in request.scope:
        detail = f"Nothing is at {request.url.path[:100]}"
    if error.status_code == 405:
        # A route knows only its own methods; the path may have others.
        headers["Allow"] = ", ".join(sorted(allowed_methods(request)))
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        detail = f"{request.url.path} takes {headers['Allow']}"
    return problem(error.status_code, detail, headers)


def allowed_methods(request: Request) -> set[str]:
    matching = (r for r in request.app.routes if r.matches(request.scope)[0] is not Match.NONE)
    return {"OPTIONS"}.union(*(route.methods for route in matching))


async def invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, Invalid)
    detail = "; ".join(f"{v.location} {v.field}: {v.detail}" for v in error.violations)
    return problem(422, detail, errors=error.violations)


handlers = {HTTPException: http_error, Invalid: invalid}
