import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from {{ cookiecutter.__package }} import errors


async def refuse(request: Request) -> Response:
    raise HTTPException(503, "Later", {"Retry-After": "1"})


@pytest.fixture
def refusing() -> httpx.AsyncClient:
    routes = [
        Route("/refuse", refuse),
        Route("/refuse", refuse, methods=["PUT"]),
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


async def test_405_allows_the_methods_of_every_route_of_the_path(
    refusing: httpx.AsyncClient,
) -> None:
    response = await refusing.post("/refuse")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, PUT"


async def test_options_answers_what_is_allowed(refusing: httpx.AsyncClient) -> None:
    response = await refusing.options("/refuse")
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, PUT"


async def test_unknown_path_is_404(refusing: httpx.AsyncClient) -> None:
    response = await refusing.get("/nothing/here")
    assert response.status_code == 404
    assert response.json()["detail"] == "Nothing is at /nothing/here"
