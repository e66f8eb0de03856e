"""Writers through SQL and through the ORM, and what became of all that they asked for."""

import asyncio
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Self

from faults.load import Answer, ask, count, open_client
from faults.service import edit

ENDPOINT = """
from starlette.responses import JSONResponse
from starlette.routing import Route

from . import tables


async def create_by_orm(request):
    email = request.query_params["email"]
    async with request.state["sessions"]() as session:
        session.add(tables.User(name="Ada", email=email))
        await session.commit()
    return JSONResponse(None, 201)


async def create_in_transaction(request):
    database, values = request.state["database"], {"email": request.query_params["email"]}
    async with database.transaction():
        await database.execute("INSERT INTO users (name, email) VALUES ('Ada', :email)", values)
        await database.execute("SELECT count(*) FROM users WHERE email = :email", values)
    return JSONResponse(None, 201)


routes = [
    Route("/orm", create_by_orm, methods=["POST"]),
    Route("/transaction", create_in_transaction, methods=["POST"]),
]
"""


def add_endpoint(project: Path) -> None:
    """Those that write through the ORM, and in a transaction."""
    package = project / "my_service"
    (package / "writes.py").write_text(ENDPOINT)
    edit(package / "app.py", "routes = [\n", "from . import writes\nroutes = [*writes.routes,\n")


class Writers:
    """They write one user after the other until the block ends; another one asks /readyz.

    `paths` has the path of each. What they were answered stands in `answers`, by path.
    """

    def __init__(self, url: str, paths: list[str], domain: str = "writers.example") -> None:
        self.url, self.paths, self.domain = url, paths, domain
        self.answers: dict[str, list[Answer]] = {path: [] for path in [*paths, "/readyz"]}
        self.created: list[str] = []
        self.stopped = asyncio.Event()

    async def __aenter__(self) -> Self:
        writers = [self.write(number, path) for number, path in enumerate(self.paths)]
        self.tasks = [asyncio.create_task(each) for each in [*writers, self.probe()]]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopped.set()
        await asyncio.gather(*self.tasks)

    async def write(self, number: int, path: str) -> None:
        async with open_client(self.url, timeout=60) as client:
            turn = 0
            while not self.stopped.is_set():
                turn += 1
                email = f"{turn}.{number}@{self.domain}"
                answer = await ask(client, path, "POST", params={"name": "Ada", "email": email})
                self.answers[path].append(answer)
                if answer.status == 201:
                    self.created.append(email)
                await asyncio.sleep(0.02)

    async def probe(self) -> None:
        async with open_client(self.url, timeout=60) as client:
            while not self.stopped.is_set():
                self.answers["/readyz"].append(await ask(client, "/readyz"))
                await asyncio.sleep(0.05)

    def count(self) -> Counter[int | str]:
        """The statuses of the writers' answers."""
        return sum((count(self.answers[path]) for path in {*self.paths}), Counter())

    def wait(self, path: str, after: float) -> float:
        """Seconds from `after` until the first success, infinite where there is none."""
        ends = [a.end for a in self.answers[path] if a.status in {200, 201} and a.end > after]
        return min(ends, default=float("inf")) - after

    def waits(self, after: float) -> dict[str, float]:
        return {path: round(self.wait(path, after), 2) for path in self.answers}

    def gap(self) -> float:
        """The longest time without any success, in seconds."""
        answers = [answer for path in {*self.paths} for answer in self.answers[path]]
        ends = sorted(answer.end for answer in answers if answer.status == 201)
        return max(late - early for early, late in pairwise(ends))

    async def wait_for(self, number: int) -> None:
        """Until so many more have been created, for 30 s at most."""
        end, deadline = len(self.created) + number, time.monotonic() + 30
        while len(self.created) < end and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
