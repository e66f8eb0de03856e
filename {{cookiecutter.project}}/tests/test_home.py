import httpx
import pytest


async def test_root_greets(client: httpx.AsyncClient) -> None:
    response = await client.get("/")
    assert (response.status_code, response.json()) == (200, {"message": "Hello World"})


@pytest.mark.parametrize(
    ("path", "item"),
    [
        ("/items/5", {"item_id": 5, "q": None}),
        ("/items/5?q=a", {"item_id": 5, "q": "a"}),
        ("/items/-9223372036854775808?q=", {"item_id": -(2**63), "q": ""}),
        ("/items/9223372036854775807?q=%C3%A9+%26", {"item_id": 2**63 - 1, "q": "é &"}),
    ],
)
async def test_item_repeats_its_parameters(
    client: httpx.AsyncClient, path: str, item: dict[str, object]
) -> None:
    response = await client.get(path)
    assert (response.status_code, response.json()) == (200, item)


@pytest.mark.parametrize("item_id", ["x", "5.5", "9223372036854775808", "-9223372036854775809"])
async def test_item_id_is_a_signed_64_bit_integer(client: httpx.AsyncClient, item_id: str) -> None:
    response = await client.get(f"/items/{item_id}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "item_id"
