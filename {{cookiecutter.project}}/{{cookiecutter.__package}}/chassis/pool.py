"""The connections of `databases`, kept acquired.

To acquire a connection and to release it takes the libraries' pools longer than a query takes. So a
connection stays acquired while it is well, and is lent to one request at a time.
"""

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from typing import Any

import asyncpg
import databases

MAX_IDLE = 300.0  # seconds: what is silent for longer may have been cut by the network


class Slot:
    """A connection that is lent and comes back, or None until it is opened.

    Its session is not reset in between: nothing in the service changes a session (SET without
    LOCAL, temporary tables, advisory locks of the session), and a test holds the package to that.
    """

    def __init__(self) -> None:
        self.connection: Any = None
        self.lent = 0.0
        self.stack = AsyncExitStack()

    def is_well(self) -> bool:
        """Whether it is open, and was lent not long ago."""
        if not self.connection or time.monotonic() > self.lent + MAX_IDLE:
            return False
        try:
            return not self.connection.is_closed()
        except asyncpg.InterfaceError:  # asyncpg has taken it away.
            return False

    def is_at_rest(self) -> bool:
        """Whether it is well, and in no transaction."""
        return self.is_well() and not self.connection.is_in_transaction()

    async def open(self, database: databases.Database) -> None:
        await self.close()
        pooled = await self.stack.enter_async_context(database.connection())
        self.connection = pooled.raw_connection

    async def close(self) -> None:
        """Gives the connection back to asyncpg's pool, which cleans it up, or drops it."""
        self.connection = None
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await self.stack.aclose()

    def terminate(self) -> None:
        """Cuts the connection off: a server that is silent would be waited for."""
        with suppress(asyncpg.InterfaceError):
            self.connection.terminate()


class Database(databases.Database):
    """At most `size` connections, opened as they are needed; `options` are asyncpg's."""

    def __init__(self, size: int, **options: Any) -> None:
        super().__init__("postgresql://", min_size=0, max_size=size, **options)
        self.size = size
        self.idle: asyncio.LifoQueue[Slot] = asyncio.LifoQueue()
        for _ in range(size):
            self.idle.put_nowait(Slot())

    def take(self) -> Slot | None:
        """One that can be used at once, if there is any."""
        slot = None if self.idle.empty() else self.idle.get_nowait()
        if slot and not slot.is_well():
            self.idle.put_nowait(slot)
            return None
        if slot:
            slot.lent = time.monotonic()
        return slot

    async def wait(self) -> Slot:
        """Waits for one, and opens it where it is not well."""
        slot = await self.idle.get()
        try:
            if not slot.is_well():
                # In a task of its own: `databases` gives a task that has a connection the same.
                await asyncio.create_task(slot.open(self))
        except BaseException:
            self.idle.put_nowait(slot)
            raise
        slot.lent = time.monotonic()
        return slot

    async def disconnect(self) -> None:
        """Waits for what is lent."""
        for slot in [await self.idle.get() for _ in range(self.size)]:
            await slot.close()
            self.idle.put_nowait(slot)
        await super().disconnect()
