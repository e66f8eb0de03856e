"""A database and an upstream for the tests, and a client that holds each answer to the schema."""

import asyncio
import json
import os
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
from starlette.config import environ
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from {{ cookiecutter.__package }} import embedded


def pytest_configure(config: pytest.Config) -> None:
    """Sets what the tests need before they import the settings, which are read at import."""
    stack = ExitStack()
    config.add_cleanup(stack.close)
    url = os.environ.get("TEST_DATABASE_URL")
    if url and not urlsplit(url).path.endswith("_test"):
        # Its tables are emptied.
        pytest.exit("TEST_DATABASE_URL must name a database whose name ends in _test", 2)
    if not url:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        url = stack.enter_context(embedded.server(folder / "postgres"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        upstream = f"http://127.0.0.1:{listener.getsockname()[1]}"
    environ["DATABASE_URL"] = url
    environ["DEMOS"] = "true"
    environ["UPSTREAM_URLS"] = f"{upstream}/a,{upstream}/b,{upstream}/c"
    embedded.migrate(url)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


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
    """The URL of a server that stands in for the upstreams, at UPSTREAM_URLS."""
    address = urlsplit(environ["UPSTREAM_URLS"].partition(",")[0]).netloc
    config = Config.from_mapping(bind=[address], errorlog=None)
    app: Any = Starlette(routes=[Route("/{name}", answer_upstream)])
    stop = asyncio.Event()
    server = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    yield f"http://{address}"
    stop.set()
    await server


@pytest.fixture(scope="session")
async def state(upstream: str) -> AsyncIterator[dict[str, Any]]:
    """What the lifespan opens."""
    from {{ cookiecutter.__package }}.app import app
    from {{ cookiecutter.__package }}.lifespan import lifespan

    async with lifespan(app) as state:
        yield dict(state)


@pytest.fixture
async def client(state: dict[str, Any]) -> AsyncIterator[httpx.AsyncClient]:
    """Calls the app in this process, over empty tables; checks each answer against the schema."""
    from {{ cookiecutter.__package }}.app import app
    from {{ cookiecutter.__package }}.database import connect
    from {{ cookiecutter.__package }}.openapi import SchemaGenerator
    from {{ cookiecutter.__package }}.tables import metadata

    document = SchemaGenerator().get_schema(app.routes)

    async def app_with_state(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": state.copy()}, receive, send)

    async def check(response: httpx.Response) -> None:
        request = response.request
        scope = {"type": "http", "path": request.url.path, "method": request.method}
        matching = (r for r in app.routes if r.matches(scope)[0] is Match.FULL)
        path = getattr(next(matching, None), "path", None)
        if operation := document["paths"].get(path, {}).get(request.method.lower()):
            await response.aread()
            content = operation["responses"][str(response.status_code)]["content"]
            schema = content[response.headers["content-type"]]["schema"]
            # The whole document around it, for its references.
            Draft202012Validator(document | schema).validate(json.loads(response.content))

    async with connect(state["database"]) as connection:
        await connection.execute(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY")
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app_with_state),
        base_url="http://test",
        event_hooks={"response": [check]},
    ) as client:
        yield client
