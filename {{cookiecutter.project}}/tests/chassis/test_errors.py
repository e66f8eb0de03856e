import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from {{ cookiecutter.__package }}.chassis import database_errors, errors
from {{ cookiecutter.__package }}.chassis.errors import ErrorResponses

CORS = Middleware(CORSMiddleware, allow_origins=["https://app.example"])


async def refuse(request: Request) -> Response:
    raise HTTPException(503, "Later", {"Retry-After": "1"})


async def answer_status(request: Request) -> Response:
    raise HTTPException(request.path_params["status"], "Told")


class Resource(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return Response()


async def fail() -> None:
    raise ValueError


async def raise_together(request: Request) -> Response:
    async with asyncio.TaskGroup() as group:
        group.create_task(refuse(request))
        if "fault" in request.query_params:
            group.create_task(fail())
    return Response()


@pytest.fixture
def refusing(tmp_path: Path) -> httpx.AsyncClient:
    (tmp_path / "index.html").write_text("page")
    routes = [
        Route("/status/{status:int}", answer_status),
        Route("/refuse", refuse),
        Route("/refuse", refuse, methods=["PUT"]),
        Route("/together", raise_together),
        Route("/resource", Resource),
        Mount("/v1", routes=[Route("/refuse", refuse), Route("/post", refuse, methods=["POST"])]),
        Mount("/files", StaticFiles(directory=tmp_path, html=True)),
    ]
    app = Starlette(routes=routes, exception_handlers=errors.handlers)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def test_problem_has_the_members_of_rfc_9457(refusing: httpx.AsyncClient) -> None:
    response = await refusing.get("/refuse")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert response.json() == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "Later",
    }


async def get_alone(client: httpx.AsyncClient, path: str) -> httpx.Response:
    """In a task of its own: a group that fails leaves it as cancelled, in Python 3.11.2."""
    return await asyncio.create_task(client.get(path))


async def test_errors_of_a_task_group_are_answered_as_one(refusing: httpx.AsyncClient) -> None:
    """Unless one of them is a fault of the service."""
    response = await get_alone(refusing, "/together")
    assert (response.status_code, response.json()["detail"]) == (503, "Later")
    with pytest.raises(ExceptionGroup):
        await get_alone(refusing, "/together?fault")


def answer_conflict(request: Request, error: Exception) -> Response:
    return Response(f"{error}", 409)


async def test_error_of_a_task_group_may_have_a_handler_that_blocks() -> None:
    """It is run in a thread, as Starlette runs it for the error alone."""

    async def fail_in_group(request: Request) -> Response:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
        return Response()

    handlers = errors.handlers | {ValueError: answer_conflict}
    app = Starlette(routes=[Route("/", fail_in_group)], exception_handlers=handlers)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await get_alone(client, "/")).status_code == 409


