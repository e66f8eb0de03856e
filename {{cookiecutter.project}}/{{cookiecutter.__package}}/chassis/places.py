"""A fixed number of places for things that are opened as needed and shared out fairly."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Places(Generic[T]):
    """Each place is empty, or holds a thing that is idle, or is taken.

    The thing that was put back last is taken first, and who has waited longest is served first:
    unlike with `asyncio.LifoQueue`, nobody overtakes.
    """

    def __init__(self, number: int) -> None:
        self.empty = number
        self.idle: list[T] = []
        self.waiting: deque[asyncio.Future[T | None]] = deque()

    async def take(self) -> T | None:
        """A thing, or None for an empty place."""
        if self.idle:
            return self.idle.pop()
        if self.empty:
            self.empty -= 1
            return None
        place: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()
        self.waiting.append(place)
        try:
            return await place
        except asyncio.CancelledError:
            if not place.cancelled():
                self.put(place.result())
            raise

    def put(self, thing: T | None) -> None:
        while self.waiting:
            place = self.waiting.popleft()
            if not place.done():
                place.set_result(thing)
                return
        if thing is None:
            self.empty += 1
        else:
            self.idle.append(thing)
