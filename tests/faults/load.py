"""Clients that ask for many answers at once and say what became of each request."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass

import httpx


@dataclass
class Answer:
    """`status` is the error's name where there was no answer; times are of `time.monotonic`."""

    status: int | str
    text: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


def open_client(url: str, http2: bool = False, timeout: float = 60) -> httpx.AsyncClient:
    """As many connections as it has requests at once; over HTTP/2, by prior knowledge, one."""
    return httpx.AsyncClient(
        base_url=url,
        http1=not http2,
        http2=http2,
        timeout=timeout,
        limits=httpx.Limits(max_connections=None),
        # To load certificates would stop the event loop, and all times with it, for 30 ms each.
        verify=False,
    )


async def ask(
    client: httpx.AsyncClient, path: str, method: str = "GET", **options: object
) -> Answer:
    start = time.monotonic()
    status: int | str
    try:
        response = await client.request(method, path, **options)  # type: ignore[arg-type]
        status, text = response.status_code, response.text
    except httpx.HTTPError as error:
        status, text = type(error).__name__, str(error)
    return Answer(status, text, start, time.monotonic())


async def ask_many(clients: list[httpx.AsyncClient], path: str, number: int) -> list[Answer]:
    """`number` requests at once, from the clients by turns."""
    return await asyncio.gather(
        *(ask(clients[index % len(clients)], path) for index in range(number))
    )


def count(answers: list[Answer]) -> Counter[int | str]:
    return Counter(answer.status for answer in answers)
