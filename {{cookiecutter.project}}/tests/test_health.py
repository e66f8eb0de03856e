from typing import Any

import httpx
import pytest

from {{ cookiecutter.__package }}.database import connect
from {{ cookiecutter.__package }}.tables import REVISION
from {{ cookiecutter.__package }}.traffic import traffic


async def test_livez_answers(client: httpx.AsyncClient) -> None:
    assert (await client.get("/livez")).status_code == 200


async def test_readyz_answers_when_the_schema_is_current(client: httpx.AsyncClient) -> None:
    assert (await client.get("/readyz")).status_code == 200


async def read_readyz_at(
    revision: str, client: httpx.AsyncClient, state: dict[str, Any]
) -> httpx.Response:
    """Its answer while the database's schema is at `revision`."""
    update = "UPDATE alembic_version SET version_num = $1"
    async with connect(state["database"]) as connection:
        await connection.execute(update, revision)
        try:
            return await client.get("/readyz")
        finally:
            await connection.execute(update, REVISION)


async def test_readyz_is_503_when_the_schema_is_older(
    client: httpx.AsyncClient, state: dict[str, Any]
) -> None:
    response = await read_readyz_at("0000", client, state)
    assert response.status_code == 503
    assert "alembic upgrade head" in response.json()["detail"]


async def test_readyz_takes_a_newer_schema(
    client: httpx.AsyncClient, state: dict[str, Any]
) -> None:
    """While an update is rolled out, the old version must go on serving."""
    response = await read_readyz_at("9999", client, state)
    assert response.status_code == 200


async def test_readyz_is_503_while_the_service_drains(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "draining", True)
    assert (await client.get("/readyz")).status_code == 503
    assert (await client.get("/livez")).status_code == 200
