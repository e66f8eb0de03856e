"""Every server of docs/deployment.md, by the command that stands there, and what it can do."""

import asyncio
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from baking import TEMPLATE, bake, environment, install, run
from faults.postgres import Postgres, run_postgres
from faults.service import edit
from faults.websocket import Client
from serving import Service, free_port, wait_until_ready
from test_service import ROWS

pytestmark = pytest.mark.slow

# What is installed beside the service, which has the first two.
PACKAGES = {
    "the service's own": [],
    "Hypercorn": [],
    "uvicorn": ["uvicorn==0.54.0"],
    "gunicorn with uvicorn-worker": [
        "gunicorn==27.0.1",
        "uvicorn==0.54.0",
        "uvicorn-worker==0.4.0",
    ],
    "gunicorn": ["gunicorn==27.0.1"],
    "Daphne": ["daphne==4.2.3"],
    "Granian": ["granian==2.8.7"],
}
PAGE = TEMPLATE / "{{cookiecutter.project}}/docs/deployment.md"
ANSWERS = {"yes": True, "no": False}
# They do not tell the application of a WebSocket that they cut.
CUTTING = {"Hypercorn", "gunicorn"}
OUTLIVING = """import asyncio
import os

from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute


async def note(seconds):
    await asyncio.sleep(seconds)
    with open(os.environ["DONE"], "a") as file:
        file.write(f"{seconds} s, ")


async def accept(request):
    seconds = request.path_params["seconds"]
    return Response(status_code=202, background=BackgroundTask(note, seconds))


async def listen(websocket):
    await websocket.accept()
    async for _ in websocket.iter_text():
        pass


routes = [
    Route("/accept/{seconds:int}", accept),
    WebSocketRoute("/listen", listen),
"""


@dataclass
class Documented:
    """A row of the page's table."""

    command: str
    closes_websockets: int
    finishes_requests: bool
    finishes_tasks: bool
    speaks_http2: bool
    speaks_http3: bool
    replaces_workers: bool


def read_page() -> dict[str, Documented]:
    rows = re.findall(r"^\| (.+?) \| `(.+?)` \| (.+) \|$", PAGE.read_text(), re.M)
    return {
        name: Documented(
            command.replace("{{ cookiecutter.__package }}", "my_service"),
            int(code),
            *map(ANSWERS.__getitem__, cells),
        )
        for name, command, text in rows
        for code, *cells in [text.split(" | ")]
    }


DOCUMENTED = read_page()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with run_postgres() as postgres:
        yield postgres


@pytest.fixture(scope="module", params=DOCUMENTED)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, postgres: Postgres
) -> tuple[str, Path]:
    """Its name, and a bake with a WebSocket and an environment of its own that has it."""
    name: str = request.param
    project = bake(tmp_path_factory.mktemp("server"))
    edit(project / "my_service/app.py", "routes = [\n", OUTLIVING)
    install(project, "--no-dev")
    if PACKAGES[name]:
        command = ["uv", "pip", "install", "--quiet", "--python", ".venv", *PACKAGES[name]]
        subprocess.run(command, cwd=project, env=environment(), check=True)
    run(project, "alembic", "upgrade", "head", variables={"DATABASE_URL": postgres.url()})
    return name, project


@contextmanager
def running(server: tuple[str, Path], postgres: Postgres, **settings: str) -> Iterator[Service]:
    """Runs the documented command on a free port until the block ends."""
    name, project = server
    port = free_port()
    program, *arguments = DOCUMENTED[name].command.replace("8000", str(port)).split()
    variables = {
        "DATABASE_URL": postgres.url(),
        "DEMOS": "true",
        "PORT": str(port),
        "WEB_CONCURRENCY": "4",
        "DONE": str(project / "done"),
        **settings,
    }
    log = project / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [project / ".venv/bin" / program, *arguments],
            cwd=project,
            env=environment(**variables),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process, log, "/readyz")
        yield Service(url, port, process, log)
    finally:
        if process.poll() is None:
            process.kill()
        for member in psutil.process_iter():
            if is_in_group(member, process.pid):
                member.kill()
        process.wait(10)


