"""The work of one request through the application, counted in calls: no clock, so no noise."""

import json
from pathlib import Path

import pytest
from baking import run
from faults.service import copy

pytestmark = pytest.mark.slow

# Calls of Python and C functions in one request, least of many, as this test last saw them.
# When work is saved, or more is worth it, write here what the test says that it counted.
RECORDED = {"/": 115, "/users/1": 232}
MOST = 1.2  # times the recorded number

# Without a server: its calls are not the service's.
COUNT = """
import asyncio
import json
import sys

import uvloop
from my_service.app import app
from my_service.lifespan import lifespan

ROUNDS = 50


async def call(state, method, path, query=b""):
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "headers": [(b"host", b"localhost"), (b"user-agent", b"test"), (b"accept", b"*/*")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": dict(state),
    }
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"]


async def count(state, path):
    calls = 0

    def note(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    counts = []
    for _ in range(ROUNDS):
        calls = 0
        sys.setprofile(note)
        status = await call(state, "GET", path)
        sys.setprofile(None)
        assert status == 200, status
        counts.append(calls)
    return min(counts)


async def main():
    async with lifespan(app) as state:
        status = await call(state, "POST", "/users", b"name=Ada&email=ada%40example.com")
        assert status in (201, 409), status
        return {path: await count(state, path) for path in ("/", "/users/1")}


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    print(json.dumps(runner.run(main())))
"""


@pytest.fixture(scope="module")
def counted(project: Path) -> dict[str, int]:
    return count(project)


def count(project: Path) -> dict[str, int]:
    variables = {"PYTHONPATH": str(project)}
    output = run(project, "python", "-c", COUNT, variables=variables)
    counts: dict[str, int] = json.loads(output.splitlines()[-1])
    return counts


@pytest.mark.parametrize("path", RECORDED)
def test_calls(counted: dict[str, int], path: str) -> None:
    """A request makes no more than a fifth more calls than recorded"""
    most = RECORDED[path] * MOST
    assert counted[path] <= most, (
        f"GET {path} makes {counted[path]} calls, {RECORDED[path]} are recorded: make it do less,"
        f" or write {counted[path]} into RECORDED of {Path(__file__).name}"
    )


def test_a_rise_is_counted(counted: dict[str, int], project: Path, tmp_path: Path) -> None:
    greeting = 'return Message("Hello World")'
    work = f"[abs(n) for n in range(40)]\n    {greeting}"
    slower = copy(project, tmp_path, {"my_service/home.py": {greeting: work}})
    after = count(slower)
    assert after["/"] > MOST * counted["/"]
    assert after["/users/1"] == counted["/users/1"]
