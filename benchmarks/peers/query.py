"""CPU time of one query: the service's `Database`, asyncpg on a held connection, stock `databases`.

Run in the service's environment with the number of rounds and of queries in each; prints the
microseconds a query, in that order, of each round as JSON. The three take turns.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

import asyncpg
import databases
import uvloop
from my_service.chassis.database import Database
from my_service.settings import DATABASE_URL

QUERY = "SELECT id, name, email, created_at FROM users WHERE id = "
VALUES = {"id": 1}


async def measure(fetch: Callable[[], Awaitable[object]], queries: int) -> float:
    start = time.process_time()
    for _ in range(queries):
        await fetch()
    return (time.process_time() - start) / queries * 1e6


async def compare(rounds: int, queries: int) -> list[list[float]]:
    held = await asyncpg.connect(DATABASE_URL)
    async with Database(DATABASE_URL) as own, databases.Database(DATABASE_URL) as stock:
        fetches: list[Callable[[], Awaitable[object]]] = [
            lambda: own.fetch_one(f"{QUERY}:id", VALUES),
            lambda: held.fetchrow(f"{QUERY}$1", 1),
            lambda: stock.fetch_one(f"{QUERY}:id", VALUES),
        ]
        for fetch in fetches:
            await measure(fetch, queries // 10)
        figures = [[await measure(fetch, queries) for fetch in fetches] for _ in range(rounds)]
    await held.close()
    return figures


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(compare(*map(int, sys.argv[1:])))))
