"""What the database says becomes an answer, the same whichever way it was asked."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from {{ cookiecutter.__package }}.chassis.database import Database
from {{ cookiecutter.__package }}.chassis.database_errors import (
    describe,
    handlers,
)
from {{ cookiecutter.__package }}.chassis.sessions import open_sessions

SECRET = "s3cr3t"  # noqa: S105
SETUP = """CREATE TABLE things (id int PRIMARY KEY, part int REFERENCES things CHECK (part > 0),
                                name varchar(9) NOT NULL, span int4range,
                                EXCLUDE USING gist (span WITH &&))"""


async def by_sql(request: Request) -> None:
    await request.app.state.database.execute(request.app.state.query)


async def by_transaction(request: Request) -> None:
    database: Database = request.app.state.database
    async with database.transaction(), database.transaction():
        await database.execute(request.app.state.query)


async def by_raw_connection(request: Request) -> None:
    async with request.app.state.database.connection() as connection:
        await connection.raw_connection.execute(request.app.state.query)


async def by_orm(request: Request) -> None:
    async with request.app.state.sessions() as session:
        await session.execute(text(request.app.state.query))


WAYS = [by_sql, by_transaction, by_raw_connection, by_orm]
Ask = Callable[[str], Awaitable[httpx.Response]]


def open_client(
    use: Callable[[Request], Awaitable[None]], database: Database, sessions: Any
) -> tuple[Starlette, httpx.AsyncClient]:
    async def endpoint(request: Request) -> Response:
        await use(request)
        return Response("done")

    app = Starlette(routes=[Route("/", endpoint)], exception_handlers=handlers)
    app.state.database, app.state.sessions = database, sessions
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return app, httpx.AsyncClient(transport=transport, base_url="http://test")


@pytest.fixture
async def sessions(database_url: str) -> AsyncIterator[async_sessionmaker[Any]]:
    async with open_sessions(database_url, max_size=2) as sessions:
        yield sessions


@pytest.fixture(params=WAYS)
async def ask(
    request: pytest.FixtureRequest, database: Database, sessions: async_sessionmaker[Any]
) -> AsyncIterator[Ask]:
    """Sends a query, in a way of its own."""
    await database.execute(SETUP)
    await database.execute("INSERT INTO things VALUES (1, 1, 'a', '[1,5)')")
    app, client = open_client(request.param, database, sessions)

    async def ask(query: str) -> httpx.Response:
        app.state.query = query
        return await client.get("/")

    async with client:
        yield ask
    await database.execute("DROP TABLE things")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("INSERT INTO things VALUES (1, NULL, 's3cr3t')", 409),
        ("INSERT INTO things VALUES (2, 7, 's3cr3t')", 409),
        ("INSERT INTO things VALUES (2, -1, 's3cr3t')", 409),
        ("INSERT INTO things VALUES (2, NULL, NULL)", 409),
        ("INSERT INTO things VALUES (2, NULL, 's3cr3t', '[2,3)')", 409),
        ("INSERT INTO things VALUES (2, NULL, 's3cr3ts3cr3t')", 422),
        ("INSERT INTO things VALUES (2147483648, NULL, 'x')", 422),
        ("SELECT 's3cr3t'::uuid", 422),
        ("SELECT 's3cr3t'::timestamptz", 422),
        ("SELECT 's3cr3t' ~ '('", 422),
        (r"SELECT 's3cr3ts' LIKE 's3cr3t\'", 422),
        ("SELECT 1 LIMIT -1", 422),
        ("SELECT 1 OFFSET -1", 422),
        ("SELECT now() AT TIME ZONE 's3cr3t'", 422),
        ("SELECT int4range(2, 1)", 422),
        ("SELECT to_tsquery(lower('s3cr3t s3cr3t'))", 422),
        ("SELECT lower('$.s3cr3t[')::jsonpath", 422),
        ("SELECT 's3cr3t' FORM things", 500),
        ("DO $$ BEGIN EXECUTE 's3cr3t'; END $$", 500),
        ("DO $$ BEGIN RAISE SQLSTATE '54000'; END $$", 422),
        ("DO $$ BEGIN RAISE SQLSTATE '23000'; END $$", 409),
        ("DO $$ BEGIN RAISE SQLSTATE '23001'; END $$", 409),
        ("DO $$ BEGIN RAISE SQLSTATE '44000'; END $$", 409),
        ("DO $$ BEGIN RAISE SQLSTATE '25P04'; END $$", 504),
        ("SELECT pg_sleep(3)", 504),
        ("SELECT 1 / 0", 500),
        ("SELECT s3cr3t", 500),
        ("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$", 503),
        ("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$", 503),
        ("DO $$ BEGIN RAISE SQLSTATE '25006'; END $$", 503),
        ("DO $$ BEGIN RAISE SQLSTATE '53100'; END $$", 503),
        ("DO $$ BEGIN RAISE SQLSTATE '57P01'; END $$", 503),
        ("DO $$ BEGIN RAISE SQLSTATE '58030'; END $$", 503),
        ("DO $$ BEGIN RAISE SQLSTATE '42501'; END $$", 503),
        ("SELECT pg_terminate_backend(pg_backend_pid())", 503),
    ],
)
async def test_error_has_its_status(
    ask: Ask, query: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    response = await ask(query)
    assert response.status_code == status
    assert SECRET not in response.text
    assert (response.headers.get("retry-after") == "1") == (status == 503)
    assert SECRET not in caplog.text or status == 500
    assert (await ask("SELECT 1")).status_code == 200


async def test_constraint_is_named_in_the_log_alone(
    ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        response = await ask("INSERT INTO things VALUES (1, NULL, 'x')")
    assert "things_pkey" in caplog.text
    assert "things" not in response.text


async def test_what_a_trigger_says_is_in_the_log_alone(
    ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    raise_ = "RAISE 'The quota is reached' USING ERRCODE = 'check_violation'"
    response = await ask(f"DO $$ BEGIN {raise_}; END $$")
    assert response.status_code == 409
    assert "The quota is reached" in caplog.text
    assert "quota" not in response.text


def test_fault_of_a_certificate_is_told() -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed: Hostname mismatch")
    assert "Hostname mismatch" in describe(error)


@pytest.mark.parametrize("use", WAYS)
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://nobody@127.0.0.1:1/none",
        "postgresql://nobody@nowhere.invalid/none",
        "postgresql://nobody@/none?host=/nowhere",
    ],
)
async def test_server_that_is_away_is_503(
    url: str, use: Callable[[Request], Awaitable[None]]
) -> None:
    async with Database(url) as database, open_sessions(url) as sessions:
        app, client = open_client(use, database, sessions)
        app.state.query = "SELECT 1"
        async with client:
            response = await client.get("/")
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize("use", WAYS)
async def test_full_pool_is_503(
    database_url: str, use: Callable[[Request], Awaitable[None]]
) -> None:
    limits: dict[str, Any] = {"max_size": 1, "acquire_timeout": 1.2}
    async with Database(database_url, **limits) as database:
        async with open_sessions(database_url, **limits) as sessions:
            app, client = open_client(use, database, sessions)
            app.state.query = "SELECT pg_sleep(1.5)"
            async with client:
                responses = await asyncio.gather(*(client.get("/") for _ in range(2)))
    assert sorted(response.status_code for response in responses) == [200, 503]


@pytest.mark.parametrize("error", [TimeoutError, FileNotFoundError, ValueError])
async def test_error_of_something_else_is_500(database: Database, error: type[Exception]) -> None:
    async def use(_: Request) -> None:
        raise error

    _, client = open_client(use, database, None)
    async with client:
        assert (await client.get("/")).status_code == 500
