"""A database and an upstream for the tests, and a client that holds each answer to the schema."""

import asyncio
import json
import os
import re
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypercorn.asyncio import serve
from hypercorn.config import Config
from jsonschema import Draft202012Validator
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from {{ cookiecutter.__package }}.chassis import embedded
from {{ cookiecutter.__package }}.chassis.database import Database
from {{ cookiecutter.__package }}.chassis.openapi import build_document
from {{ cookiecutter.__package }}.chassis.routes import (
    CONVERTOR,
    match_routes,
)

PROJECT = Path(__file__).parents[2]
PACKAGE = "{{ cookiecutter.__package }}"
# What libraries read by themselves: proxies, certificates, and PostgreSQL's defaults.
READ_BY_LIBRARIES = re.compile(r"(\w+_PROXY|SSL_CERT_\w+|SSLKEYLOGFILE|OTEL_\w+|PG[A-Z]+)", re.I)

upstream_socket = socket.socket()  # held, as any process may be given a port that is let go
upstream_socket.bind(("127.0.0.1", 0))
UPSTREAM = f"http://127.0.0.1:{upstream_socket.getsockname()[1]}"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Nothing that a developer has set reaches the tests, or the processes that they start."""
    forget_settings()
    os.environ["DATABASE_URL"] = run_database(config)


def pytest_sessionstart() -> None:
    """Migrations import the settings, which are complete by now."""
    try:
        embedded.migrate(PROJECT, os.environ["DATABASE_URL"])
    except RuntimeError as error:
        pytest.exit(str(error), 1)


def forget_settings() -> None:
    known = re.findall(r"^(\w+)=", (PROJECT / ".env.example").read_text(), re.M)
    for name in list(os.environ):
        if name in known or READ_BY_LIBRARIES.fullmatch(name):
            del os.environ[name]
    os.environ["ENV_FILE"] = ""


def run_database(config: pytest.Config) -> str:
    """The URL of a database that the tests may empty, and that is there until they end."""
    stack = ExitStack()
    config.add_cleanup(stack.close)
    url = os.environ.get("TEST_DATABASE_URL")
    if url and not urlsplit(url).path.endswith("_test"):
        pytest.exit("TEST_DATABASE_URL must name a database whose name ends in _test", 2)
    if not url:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        folder.chmod(0o755)  # for the user who runs PostgreSQL for root
        url = stack.enter_context(embedded.run_server(folder / "postgres"))
    return url


def free_port() -> int:
    """A port for a server to come, which gets it where it sets SO_REUSEADDR, as servers do.

    For a minute the system gives it to no one else who asks for any: a connection to it is in
    TIME-WAIT (RFC 9293, 3.3.2).
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address: tuple[str, int] = listener.getsockname()
        with socket.create_connection(address):
            listener.accept()[0].close()
    return address[1]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
async def database_url() -> AsyncIterator[str]:
    """Of a schema of its own, whose tables may have the names of an owner's."""
    url = os.environ["DATABASE_URL"]
    options = "search_path=chassis_tests,public"
    if "ssl" not in url:
        # Where the negotiation of TLS is cancelled, asyncpg leaves an error that nobody retrieves.
        options += "&sslmode=disable"
    async with Database(url, max_size=1) as database:
        await database.execute("DROP SCHEMA IF EXISTS chassis_tests CASCADE")  # of a killed run
        await database.execute("CREATE SCHEMA chassis_tests")
        yield f"{url}{'&' if '?' in url else '?'}{options}"
        await database.execute("DROP SCHEMA chassis_tests CASCADE")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Five connections at most."""
    async with Database(database_url, max_size=5) as database:
        yield database


async def answer_upstream(request: Request) -> Response:
    """After 0.2 s `/text` answers no JSON, a number answers that status, any other name itself."""
    name = request.path_params["name"]
    await asyncio.sleep(0.2)
    if name == "text":
        return PlainTextResponse("no JSON")
    status = int(name) if name.isdecimal() else 200
    return JSONResponse({"source": name, "protocol": request.scope["http_version"]}, status)


@pytest.fixture(scope="session")
async def upstream() -> AsyncIterator[str]:
    """The URL of a server that stands in for upstreams."""
    config = Config.from_mapping(bind=[f"fd://{upstream_socket.detach()}"], errorlog=None)
    app: Any = Starlette(routes=[Route("/{name}", answer_upstream)])
    stop = asyncio.Event()
    server = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    yield UPSTREAM
    stop.set()
    await server


@pytest.fixture(scope="session")
async def opened(app: Starlette, upstream: str) -> AsyncIterator[dict[str, Any]]:
    """What the lifespan of the application opens."""
    async with app.router.lifespan_context(app) as state:
        yield dict(state or {})


@pytest.fixture
async def state(opened: dict[str, Any]) -> dict[str, Any]:
    """`opened`, over empty tables."""
    await empty_tables(opened["database"])
    return opened


@pytest.fixture(scope="session")
def document(app: Starlette) -> dict[str, Any]:
    """The OpenAPI document of the application."""
    return build_document(app, PACKAGE)


def find_operation(
    app: Starlette, document: dict[str, Any], request: httpx.Request
) -> dict[str, Any] | None:
    """What describes the route that takes a request; None where that one is not described."""
    path, headers = request.url.path, request.headers.raw
    scope = {"type": "http", "method": request.method, "path": path, "headers": headers}
    for template, route in match_routes(app.routes, scope):
        if request.method in (getattr(route, "methods", None) or {request.method}):
            described = isinstance(route, Route) and route.include_in_schema
            methods = document["paths"].get(CONVERTOR.sub("}", template), {}) if described else {}
            operation: dict[str, Any] | None = methods.get(request.method.lower())
            return operation
    return None


def check_response(app: Starlette, document: dict[str, Any], response: httpx.Response) -> None:
    """Raises where a described operation answers a status or a body that it does not describe."""
    if operation := find_operation(app, document, response.request):
        status = str(response.status_code)
        if status not in operation["responses"] and "default" in operation["responses"]:
            return
        where = f"{response.request.method} {response.request.url.path} answers"
        needs = "which its @endpoint must name, or `problems` of the middleware that answers"
        assert status in operation["responses"], f"{where} {status}, {needs}"
        described = operation["responses"][status]
        if "content" not in described:
            assert response.content == b""
            return
        media_type = response.headers["content-type"].partition(";")[0]
        assert media_type in described["content"], f"{where} {status} of another type: {media_type}"
        schema = described["content"][media_type]["schema"]
        if media_type.endswith("json"):
            # The whole document around it, for its references.
            Draft202012Validator(document | schema).validate(json.loads(response.content))


@pytest.fixture
async def client(
    app: Starlette, state: dict[str, Any], document: dict[str, Any]
) -> AsyncIterator[httpx.AsyncClient]:
    """Calls the application in this process, with `state`; checks each answer."""

    async def app_with_state(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": state.copy()}, receive, send)

    async def check(response: httpx.Response) -> None:
        await response.aread()
        check_response(app, document, response)

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app_with_state),
        base_url="http://test",
        event_hooks={"response": [check]},
    ) as client:
        yield client


async def empty_tables(database: Database) -> None:
    names = """SELECT string_agg(format('%I.%I', schemaname, tablename), ', ')
                 FROM pg_tables
                WHERE schemaname !~ '^(pg_|information_schema|chassis_tests)'
                  AND tablename <> 'alembic_version'"""
    if tables := await database.fetch_val(names):
        await database.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
