"""The default bake with endpoints that meet faults, served as a real process."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving import HYPERCORN, Service, serve

RUNNER = ("python", "-m", "my_service")
COMMANDS = {"runner": RUNNER, "hypercorn": HYPERCORN}

ENDPOINTS = """
import asyncio
import os
from contextlib import asynccontextmanager

from sqlalchemy import func, select
from starlette.responses import JSONResponse
from starlette.routing import Route

from .chassis.database import connect, fetch_one, open_session
from .chassis.upstream import fetch_json

kept = []


@asynccontextmanager
async def transaction(database):
    async with connect(database) as connection, connection.transaction():
        yield connection


async def sleep(request):
    await asyncio.sleep(float(request.query_params["seconds"]))
    return JSONResponse(os.getpid())


async def query(request):
    await fetch_one(
        request.state["database"],
        "SELECT pg_sleep($1::float)",
        float(request.query_params["seconds"]),
    )
    return JSONResponse(None)


async def query_orm(request):
    async with open_session(request.state["sessions"]) as session:
        await session.execute(select(func.pg_sleep(float(request.query_params["seconds"]))))
    return JSONResponse(None)


async def transact(request):
    for _ in range(20):
        async with transaction(request.state["database"]) as connection:
            await connection.execute("SELECT pg_sleep(0.001)")
    return JSONResponse(None)


async def fail_commit(request):
    async with transaction(request.state["database"]) as connection:
        await connection.execute("INSERT INTO pairs VALUES (2), (2)")


async def call(request):
    return JSONResponse(await fetch_json(request.state["client"], request.query_params["url"]))


async def leak(request):
    kept.append(bytes(1000))
    return JSONResponse(None)


routes = [
    Route("/sleep", sleep, methods=["GET", "POST"]),
    Route("/query", query),
    Route("/query-orm", query_orm),
    Route("/transact", transact),
    Route("/fail-commit", fail_commit),
    Route("/call", call),
    Route("/leak", leak),
]
"""

# What `databases` itself offers for transactions.
UNPROTECTED_TRANSACTION = {
    "my_service/faults.py": {
        "async with connect(database) as connection, connection.transaction():": (
            "async with database.transaction():\n"
            "        connection = database.connection().raw_connection"
        )
    }
}


def extend(project: Path) -> None:
    """Adds the endpoints to a bake."""
    package = project / "my_service"
    (package / "faults.py").write_text(ENDPOINTS)
    edit(package / "app.py", "routes = [\n", "from . import faults\nroutes = [*faults.routes,\n")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) >= 1, f"{file.name} has no {old!r}"
    file.write_text(text.replace(old, new))


def copy(project: Path, folder: Path, edits: dict[str, dict[str, str]]) -> Path:
    """A copy of a bake in which texts of its files are replaced: a protection switched off."""
    target = folder / "my-service"
    ignore = shutil.ignore_patterns("*.log", ".postgres*", ".venv")
    shutil.copytree(project, target, ignore=ignore)
    (target / ".venv").symlink_to((project / ".venv").resolve())
    for name, changes in edits.items():
        for old, new in changes.items():
            edit(target / name, old, new)
    return target


@contextmanager
def serve_on(
    project: Path, database_url: str, command: tuple[str, ...] = RUNNER, **settings: str
) -> Iterator[Service]:
    """Serves on a database of the tests; the demos too, and little is logged."""
    variables = {
        "DATABASE_URL": database_url,
        "DEMOS": "true",
        "LOG_LEVEL": "warning",
        # The copy's package, and not the one of the environment that it shares.
        "PYTHONPATH": str(project),
    }
    with serve(project, command, **(variables | settings)) as service:
        yield service
