import asyncio
import os
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest

PROGRAM = "import {{ cookiecutter.__package }}.settings as s; print(s.DEMOS)"
SOURCES = {"results": [{"source_id": n, "data": f"Data from {n}"} for n in (1, 2, 3)]}


@pytest.mark.parametrize(
    ("path", "body", "at_once", "seconds"),
    [
        ("/sync", {"message": "Sync response"}, 10, 1),
        ("/async", {"message": "Async response"}, 10, 1),
        ("/wrong", {"message": "Wrong"}, 2, 2),
        ("/right", {"message": "Right"}, 10, 1),
        ("/sequential", SOURCES, 10, 3),
        ("/concurrent", SOURCES, 10, 1),
        ("/concurrent-gather", SOURCES, 10, 1),
        ("/sync-sleep", {"message": "sync"}, 10, 0.1),
        ("/async-sleep", {"message": "async"}, 10, 0.1),
    ],
)
async def test_sleepers_take_their_time(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], at_once: int, seconds: float
) -> None:
    """Many at once take the time of one, but for those that block the event loop."""
    start = time.perf_counter()
    responses = await asyncio.gather(*(client.get(path) for _ in range(at_once)))
    elapsed = time.perf_counter() - start
    assert [(each.status_code, each.json()) for each in responses] == [(200, body)] * at_once
    assert seconds <= elapsed < seconds + 0.5


@pytest.mark.parametrize("path", ["/bad-async", "/good-sync"])
async def test_sum_of_squares_is_exact_beyond_64_bits(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.json() == {"result": 333333283333335000000}


@pytest.mark.parametrize(
    ("url", "served"), [("", "True"), ("postgresql://user@host/name", "False")]
)
def test_demos_are_off_by_default_on_a_database_of_ones_own(url: str, served: str) -> None:
    """Some of them stop a worker for as long as they run."""
    environment = os.environ | {"DATABASE_URL": url, "DEMOS": ""}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout == f"{served}\n"


async def test_with_context_asks_the_database(client: httpx.AsyncClient) -> None:
    assert (await client.get("/with-context")).json() == {"result": 1}


async def test_good_async_has_null_without_users(client: httpx.AsyncClient) -> None:
    response = await client.get("/good-async")
    assert response.json() == {"user": None, "data": {"source": "a", "protocol": "1.1"}}


async def test_good_async_has_a_user(client: httpx.AsyncClient, state: dict[str, Any]) -> None:
    insert = "INSERT INTO users (name, email) VALUES ('Ada', 'ada@example.com') RETURNING id"
    await state["database"].execute(insert)
    response = await client.get("/good-async")
    assert response.json()["user"]["name"] == "Ada"
