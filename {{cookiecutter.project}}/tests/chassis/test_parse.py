from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from {{ cookiecutter.__package }}.chassis import errors
from {{ cookiecutter.__package }}.chassis.endpoint import endpoint
from {{ cookiecutter.__package }}.chassis.parse import (
    Email,
    Integer,
    Name,
    Text,
)

JSON = {"Content-Type": "application/json"}
ADA = b'{"name": "Ada", "email": "ada@example.com"}'


class Person(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    email: Email


@endpoint()
async def create(request: Request[Any], body: Person) -> Person:
    """Create"""
    return body


class Cat(msgspec.Struct, tag_field="kind", tag="cat"):
    lives: int
    name: Name


class Fish(msgspec.Struct, tag_field="kind", tag="fish"):
    tank: int


@endpoint()
async def keep(request: Request[Any], body: list[Cat | Fish | None]) -> None:
    """Keep"""


@endpoint()
async def read(request: Request[Any], item_id: Integer, q: Text | None = None) -> int:
    """Read"""
    return item_id


@pytest.fixture
async def people() -> AsyncIterator[httpx.AsyncClient]:
    routes = [
        Route("/people", create, methods=["POST"]),
        Route("/pets", keep, methods=["POST"]),
        Route("/items/{item_id}", read),
    ]
    app = Starlette(routes=routes, exception_handlers=errors.handlers)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"name": "Ada"',
        b"name=Ada",
        b"NaN",
        b"\xef\xbb\xbf{}",
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b'{"name": "Ada", "deep": ' + b"[" * 100_000,
        b'{"a": ' * 100_000,
    ],
)
async def test_malformed_json_is_400(people: httpx.AsyncClient, body: bytes) -> None:
    response = await people.post("/people", content=body, headers=JSON)
    assert response.status_code == 400


async def test_what_was_expected_is_said_in_words(people: httpx.AsyncClient) -> None:
    response = await people.post("/people", json={"name": "A\0", "email": "ada"})
    details = [each["detail"] for each in response.json()["errors"]]
    assert details == ["Expected text without NUL", "Expected an e-mail address"]
    response = await people.get("/items/1", params={"q": "\0"})
    assert response.json()["errors"][0]["detail"] == "Expected text without NUL"


async def test_each_violation_of_a_tagged_union_is_named(people: httpx.AsyncClient) -> None:
    cat, fish = {"kind": "cat", "lives": "nine", "name": ""}, {"kind": "fish"}
    response = await people.post("/pets", json=[cat, None, fish, {"kind": "dog"}, {}, 1])
    places = [each["field"] for each in response.json()["errors"]]
    assert places == ["[0].lives", "[0].name", "[2].tank", "[3].kind", "[4]", "[5]"]


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"text"'])
async def test_json_that_is_no_object_is_422(people: httpx.AsyncClient, body: bytes) -> None:
    response = await people.post("/people", content=body, headers=JSON)
    assert response.status_code == 422


@pytest.mark.parametrize(
    "media_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"],
)
async def test_other_media_type_is_415(people: httpx.AsyncClient, media_type: str) -> None:
    response = await people.post("/people", content=ADA, headers={"Content-Type": media_type})
    assert response.status_code == 415


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=UTF-8"])
async def test_json_media_type_is_taken(people: httpx.AsyncClient, media_type: str) -> None:
    response = await people.post("/people", content=ADA, headers={"Content-Type": media_type})
    assert response.status_code == 200


@pytest.mark.parametrize("query", ["q=%ff", "q=%ed%a0%80", "q=1&q=2", "q=%00", "unknown=1"])
async def test_query_is_utf_8_and_each_name_known_and_once(
    people: httpx.AsyncClient, query: str
) -> None:
    response = await people.get(f"/items/1?{query}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["location"] == "query"


async def test_number_of_violations_named_is_bounded(people: httpx.AsyncClient) -> None:
    response = await people.post("/people", json={f"unknown{n}": n for n in range(1000)})
    assert response.status_code == 422
    assert len(response.json()["errors"]) == 10
