from typing import Any

import httpx
import pytest

ADA = {"name": "Ada", "email": "ada@example.com"}


async def test_created_user_can_be_read_where_location_says(client: httpx.AsyncClient) -> None:
    created = await client.post("/users", json=ADA)
    assert created.status_code == 201
    assert created.headers["location"] == f"/users/{created.json()['id']}"
    read = await client.get(created.headers["location"])
    assert read.status_code == 200
    assert read.json() == created.json()
    assert {key: read.json()[key] for key in ADA} == ADA
    assert read.json().keys() == {"id", "name", "email", "created_at"}


async def test_query_string_may_give_the_fields(client: httpx.AsyncClient) -> None:
    """As the document has it: POST /users?name=…&email=…"""
    created = await client.post("/users", params=ADA)
    assert created.status_code == 201
    assert {key: created.json()[key] for key in ADA} == ADA


async def test_fields_come_from_one_place(client: httpx.AsyncClient) -> None:
    """A query string beside a body is refused rather than ignored."""
    response = await client.post("/users", params=ADA, json=ADA)
    assert response.status_code == 422
    assert {e["location"] for e in response.json()["errors"]} == {"query"}


async def test_email_is_taken_once(client: httpx.AsyncClient) -> None:
    await client.post("/users", json=ADA)
    response = await client.post("/users", json=ADA | {"name": "Another"})
    assert response.status_code == 409
    assert "ada@example.com" in response.json()["detail"]
    assert len((await client.get("/users")).json()["users"]) == 1


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"name", "email"}),
        (ADA | {"name": ""}, {"name"}),
        (ADA | {"name": "a" * 201, "email": "ada"}, {"name", "email"}),
        (ADA | {"name": "a\0b"}, {"name"}),
        (ADA | {"email": "ada@example.com\n"}, {"email"}),
        (ADA | {"email": f"{'a' * 250}@b.co"}, {"email"}),
        (ADA | {"name": 1, "admin": True}, {"name", "admin"}),
    ],
)
async def test_every_wrong_field_is_named(
    client: httpx.AsyncClient, body: dict[str, Any], fields: set[str]
) -> None:
    response = await client.post("/users", json=body)
    assert response.status_code == 422
    assert {error["field"] for error in response.json()["errors"]} == fields


async def test_users_are_listed_in_the_order_of_ids(client: httpx.AsyncClient) -> None:
    for number in range(12):
        await client.post("/users", json=ADA | {"email": f"{number}@example.com"})
    ten = (await client.get("/users")).json()["users"]
    assert [user["id"] for user in ten] == list(range(1, 11))
    assert len((await client.get("/users?limit=100")).json()["users"]) == 12
    assert len((await client.get("/users?limit=1")).json()["users"]) == 1


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", ""])
async def test_limit_is_from_1_to_100(client: httpx.AsyncClient, limit: str) -> None:
    assert (await client.get("/users", params={"limit": limit})).status_code == 422


@pytest.mark.parametrize("path", ["/users/1", "/users/1/sqlalchemy"])
async def test_missing_user_is_404(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 404
    assert response.json()["detail"] == "There is no user 1"


@pytest.mark.parametrize("user_id", ["0", "-1", "x", "9223372036854775808"])
@pytest.mark.parametrize("path", ["/users/{}", "/users/{}/sqlalchemy"])
async def test_user_id_is_a_positive_bigint(
    client: httpx.AsyncClient, path: str, user_id: str
) -> None:
    assert (await client.get(path.format(user_id))).status_code == 422


async def test_orm_reads_the_same_table(client: httpx.AsyncClient) -> None:
    created = (await client.post("/users", json=ADA)).json()
    response = await client.get(f"/users/{created['id']}/sqlalchemy")
    assert response.status_code == 200
    assert response.json() == {"id": created["id"], **ADA}
