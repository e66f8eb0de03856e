import threading
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial, wraps
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.routing import Host, Route, Router

from {{ cookiecutter.__package }}.chassis import errors
from {{ cookiecutter.__package }}.chassis.endpoint import Created, endpoint
from {{ cookiecutter.__package }}.chassis.security import Bearer


class Pair(msgspec.Struct):
    first: int
    second: str = "default"


@endpoint()
async def swap(request: Request[Any], left: int, body: Pair, right: int = 2) -> list[int]:
    """Swap"""
    return [right, left, body.first]


@endpoint()
async def create(request: Request[Any]) -> Created[Pair]:
    """Create"""
    return Created(Pair(1), "/pairs/1")


@endpoint()
def name_thread(request: Request[Any]) -> str:
    """Name the thread"""
    return threading.current_thread().name


def pass_on(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Awaitable[Any]:
        return function(*args, **kwargs)

    return call


def in_a_thread(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    @wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await run_in_threadpool(function, *args, **kwargs)

    return call


@endpoint()
@pass_on
async def name_passed_on(request: Request[Any], name: str) -> str:
    """Name, by a coroutine function in a plain wrapper"""
    return name


@endpoint()
@pass_on
@in_a_thread
def name_in_a_thread(request: Request[Any], name: str) -> str:
    """Name, by a plain function in two wrappers"""
    return name


@endpoint()
async def weigh(
    request: Request[Any],
    count: int = 0,
    weight: float = 0,
    price: Decimal = Decimal(0),
    since: datetime | None = None,
    weights: frozenset[float] = frozenset(),
    prices: frozenset[Decimal] = frozenset(),
    pauses: frozenset[timedelta] = frozenset(),
    counts: frozenset[int] = frozenset(),
) -> None:
    """Weigh"""


class Called:
    async def __call__(self, request: Request[Any]) -> str:
        return ""


@endpoint()
async def repeat_tenant(request: Request[Any], tenant: str) -> str:
    """Repeat the tenant"""
    return tenant


@endpoint()
async def repeat(request: Request[Any], word: str = "none") -> str:
    """Repeat a word"""
    return word


tenant_routes = [Route("/tenant", repeat_tenant), Route("/repeat", repeat)]
app = Starlette(
    routes=[
        Host("{tenant}.example.com", Router(tenant_routes)),
        Route("/swap/{left}", swap, methods=["POST"]),
        Route("/create", create),
        Route("/thread", name_thread),
        Route("/weigh", weigh),
        Route("/passed_on", name_passed_on),
        Route("/in_a_thread", name_in_a_thread),
    ],
    exception_handlers=errors.handlers,
)


async def ask(method: str, url: str, **options: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, url, **options)


async def test_parameters_come_from_path_query_and_body() -> None:
    response = await ask("POST", "/swap/1?right=3", json={"first": 4})
    assert (response.status_code, response.json()) == (200, [3, 1, 4])


async def test_parameter_with_a_default_may_be_left_out() -> None:
    assert (await ask("POST", "/swap/1", json={"first": 4})).json() == [2, 1, 4]


async def test_path_parameter_is_not_taken_from_the_query() -> None:
    response = await ask("POST", "/swap/1?left=5", json={"first": 4})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "left"


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("count=1e0", "Expected `int`, in digits alone"),
        ("weight=inf", "Expected `float`, a finite number"),
        ("price=nan", "Expected `Decimal`, a finite number"),
        ("price=sNaN", "Expected `Decimal`, a finite number"),
        ("since=5", "Expected `datetime`, and no number"),
        ("weights=1&weights=nan", "Expected `float`, a finite number"),
        ("prices=sNaN", "Expected `Decimal`, a finite number"),
        ("pauses=PT5S&pauses=5", "Expected `timedelta`, and no number"),
        ("counts=1&counts=1e0", "Expected `int`, in digits alone"),
    ],
)
async def test_what_is_inexact_is_told(query: str, told: str) -> None:
    assert (await ask("GET", f"/weigh?{query}")).json()["errors"][0]["detail"] == told


async def test_set_is_taken() -> None:
    query = "weights=1&weights=1.0&prices=1e400&pauses=PT5S&pauses=PT0.1M&counts=1&counts=1"
    assert (await ask("GET", f"/weigh?{query}")).status_code == 204


async def test_parameter_of_a_host_is_taken_where_it_is_declared() -> None:
    host = {"Host": "ada.example.com"}
    assert (await ask("GET", "/tenant", headers=host)).json() == "ada"
    assert (await ask("GET", "/repeat?word=a", headers=host)).json() == "a"
    assert (await ask("GET", "/repeat?tenant=a", headers=host)).status_code == 422


async def test_created_is_201_with_its_location() -> None:
    response = await ask("GET", "/create")
    assert response.status_code == 201
    assert response.headers["location"] == "/pairs/1"
    assert response.json() == {"first": 1, "second": "default"}


async def test_plain_function_runs_in_a_thread() -> None:
    assert (await ask("GET", "/thread")).json() != threading.main_thread().name


@pytest.mark.parametrize("path", ["/passed_on", "/in_a_thread"])
async def test_wrapper_may_be_plain_around_what_is_async(path: str) -> None:
    assert (await ask("GET", f"{path}?name=Ada")).json() == "Ada"


@pytest.mark.parametrize("function", [Called(), partial(pass_on, name_thread)])
def test_what_is_no_function_is_told(function: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="is no function"):
        endpoint()(function)


@pytest.mark.parametrize(
    ("problems", "security", "told"),
    [
        ([repeat], (), "repeat.* is no status; .* parentheses"),
        (["404"], (), "'404' is no status"),
        ([[404]], (), "is no status"),
        ([], "token", "security takes schemes"),
        ([], [Bearer], "security takes schemes"),
    ],
)
def test_what_a_decorator_cannot_take_is_told(
    problems: list[Any], security: Any, told: str
) -> None:
    with pytest.raises(TypeError, match=told):
        endpoint(*problems, security=security)
