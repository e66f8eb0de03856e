"""The default bake with endpoints that meet faults, served as a real process."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from serving import HYPERCORN, Service, serve

RUNNER = ("python", "-m", "my_service")
protocols = pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
workers = pytest.mark.parametrize("workers", ["1", "2"])
COMMANDS = {"runner": RUNNER, "hypercorn": HYPERCORN}

ENDPOINTS = """
import asyncio
import logging
import os
import time
import warnings

from sqlalchemy import func, select
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute

from .chassis.route_limits import RouteLimits
from .chassis.upstream import fetch_json

kept = []


async def note(seconds, name):
    await asyncio.sleep(seconds)
    with open(os.environ["DONE"], "a") as file:
        file.write(f"{name}\\n")


async def sleep(request):
    await asyncio.sleep(float(request.query_params["seconds"]))
    return JSONResponse(os.getpid())


async def query(request):
    seconds = float(request.query_params["seconds"])
    await request.state["database"].fetch_one("SELECT pg_sleep(:seconds)", {"seconds": seconds})
    return JSONResponse(None)


async def query_orm(request):
    async with request.state["sessions"]() as session:
        await session.execute(select(func.pg_sleep(float(request.query_params["seconds"]))))
    return JSONResponse(None)


async def transact(request):
    database = request.state["database"]
    for _ in range(20):
        async with database.transaction():
            await database.execute("SELECT pg_sleep(0.001)")
    return JSONResponse(None)


async def nest(request):
    database = request.state["database"]
    for _ in range(10):
        async with database.transaction(), database.transaction():
            await database.execute("SELECT pg_sleep(0.001)")
    return JSONResponse(None)


async def iterate(request):
    rows = request.state["database"].iterate("SELECT pg_sleep(0.002) FROM generate_series(1, 100)")
    return JSONResponse(len([row async for row in rows]))


async def fail_commit(request):
    database = request.state["database"]
    try:
        async with database.transaction():
            await database.execute("INSERT INTO pairs VALUES (2), (2)")
    finally:
        await database.fetch_one("SELECT 1")  # The task goes on.


async def call(request):
    return JSONResponse(await fetch_json(request.state["client"], request.query_params["url"]))


async def leak(request):
    kept.append(bytes(1000))
    return JSONResponse(None)


def note_in_thread(seconds, name):
    time.sleep(seconds)
    with open(os.environ["DONE"], "a") as file:
        file.write(f"{name}\\n")


async def note_in_transaction(database, seconds, name):
    async with database.transaction():
        await database.fetch_one("SELECT pg_sleep(:seconds)", {"seconds": seconds})
    await note(0, name)


async def tell(request):
    "Logs a number as a field, as another library does, and as Python itself warns."
    number = int(request.query_params["number"])
    logging.getLogger(__name__).info("Ordered", extra={"order_id": number})
    logging.getLogger("shop.library").warning("Late: %d", number)
    warnings.warn(f"Old: {number}", stacklevel=1)
    return JSONResponse(None)


async def fail(seconds, name):
    await asyncio.sleep(seconds)
    raise RuntimeError(name)


async def accept(request):
    "Work that is done after the answer, of the kind that is asked for."
    query = request.query_params
    arguments = float(query["seconds"]), query["name"]
    tasks = {
        "async": BackgroundTask(note, *arguments),
        "thread": BackgroundTask(note_in_thread, *arguments),
        "transaction": BackgroundTask(
            note_in_transaction, request.state["database"], *arguments
        ),
        "failing": BackgroundTask(fail, *arguments),
        "several": BackgroundTasks(
            [BackgroundTask(note, float(query["seconds"]) / 3, query["name"]) for _ in range(3)]
        ),
    }
    return JSONResponse(None, 202, background=tasks[query["kind"]])


async def produce(seconds, name, end):
    try:
        while time.monotonic() < end:
            yield b"data: 1\\n\\n"
            await asyncio.sleep(seconds)
    finally:
        note_in_thread(0, name)


def produce_in_thread(seconds, name, end):
    try:
        while time.monotonic() < end:
            yield b"data: 1\\n\\n"
            time.sleep(seconds)
    finally:
        note_in_thread(0, name)


async def stream(request):
    "An event each so many seconds, for so long."
    query = request.query_params
    make = produce_in_thread if "thread" in query else produce
    end = time.monotonic() + float(query.get("for", 1000))
    events = make(float(query["seconds"]), query["name"], end)
    return StreamingResponse(events, media_type=query.get("type", "text/event-stream"))


async def flood(request):
    "Never waits for anything."
    async def produce():
        while True:
            yield bytes(65536)

    return StreamingResponse(produce())


