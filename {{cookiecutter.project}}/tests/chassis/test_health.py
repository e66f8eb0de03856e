from typing import Any

import httpx
from starlette.applications import Starlette

from {{ cookiecutter.__package }}.chassis import (
    database_errors,
    errors,
    health,
)
from {{ cookiecutter.__package }}.chassis.database import Database
from {{ cookiecutter.__package }}.chassis.drain import Drain


async def get(
    path: str, database: Database | None, revision: str, drain: Drain | None = None
) -> httpx.Response:
    """The answer of a service whose code needs the `revision`."""
    routes = health.build_routes(drain or Drain(), revision)
    handlers = errors.handlers | database_errors.handlers
    app = Starlette(routes=routes, exception_handlers=handlers)

    async def app_with_state(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": {"database": database}}, receive, send)

    transport = httpx.ASGITransport(app_with_state)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path)


async def read_revision(database: Database) -> str:
    revision: str = await database.fetch_val("SELECT version_num FROM alembic_version")
    return revision


async def test_livez_answers_without_a_database() -> None:
    assert (await get("/livez", None, "0001")).status_code == 200


async def test_readyz_answers_when_the_schema_is_current(database: Database) -> None:
    assert (await get("/readyz", database, await read_revision(database))).status_code == 200


async def test_readyz_is_503_when_the_schema_is_older(database: Database) -> None:
    response = await get("/readyz", database, "9999")
    assert response.status_code == 503
    assert "alembic upgrade head" in response.json()["detail"]


async def test_readyz_takes_a_newer_schema(database: Database) -> None:
    """While an update is rolled out, the old version must go on serving."""
    assert (await get("/readyz", database, "0000")).status_code == 200


async def test_readyz_is_503_while_the_service_drains(database: Database) -> None:
    drain = Drain(started=True)
    assert (await get("/readyz", database, "0000", drain)).status_code == 503
    assert (await get("/livez", database, "0000", drain)).status_code == 200


async def test_readyz_is_503_without_a_database() -> None:
    async with Database("postgresql://nobody@127.0.0.1:1/none") as database:
        assert (await get("/readyz", database, "0000")).status_code == 503
