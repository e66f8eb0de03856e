import httpx
import pytest

JSON = {"Content-Type": "application/json"}
ADA = b'{"name": "Ada", "email": "ada@example.com"}'


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
async def test_malformed_json_is_400(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post("/users", content=body, headers=JSON)
    assert response.status_code == 400


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"text"'])
async def test_json_that_is_no_object_is_422(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post("/users", content=body, headers=JSON)
    assert response.status_code == 422


@pytest.mark.parametrize(
    "media_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"],
)
async def test_other_media_type_is_415(client: httpx.AsyncClient, media_type: str) -> None:
    response = await client.post("/users", content=ADA, headers={"Content-Type": media_type})
    assert response.status_code == 415


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=UTF-8"])
async def test_json_media_type_is_taken(client: httpx.AsyncClient, media_type: str) -> None:
    response = await client.post("/users", content=ADA, headers={"Content-Type": media_type})
    assert response.status_code == 201


@pytest.mark.parametrize("query", ["q=%ff", "q=%ed%a0%80", "q=1&q=2", "q=%00", "unknown=1"])
async def test_query_is_utf_8_and_each_name_known_and_once(
    client: httpx.AsyncClient, query: str
) -> None:
    response = await client.get(f"/items/1?{query}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["location"] == "query"


async def test_number_of_violations_named_is_bounded(client: httpx.AsyncClient) -> None:
    response = await client.post("/users", json={f"unknown{n}": n for n in range(1000)})
    assert response.status_code == 422
    assert len(response.json()["errors"]) == 10