@pytest.mark.parametrize("key", [500, Exception])
async def test_handler_of_every_error_is_the_owners(
    key: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It answers, and each is logged, those of a task group as one."""

    async def answer_teapot(request: Request, error: Exception) -> Response:
        return Response(f"{request.url.path}: {error!r}", 418)

    async def fail_at_once(request: Request) -> Response:
        raise KeyError("lost")

    app = Starlette(
        routes=[
            Route("/fail", fail_at_once),
            Route("/refuse", refuse),
            Route("/together", raise_together),
        ],
        middleware=[Middleware(ErrorResponses)],
        exception_handlers=errors.handlers | {key: answer_teapot},
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        failed = await client.get("/fail")
        assert (failed.status_code, failed.text) == (418, "/fail: KeyError('lost')")
        assert (await client.get("/refuse")).status_code == 503
        assert (await get_alone(client, "/together?fault")).status_code == 418
    assert len(caplog.records) == 2


async def test_handler_of_every_error_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    """It is called once, and both errors are logged."""
    calls = 0

    async def fail_too(request: Request, error: Exception) -> Response:
        nonlocal calls
        calls += 1
        raise RuntimeError

    async def fail_at_once(request: Request) -> Response:
        raise KeyError("lost")

    app = Starlette(
        routes=[Route("/fail", fail_at_once)],
        middleware=[Middleware(ErrorResponses)],
        exception_handlers=errors.handlers | {Exception: fail_too},
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get("/fail")
    assert (response.status_code, response.json()["status"], calls) == (500, 500, 1)
    assert len(caplog.records) == 2


async def test_error_of_middleware_has_the_handler_of_its_class() -> None:
    """As one of an endpoint has: of a database that is away, and of the owner's errors."""

    class Fail:
        def __init__(self, app: ASGIApp) -> None:
            pass

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/away":
                raise asyncpg.CannotConnectNowError("It starts")
            raise KeyError("mine")

    app = Starlette(
        middleware=[Middleware(ErrorResponses), Middleware(Fail)],
        exception_handlers=errors.handlers
        | database_errors.handlers
        | {LookupError: answer_conflict},
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        away, mine = await client.get("/away"), await client.get("/mine")
    assert (away.status_code, mine.status_code) == (503, 409)
    assert "Retry-After" in away.headers


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/refuse", "GET, HEAD, OPTIONS, PUT"),
        ("/resource", "GET, HEAD, OPTIONS"),
        ("/v1/refuse", "GET, HEAD, OPTIONS"),
        ("/v1/post", "OPTIONS, POST"),
        ("/files/index.html", "GET, HEAD, OPTIONS"),
    ],
)
async def test_methods_of_every_route_of_the_path_are_allowed(
    refusing: httpx.AsyncClient, path: str, allowed: str
) -> None:
    """405 and the answer to OPTIONS name them, below a mount too."""
    refused, asked = await refusing.delete(path), await refusing.options(path)
    assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
    assert (asked.status_code, asked.content) == (204, b"")
    assert asked.headers["allow"] == allowed


@pytest.mark.parametrize("status", [204, 304])
async def test_status_without_a_body_has_none(refusing: httpx.AsyncClient, status: int) -> None:
    response = await refusing.get(f"/status/{status}")
    assert (response.status_code, response.content) == (status, b"")


async def test_status_without_a_name_is_answered(refusing: httpx.AsyncClient) -> None:
    response = await refusing.get("/status/499")
    assert response.status_code == 499
    assert response.json()["detail"] == "Told"


@pytest.mark.parametrize("path", ["/nothing/here", "/v1/nothing", "/files/nothing"])
async def test_unknown_path_is_404(refusing: httpx.AsyncClient, path: str) -> None:
    response = await refusing.get(path)
    assert response.status_code == 404
    assert response.json()["detail"] == f"Nothing is at {path}"


async def raise_secret(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("the password is secret")


async def raise_late(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise RuntimeError("the password is secret")


async def raise_unavailable(scope: Scope, receive: Receive, send: Send) -> None:
    raise HTTPException(503, "Later", {"Retry-After": "1"})


async def leave(scope: Scope, receive: Receive, send: Send) -> None:
    raise ClientDisconnect


async def call(app: Any, around: list[Middleware]) -> list[Any]:
    """The messages that a client gets from the middleware around `app`."""
    sent: list[Any] = []

    async def receive() -> Any: ...

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"origin", b"https://app.example")]
    scope = {"type": "http", "method": "GET", "headers": headers}
    await ErrorResponses(app, around)(scope, receive, send)
    return sent


async def test_unexpected_exception_is_500(caplog: pytest.LogCaptureFixture) -> None:
    """The client learns nothing internal; the log has the traceback."""
    start, body = await call(raise_secret, [])
    assert start["status"] == 500
    assert (b"content-type", b"application/problem+json") in start["headers"]
    assert json.loads(body["body"]).keys() == {"type", "title", "status", "detail"}
    assert b"secret" not in body["body"]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None


async def test_exception_after_the_start_is_passed_on() -> None:
    """A second answer cannot be begun: the server breaks the first one off."""
    with pytest.raises(RuntimeError):
        await call(raise_late, [])


async def test_client_that_is_gone_gets_nothing() -> None:
    assert await call(leave, []) == []


@pytest.mark.parametrize(("app", "status"), [(raise_unavailable, 503), (raise_secret, 500)])
async def test_page_of_another_origin_can_read_the_error(app: Any, status: int) -> None:
    start, _ = await call(app, [CORS])
    headers = dict(start["headers"])
    assert start["status"] == status
    assert headers[b"access-control-allow-origin"] == b"https://app.example"