async def download(request):
    "With a background task, where it has a name."
    if "name" not in request.query_params:
        return FileResponse(os.environ["FILE"])
    task = BackgroundTask(note, 0, request.query_params["name"])
    if "whole" in request.query_params:
        return Response(bytes(50_000_000), background=task)
    return FileResponse(os.environ["FILE"], background=task)


async def talk(websocket):
    "Answers what it is sent, and writes its name when it ends."
    await websocket.accept()
    try:
        while (text := await websocket.receive_text()) != "fail":
            await asyncio.sleep(float(websocket.query_params.get("seconds", 0)))
            await websocket.send_text(text)
        raise RuntimeError(text)
    finally:
        note_in_thread(0, websocket.path_params["name"])


async def push(websocket):
    "Never listens."
    await websocket.accept()
    try:
        while True:
            await websocket.send_text("x" * int(websocket.query_params.get("size", 1)))
            await asyncio.sleep(float(websocket.query_params.get("seconds", 0.2)))
    finally:
        note_in_thread(0, websocket.path_params["name"])


async def linger(websocket):
    "Works on after the end, whoever closes."
    await websocket.accept()
    if "close" in websocket.query_params:
        await websocket.close()
    else:
        async for _ in websocket.iter_text():
            pass
    await note(float(websocket.query_params["seconds"]), websocket.path_params["name"])


async def fail_to_open(websocket):
    kind = websocket.path_params["kind"]
    if kind == "late":
        await websocket.accept()
    if kind != "return":
        raise HTTPException(403) if kind == "late" else RuntimeError


async def read(request):
    return JSONResponse(len(await request.body()))


async def read_stream(request):
    "Over 0.1 s for the first part."
    size = 0
    async for part in request.stream():
        if not size:
            await asyncio.sleep(0.1)
        size += len(part)
    return JSONResponse(size)


async def answer_early(request):
    if "fail" in request.query_params:
        raise RuntimeError
    return StreamingResponse(iter("12"), int(request.query_params["status"]))


def limit(**limits):
    return [Middleware(RouteLimits, **limits)]


POST = ["POST"]
SECONDS = float(os.environ.get("BODY_SECONDS", 10))  # A drain lasts as long.
STREAM = limit(max_body_size=64 << 20, body_timeout=SECONDS, stream=True)

routes = [
    Route("/read", read, methods=POST, middleware=limit(max_body_size=5 << 20)),
    Route("/read-little", read, methods=POST, max_body_size=1000),
    Mount(
        "/below",
        routes=[
            Route("/read", read, methods=POST, middleware=limit(max_body_size=5 << 20)),
            Mount("/all", routes=[Route("/read", read, methods=POST)], middleware=STREAM),
        ],
    ),
    Route("/read-stream", read_stream, methods=POST, middleware=STREAM),
    Route("/answer-early", answer_early, methods=POST, middleware=STREAM),
    Route("/read-soon", read, methods=POST, middleware=limit(body_timeout=1)),
    Route("/read-late", read, methods=POST, middleware=limit(body_timeout=SECONDS)),
    Route("/sleep-little", sleep, middleware=limit(request_timeout=0.5)),
    Route("/sleep-long", sleep, middleware=limit(request_timeout=10)),
    WebSocketRoute("/talk/{name}", talk),
    WebSocketRoute("/push/{name}", push),
    WebSocketRoute("/linger/{name}", linger),
    WebSocketRoute("/fail-to-open/{kind}", fail_to_open),
    Route("/accept", accept),
    Route("/stream", stream),
    Route("/flood", flood),
    Route("/download", download),
    Route("/sleep", sleep, methods=["GET", "POST"]),
    Route("/query", query),
    Route("/query-orm", query_orm),
    Route("/transact", transact),
    Route("/nest", nest),
    Route("/iterate", iterate),
    Route("/fail-commit", fail_commit),
    Route("/call", call),
    Route("/leak", leak),
    Route("/tell", tell),
]
"""

# `databases` as it comes, in the place of the service's own backend.
UNPROTECTED_DATABASE = {
    "my_service/lifespan.py": {
        "from .chassis.database import Database\n": (
            "import databases\nfrom .chassis.database import Database\n"
        ),
        "Database(url, max_size=size, pooler=pooler)": (
            "databases.Database(url, min_size=0, max_size=size)"
        ),
    },
}


def read_names(done: Path) -> list[str]:
    """Of what has ended: the endpoints write them into the file that DONE names."""
    return done.read_text().split()


def read_events(service: Service) -> list[dict[str, Any]]:
    """Of its log. Raises `ValueError` where a line is none."""
    return [json.loads(line) for line in service.log.read_text().splitlines()]


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