def is_in_group(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group
    except ProcessLookupError:
        return False


def wait_for_workers(service: Service, postgres: Postgres, other: set[int]) -> set[int]:
    """The children that are connected to the database, once four are that are not in `other`; or
    those that are after 20 s."""
    deadline = time.monotonic() + 20
    while True:
        workers: set[int] = set()
        try:
            for child in psutil.Process(service.process.pid).children(recursive=True):
                ports = [c.raddr.port for c in child.net_connections() if c.raddr]
                if postgres.port in ports and child.pid not in other:
                    workers.add(child.pid)
        except psutil.NoSuchProcess:
            pass
        if len(workers) >= 4 or time.monotonic() > deadline or service.process.poll() is not None:
            return workers
        time.sleep(0.2)


Table = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def table() -> Table:
    """What each server answered to each request."""
    return {}


def test_all_are_documented() -> None:
    assert DOCUMENTED.keys() == PACKAGES.keys()


def test_server(server: tuple[str, Path], postgres: Postgres, table: Table) -> None:
    """Each endpoint answers, below a path too that a proxy takes off or passes on; HTTP/2 and the
    end of requests in flight are as the page says.
    """
    name, project = server
    documented = DOCUMENTED[name]
    wrong = []
    notes = project / "done"
    notes.write_text("")
    column = table.setdefault(name, {})
    with (
        running(server, postgres, ROOT_PATH="/shop") as service,
        httpx.Client(base_url=service.url, timeout=30) as client,
    ):
        assert get_status(service, "/accept/5") == 202
        user = {"name": "Ada", "email": f"{service.port}@example.com"}
        created = client.post("/users", json=user)
        location = created.headers.get("location", "/users/0")
        column["POST /users"] = str(created.status_code)
        rows = [row[:4] for row in ROWS]
        rows += [
            ("GET", location, 200, created.json()),
            ("GET", f"{location}/sqlalchemy", 200, {"id": created.json()["id"], **user}),
        ]
        with ThreadPoolExecutor(4) as threads:
            responses = list(threads.map(lambda row: client.request(row[0], row[1]), rows))
        for (method, path, status, body), response in zip(rows, responses, strict=True):
            path = path.replace(location, "/users/{created}")
            column[f"{method} {path}"] = str(response.status_code)
            if response.status_code != status or (body is not None and response.json() != body):
                wrong.append((path, response.status_code, response.text[:200]))
        assert created.status_code == 201
        assert location.startswith("/shop/users/")
        assert client.get("/shop/openapi.json").json()["servers"] == [{"url": "/shop"}]
        assert wrong == []
        assert speaks_http2(service) == documented.speaks_http2
        if name != "Daphne":
            wait_for_workers(service, postgres, set())
        # The client has gone, and its task runs to its end.
        assert wait_for_text(notes) == "5 s, "
        with ThreadPoolExecutor(2) as threads:
            code = threads.submit(asyncio.run, listen(service))
            # Fewer than workers: one that has none ends at once.
            finished = threads.submit(get_status, service, "/sequential")
            time.sleep(1)
            assert get_status(service, "/accept/2") == 202
            service.process.send_signal(signal.SIGTERM)
            service.process.wait(40)
        ends = f"{finished.result()}, {notes.read_text()}{code.result():d}"
        column["in flight at SIGTERM"] = ends
        assert ("WEBSOCKET /listen " in service.log.read_text()) == (name not in CUTTING)
        assert (finished.result() == 200) == documented.finishes_requests
        assert (notes.read_text() == "5 s, 2 s, ") == documented.finishes_tasks
        assert code.result() == documented.closes_websockets


def wait_for_text(file: Path) -> str:
    """What is in the file, once there is something, or after 10 s."""
    deadline = time.monotonic() + 10
    while not (text := file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return text


async def listen(service: Service) -> int:
    """The code that it is closed with."""
    client = Client(service.port)
    assert await client.open("/listen") == 101
    return await client.end(40)  # gunicorn takes 30


def speaks_http2(service: Service) -> bool:
    try:
        with httpx.Client(http1=False, http2=True) as client:
            return client.get(f"{service.url}/").http_version == "HTTP/2"
    except httpx.TransportError:
        return False


def get_status(service: Service, path: str) -> int:
    try:
        return httpx.get(service.url + path, timeout=20).status_code
    except httpx.TransportError:
        return 0


def test_http3_is_an_option(server: tuple[str, Path]) -> None:
    """Of the server itself: test_http3.py asks those that have it"""
    name, project = server
    program = DOCUMENTED[name].command.split()[0]
    own = program == "python"
    offered = own or bool(re.search("quic|http/?3", run(project, program, "--help"), re.I))
    assert offered == DOCUMENTED[name].speaks_http3


def test_worker_dies(server: tuple[str, Path], postgres: Postgres) -> None:
    """Another takes its place where the page says so"""
    name, _ = server
    if name == "Daphne":
        return  # One process, which is all there is.
    with running(server, postgres) as service:
        workers = wait_for_workers(service, postgres, set())
        assert len(workers) == 4
        dead = workers.pop()
        os.kill(dead, signal.SIGKILL)
        after = wait_for_workers(service, postgres, {dead})
        assert (len(after) == 4) == DOCUMENTED[name].replaces_workers
        if DOCUMENTED[name].replaces_workers:
            assert get_status(service, "/readyz") == 200


def test_table(table: Table, record_property: Callable[[str, object], None]) -> None:
    """Told at the end of the run: requests by servers"""
    requests = list(dict.fromkeys(request for column in table.values() for request in column))
    lines = [" | ".join(["request".ljust(45), *table])]
    for request in requests:
        cells = [column.get(request, "").ljust(len(name)) for name, column in table.items()]
        lines.append(" | ".join([request.ljust(45), *cells]))
    record_property("figure", "\n".join(lines))
    answers = [dict(list(column.items())[:-1]) for column in table.values()]
    assert all(answer == answers[0] for answer in answers)
