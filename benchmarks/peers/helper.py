"""CPU time of the service's database helper and of asyncpg on a held connection, in one process.

Run in the service's environment with the number of rounds and of queries in each; prints the
microseconds a query, [helper, asyncpg], of each round as JSON.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

import asyncpg
import uvloop
from my_service.chassis.database import fetch_one, open_pool
from my_service.settings import DATABASE_URL

QUERY = "SELECT id, name, email, created_at FROM users WHERE id = $1"


async def measure(fetch: Callable[[], Awaitable[object]], queries: int) -> float:
    start = time.process_time()
    for _ in range(queries):
        await fetch()
    return (time.process_time() - start) / queries * 1e6


async def compare(rounds: int, queries: int) -> list[tuple[float, float]]:
    held = await asyncpg.connect(DATABASE_URL)
    async with open_pool(DATABASE_URL, 10) as database:

        async def use_helper() -> object:
            return await fetch_one(database, QUERY, 1)

        async def use_held() -> object:
            return await held.fetchrow(QUERY, 1)

        for fetch in (use_helper, use_held):
            await measure(fetch, queries // 10)
        figures = [
            (await measure(use_helper, queries), await measure(use_held, queries))
            for _ in range(rounds)
        ]
    await held.close()
    return figures


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(compare(*map(int, sys.argv[1:])))))
