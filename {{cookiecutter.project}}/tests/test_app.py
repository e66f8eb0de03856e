import httpx
import pytest
from starlette.routing import Route

from {{ cookiecutter.__package }}.app import routes

PATHS = sorted({route.path for route in routes if isinstance(route, Route)})
OPERATIONS = sorted(
    {route.path for route in routes if isinstance(route, Route) and route.include_in_schema}
)


@pytest.mark.parametrize("path", PATHS)
async def test_unknown_method_is_405_and_options_204(client: httpx.AsyncClient, path: str) -> None:
    """Both say in `Allow` what the path takes."""
    refused = await client.request("DELETE", path)
    asked = await client.options(path)
    assert refused.status_code == 405
    assert asked.status_code == 204
    assert refused.headers["allow"] == asked.headers["allow"]
    assert {"OPTIONS"} < set(asked.headers["allow"].split(", "))
    assert refused.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", OPERATIONS)
async def test_unknown_query_parameter_is_422(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path, params={"unknown": "1"})
    assert response.status_code == 422
    assert {"location": "query", "field": "unknown", "detail": "Is not known"} in (
        response.json()["errors"]
    )


@pytest.mark.parametrize("path", PATHS[1:])
async def test_trailing_slash_is_404_not_a_redirect(client: httpx.AsyncClient, path: str) -> None:
    """A redirect would lead to the host that the client claims."""
    response = await client.get(f"{path}/", headers={"Host": "attacker.example"})
    assert response.status_code == 404


async def test_body_over_1_mib_is_413(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    response = await client.post("/users", content=b" " * (1 << 20) + b"{}", headers=headers)
    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"
