"""Connections to PostgreSQL: opened as they are needed, lent to one task at a time, kept well."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import asyncpg

from .connect import BROKEN, SETTLED, AcquireTimeout, Connection, is_outdated
from .places import Places

CLOSE_TIMEOUT = 2.0  # seconds: for what is lent to come back when the service ends


class Pool:
    """At most `size` connections; one more while an old one is being replaced. Times in seconds.

    One whose state is not known is cleaned up, or cut off, in the background.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        min_size: int,
        size: int,
        acquire_timeout: float,
        max_age: float,
        max_idle: float,
    ) -> None:
        self.connect, self.acquire_timeout = connect, acquire_timeout
        self.min_size, self.size, self.max_age, self.max_idle = min_size, size, max_age, max_idle
        self.tasks: set[asyncio.Task[None]] = set()
        self.open()
        self.closed = True

    def open(self) -> None:
        self.closed = self.replacing = False
        self.places: Places[Connection] = Places(self.size)
        self.connections: set[Connection] = set()

    async def fill(self) -> None:
        connections = []
        try:
            for _ in range(self.min_size):
                connections.append(await self.acquire())
        finally:
            for connection in connections:
                self.release(connection)

    def take(self) -> Connection | None:
        """One that can be used at once, if there is any."""
        while self.places.idle:
            connection = self.places.idle.pop()
            if connection.is_well(self.max_idle):
                return connection
            self.drop(connection)
        return None

    async def acquire(self) -> Connection:
        """Raises `AcquireTimeout`, or what `connect` raises."""
        if self.closed:
            raise asyncpg.InterfaceError("the pool is closed")
        try:
            async with asyncio.timeout(self.acquire_timeout) as limit:
                return self.take() or await self.places.take() or await self.add()
        except TimeoutError as error:
            if limit.expired():
                raise AcquireTimeout("no connection came free in time") from error
            raise

    async def add(self) -> Connection:
        try:
            connection = await self.connect()
        except BaseException:
            self.places.put(None)
            raise
        connection.note_age(self.max_age)
        self.connections.add(connection)
        return connection

    def release(self, connection: Connection, error: BaseException | None = None) -> None:
        """Takes it back after a use that ended with `error`."""
        if connection not in self.connections:  # It was lent before the pool was closed.
            connection.terminate()
        elif connection.replaced or connection.is_closed():
            self.drop(connection)
        elif isinstance(error, asyncpg.ReadOnlySQLTransactionError) or is_outdated(error):
            self.drop(connection)  # The primary, or its types, may be others by now.
        elif (error and not isinstance(error, SETTLED)) or connection.is_in_transaction():
            self.start(self.clean(connection))
        else:
            idle, now = self.places.idle, time.monotonic()
            connection.released = now
            self.places.put(connection)
            if len(idle) > 1 and not idle[0].is_well(self.max_idle):
                self.drop(idle.pop(0))
            if connection.expires < now and not self.replacing:
                self.replacing = True
                self.start(self.replace(connection))

    def drop(self, connection: Connection) -> None:
        connection.terminate()
        self.connections.discard(connection)
        if not connection.replaced:
            self.places.put(None)

    def start(self, upkeep: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(upkeep)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def clean(self, connection: Connection) -> None:
        try:
            await connection.clean()
        except Exception:
            connection.terminate()
        self.release(connection)

    async def replace(self, old: Connection) -> None:
        """Opens another one before the old one is closed."""
        try:
            connection = await self.connect()
        except Exception:
            return  # The next one that comes back past its time tries again.
        finally:
            self.replacing = False
        connection.note_age(self.max_age)
        # Where the old one was lost meanwhile, its place is empty, or another's.
        connection.replaced, old.replaced = old not in self.connections, True
        self.connections.add(connection)
        if old in self.places.idle:
            self.places.idle.remove(old)
            self.drop(old)
        self.release(connection)

    async def close(self) -> None:
        """Ends in bounded time, whatever is lent."""
        places, self.closed = 0 if self.closed else self.size, True
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                for _ in range(places):
                    with suppress(*BROKEN):
                        if connection := await self.places.take():
                            await connection.close()
        while self.connections:
            self.connections.pop().terminate()
        for task in tuple(self.tasks):
            task.cancel()
