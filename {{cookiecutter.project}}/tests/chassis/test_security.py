from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    SimpleUser,
    requires,
)
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.routing import Route

from {{ cookiecutter.__package }}.chassis import errors
from {{ cookiecutter.__package }}.chassis.endpoint import endpoint
from {{ cookiecutter.__package }}.chassis.openapi import build_document
from {{ cookiecutter.__package }}.chassis.parse import Id
from {{ cookiecutter.__package }}.chassis.security import (
    ApiKey,
    Basic,
    Bearer,
)


@dataclass
class Caller:
    name: str
    scopes: tuple[str, ...] = ("read",)


async def find_caller(request: Request[Any], credentials: str) -> Caller | None:
    assert credentials
    if credentials == "banned":
        raise HTTPException(403, "This one is banned")
    return Caller(credentials) if credentials in {"ada", "ada:secret"} else None


bearer = Bearer("bearer", find_caller)
middleware_bearer = Bearer("bearer")


@endpoint(security=bearer)
async def read(request: Request[Any], item_id: Id) -> str:
    """Read"""
    return str(request.user.name)


@endpoint(security=bearer.requiring("write"))
async def write(request: Request[Any], body: dict[str, int]) -> None:
    """Write"""


@endpoint(security=[Basic("basic", find_caller), ApiKey("key", find_caller)])
async def read_either(request: Request[Any]) -> str:
    """Read by one of two schemes"""
    return str(request.user.name)


@endpoint(security=ApiKey("session", find_caller, cookie="session"))
async def read_session(request: Request[Any]) -> str:
    """Read by a cookie"""
    return str(request.user.name)


@endpoint(security=[bearer, None])
async def read_perhaps(request: Request[Any]) -> str | None:
    """Read as somebody, or as nobody"""
    return request.user and str(request.user.name)


@endpoint(security=middleware_bearer.requiring("read"))
async def read_by_middleware(request: Request[Any], item_id: Id) -> str:
    """Read as whom the middleware found"""
    return str(request.user.display_name)


@requires("write")
@endpoint(403)
async def write_by_middleware(request: Request[Any], item_id: Id) -> None:
    """Write as whom the middleware found"""


ROUTES = [
    Route("/items/{item_id}", read),
    Route("/items", write, methods=["POST"]),
    Route("/either", read_either),
    Route("/session", read_session),
    Route("/perhaps", read_perhaps),
]


class Backend(AuthenticationBackend):
    async def authenticate(
        self, conn: HTTPConnection[Any]
    ) -> tuple[AuthCredentials, SimpleUser] | None:
        scope = conn.headers.get("authorization", "").removeprefix("Bearer ")
        if scope == "broken":
            raise AuthenticationError("The token is broken")
        return (AuthCredentials([scope]), SimpleUser("ada")) if scope else None


app = Starlette(routes=ROUTES, exception_handlers=errors.handlers)
guarded = Starlette(
    routes=[
        Route("/read/{item_id}", read_by_middleware),
        Route("/write/{item_id}", write_by_middleware),
    ],
    middleware=[Middleware(AuthenticationMiddleware, Backend(), middleware_bearer.on_error)],
    exception_handlers=errors.handlers,
)


async def ask(
    path: str, headers: dict[str, str], method: str = "GET", app: Starlette = app
) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, headers=headers)


@pytest.mark.parametrize("given", ["", "Basic YWRh", "Bearer", "Bearer ", "Token ada"])
async def test_credentials_are_asked_for_before_anything_is_parsed(given: str) -> None:
    response = await ask("/items/x?unknown=1", {"Authorization": given})
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert response.headers["content-type"] == "application/problem+json"


async def test_wrong_credentials_are_401() -> None:
    response = await ask("/items/x", {"Authorization": "Bearer eve"})
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_user_is_that_of_the_request() -> None:
    response = await ask("/items/1", {"Authorization": "bearer ada"})
    assert (response.status_code, response.json()) == (200, "ada")


async def test_request_of_a_known_user_is_parsed() -> None:
    assert (await ask("/items/x", {"Authorization": "Bearer ada"})).status_code == 422


async def test_missing_scope_is_403_before_the_body_is_parsed() -> None:
    response = await ask("/items", {"Authorization": "Bearer ada"}, "POST")
    assert response.status_code == 403
    challenge = 'Bearer error="insufficient_scope", scope="write"'
    assert response.headers["www-authenticate"] == challenge


async def test_owner_may_refuse_a_user() -> None:
    response = await ask("/items/1", {"Authorization": "Bearer banned"})
    assert (response.status_code, response.json()["detail"]) == (403, "This one is banned")


@pytest.mark.parametrize(
    "headers", [{"Authorization": "Basic YWRhOnNlY3JldA=="}, {"X-API-Key": "ada"}]
)
async def test_one_of_the_schemes_is_enough(headers: dict[str, str]) -> None:
    assert (await ask("/either", headers)).status_code == 200


@pytest.mark.parametrize("given", ["", "Basic !", "Basic /w==", "Basic ", "Bearer ada"])
async def test_each_scheme_has_its_challenge(given: str) -> None:
    response = await ask("/either", {"Authorization": given})
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith('Basic realm="basic"')


async def test_empty_key_is_missing() -> None:
    """An owner's lookup may find somebody without a key."""
    assert (await ask("/either", {"X-API-Key": ""})).status_code == 401
    assert (await ask("/session", {"Cookie": "session="})).status_code == 401


async def test_cookie_is_a_scheme() -> None:
    assert (await ask("/session", {"Cookie": "session=ada"})).json() == "ada"
    assert (await ask("/session", {"Cookie": "other=ada"})).status_code == 401


async def test_scheme_may_be_optional() -> None:
    assert (await ask("/perhaps", {})).json() is None
    assert (await ask("/perhaps", {"Authorization": "Bearer ada"})).json() == "ada"
    assert (await ask("/perhaps", {"Authorization": "Bearer eve"})).status_code == 401


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("/read/1", "read", 200),
        ("/read/x", "", 401),
        ("/read/x", "other", 403),
        ("/read/x", "broken", 401),
        ("/nowhere", "broken", 401),
        ("/write/x", "", 403),
        ("/write/1", "write", 204),
    ],
)
async def test_middleware_may_find_the_user(path: str, token: str, status: int) -> None:
    """Starlette's; `requires` stands above `@endpoint`, so that it comes before the parsing."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    response = await ask(path, headers, app=guarded)
    assert response.status_code == status
    if status >= 400:
        assert response.headers["content-type"] == "application/problem+json"
    if status == 401:
        assert response.headers["www-authenticate"] == "Bearer"


def test_document_has_the_schemes() -> None:
    document = build_document(app, "{{ cookiecutter.__package }}")
    assert document["components"]["securitySchemes"] == {
        "bearer": {"type": "http", "scheme": "bearer"},
        "basic": {"type": "http", "scheme": "basic"},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "session": {"type": "apiKey", "in": "cookie", "name": "session"},
    }
    paths = document["paths"]
    assert paths["/items"]["post"]["security"] == [{"bearer": ["write"]}]
    assert paths["/either"]["get"]["security"] == [{"basic": []}, {"key": []}]
    assert paths["/perhaps"]["get"]["security"] == [{"bearer": []}, {}]
    assert paths["/session"]["get"]["responses"].keys() >= {"401", "403"}


def test_document_has_what_the_middleware_refuses() -> None:
    document = build_document(guarded, "{{ cookiecutter.__package }}")
    assert "401" in document["paths"]["/write/{item_id}"]["get"]["responses"]
