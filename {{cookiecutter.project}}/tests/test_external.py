import time

import httpx


async def test_external_api_passes_on_the_first_upstream(client: httpx.AsyncClient) -> None:
    response = await client.get("/external-api")
    assert response.status_code == 200
    assert response.json()["source"] == "a"


async def test_multiple_apis_take_the_time_of_the_slowest(client: httpx.AsyncClient) -> None:
    """Three calls of 0.2 s, their answers in the order of the settings."""
    start = time.perf_counter()
    response = await client.get("/multiple-apis")
    assert time.perf_counter() - start < 0.4
    assert response.status_code == 200
    assert [result["source"] for result in response.json()["results"]] == ["a", "b", "c"]
