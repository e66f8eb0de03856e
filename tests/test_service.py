"""The contract over real sockets, and what survives a stop."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from serving import HYPERCORN, Service, serve

ADA = {"name": "Ada", "email": "ada@example.com"}
SOURCES = {"results": [{"source_id": n, "data": f"Data from {n}"} for n in (1, 2, 3)]}
SUM = {"result": 333333283333335000000}
# Method, path, status, body (None: looked at elsewhere), the least and the most seconds it takes.
ROWS: list[tuple[str, str, int, Any, float, float]] = [
    ("GET", "/", 200, {"message": "Hello World"}, 0, 0.5),
    ("GET", "/items/5", 200, {"item_id": 5, "q": None}, 0, 0.5),
    ("GET", "/items/5?q=a", 200, {"item_id": 5, "q": "a"}, 0, 0.5),
    ("GET", "/sync", 200, {"message": "Sync response"}, 1, 1.5),
    ("GET", "/async", 200, {"message": "Async response"}, 1, 1.5),
    ("GET", "/wrong", 200, {"message": "Wrong"}, 1, 1.5),
    ("GET", "/right", 200, {"message": "Right"}, 1, 1.5),
    ("GET", "/sequential", 200, SOURCES, 3, 3.5),
    ("GET", "/concurrent", 200, SOURCES, 1, 1.5),
    ("GET", "/concurrent-gather", 200, SOURCES, 1, 1.5),
    ("GET", "/users/9223372036854775807", 404, None, 0, 0.5),
    ("GET", "/users?limit=10", 200, None, 0, 0.5),
    ("GET", "/users/9223372036854775807/sqlalchemy", 404, None, 0, 1),
    ("GET", "/external-api", 200, {"source": "a"}, 0, 0.5),
    ("GET", "/multiple-apis", 200, {"results": [{"source": n} for n in "abc"]}, 0, 0.5),
    ("GET", "/with-context", 200, {"result": 1}, 0, 0.5),
    ("GET", "/sync-sleep", 200, {"message": "sync"}, 0.1, 0.5),
    ("GET", "/async-sleep", 200, {"message": "async"}, 0.1, 0.5),
    ("GET", "/good-async", 200, None, 0, 0.5),
    ("GET", "/bad-async", 200, SUM, 0, 5),
    ("GET", "/good-sync", 200, SUM, 0, 5),
    ("GET", "/docs", 200, None, 0, 0.5),
    ("GET", "/redoc", 200, None, 0, 0.5),
    ("GET", "/openapi.json", 200, None, 0, 0.5),
    ("GET", "/livez", 200, {"status": "ok"}, 0, 0.5),
    ("GET", "/readyz", 200, {"status": "ok"}, 0, 0.5),
]


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize(("method", "path", "status", "body", "least", "most"), ROWS)
def test_documented_endpoint(
    service: Service,
    http2: bool,
    method: str,
    path: str,
    status: int,
    body: Any,
    least: float,
    most: float,
) -> None:
    with httpx.Client(base_url=service.url, http1=not http2, http2=http2, timeout=20) as client:
        client.get("/livez")
        start = time.perf_counter()
        response = client.request(method, path)
        elapsed = time.perf_counter() - start
    assert response.status_code == status
    assert response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
    assert body is None or response.json() == body
    assert least <= elapsed < most


def test_user_is_created_from_a_body_and_from_the_query(service: Service) -> None:
    with httpx.Client(base_url=service.url) as client:
        for email, given in [("body@example.com", "json"), ("query@example.com", "params")]:
            user = ADA | {"email": email}
            response = client.post("/users", **{given: user})  # type: ignore[arg-type]
            assert response.status_code == 201
            read = client.get(response.headers["location"])
            assert read.json() == response.json()
            assert read.json().items() >= user.items()
            assert read.json().keys() == {"id", "name", "email", "created_at"}
            assert client.post("/users", json=user).status_code == 409


@pytest.mark.parametrize("path", ["/sync", "/async"])
def test_ten_at_once_take_about_1_s(service: Service, path: str) -> None:
    with httpx.Client(base_url=service.url) as client, ThreadPoolExecutor(10) as threads:
        start = time.perf_counter()
        statuses = list(threads.map(lambda _: client.get(path).status_code, range(10)))
        elapsed = time.perf_counter() - start
    assert statuses == [200] * 10
    assert elapsed < 1.6


def postgres_of(project: Path) -> list[psutil.Process]:
    """The processes of the project's embedded server."""
    return [
        process
        for process in psutil.process_iter(["name", "cmdline", "status"])
        if process.info["name"] == "postgres"
        and str(project / ".postgres") in (process.info["cmdline"] or [])
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def stays(project: Path) -> bool:
    """Whether the server is still there after 3 s; its last process outlives its last file."""
    deadline = time.monotonic() + 3
    while postgres_of(project) and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(postgres_of(project))


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize(
    "command", [HYPERCORN, ("python", "-m", "my_service")], ids=["hypercorn", "python -m"]
)
def test_rows_survive_a_stop(
    stopping_project: Path, command: tuple[str, ...], signal_number: int, workers: str
) -> None:
    """The embedded server stops with the service, also after kill -9."""
    user = {"name": "Ada", "email": f"{time.time()}@example.com"}
    with serve(stopping_project, command, WEB_CONCURRENCY=workers) as service:
        created = httpx.post(f"{service.url}/users", json=user)
        assert created.status_code == 201
        children = psutil.Process(service.process.pid).children(recursive=True)
        service.stop(signal_number)
        for child in children if signal_number == signal.SIGKILL else []:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        assert not stays(stopping_project)
    with serve(stopping_project, command) as service:
        read = httpx.get(service.url + created.headers["location"])
        assert read.json() == created.json()
    assert not stays(stopping_project)
