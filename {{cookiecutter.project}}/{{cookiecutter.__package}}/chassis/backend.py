"""The backend that `databases` provides for: its interfaces, over a pool of our own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
from databases import core
from databases.interfaces import ConnectionBackend, DatabaseBackend, Record
from sqlalchemy.sql import ClauseElement

from .connect import SETTLED, Connection, check_readable
from .expressions import Result, compile_query
from .loops import Loops
from .parameters import changes_session
from .pool import Pool
from .transaction import Transaction, Unsettled


class Backend(DatabaseBackend):
    """`made` is where it leaves its connections for the `Database` to find."""

    def __init__(self, url: object, *, pool: Pool, made: list["LentConnection"]) -> None:
        self.pool, self.made = pool, made

    async def connect(self) -> None:
        self.pool.open()
        try:
            await self.pool.fill()
        except BaseException:
            await self.pool.close()
            raise

    async def disconnect(self) -> None:
        await self.pool.close()

    def connection(self) -> "LentConnection":
        self.made.append(LentConnection(self.pool))
        return self.made[-1]


class LentConnection(Loops, ConnectionBackend):
    """A connection of the pool for as long as `counter` counts somebody who uses it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        # Weak: a context that lives on would keep what a task has forgotten.
        self.counter: Callable[[], core.Connection | None] = lambda: None
        self.connection: Connection | None = None
        self.is_acquired = False
        self.error: BaseException | None = None
        self.changed = False  # the session, which another connection has not
        self.transactions = 0
        self.lock = asyncio.Lock()

    async def acquire(self) -> None:
        self.connection = self.pool.take() or await self.pool.acquire()
        self.is_acquired = True
        self.loop = asyncio.get_running_loop()

    async def release(self) -> None:
        try:
            await self.end_loop()
        finally:
            self.is_acquired = self.changed = False
            self.give_back(self.error)

    def give_back(self, error: BaseException | None) -> None:
        connection, self.connection, self.error = self.connection, None, None
        if connection:
            self.pool.release(connection, error)

    def __del__(self) -> None:
        """Its task ended before its transaction; any thread may find that out."""
        if self.connection:
            with suppress(RuntimeError):  # of a loop that is closed
                self.loop.call_soon_threadsafe(self.pool.release, self.connection, Unsettled())

    @property
    def raw_connection(self) -> Connection:
        if not self.connection:
            raise asyncpg.InterfaceError("the connection is closed")
        self.note_change()
        return self.connection

    def note_change(self) -> None:
        """Of the session: the connection is reset before it is lent again."""
        self.error, self.changed = Unsettled(), True

    @asynccontextmanager
    async def use(self) -> AsyncIterator[Connection]:
        """Where it was lost, a new one is acquired, or in a transaction `InterfaceError` raised."""
        if self.loop_left:
            await self.end_loop()
        async with self.lock:
            if self.connection and self.connection.is_closed() and not self.transactions:
                self.give_back(self.error)
            if not self.connection:
                if not self.is_acquired:
                    raise asyncpg.InterfaceError("the connection was not acquired")
                if self.transactions or self.changed:  # Another one knows nothing of it.
                    raise asyncpg.InterfaceError("the connection of the transaction is closed")
                await self.acquire()
            try:
                yield self.connection  # type: ignore[misc]
            except BaseException as error:
                if self.error is None or isinstance(self.error, SETTLED):
                    self.error = error
                raise

    async def send(self, fetch: Callable[..., Awaitable[Any]], sql: str, *arguments: Any) -> Any:
        async with self.use() as connection:
            try:
                result = await fetch(connection, sql, *arguments)
            except Exception as error:
                check_readable(error)
                raise
            if changes_session(sql, connection.functions):
                self.note_change()
        return result

    async def fetch_all(self, query: ClauseElement) -> list[Record]:
        sql, values, columns = compile_query(query)
        rows = await self.send(asyncpg.Connection.fetch, sql, *values)
        return [*map(Result(rows[0], columns).read, rows)] if columns and rows else rows

    async def fetch_one(self, query: ClauseElement) -> Record | None:
        sql, values, columns = compile_query(query)
        row: Any = await self.send(asyncpg.Connection.fetchrow, sql, *values)
        return Result(row, columns).read(row) if columns and row else row

    async def execute(self, query: ClauseElement) -> Any:
        sql, values, _ = compile_query(query)
        return await self.send(asyncpg.Connection.fetchval, sql, *values)

    async def execute_many(self, queries: list[ClauseElement]) -> None:
        """All of those which differ in their values alone, or none."""
        found: dict[str, list[Any]] = {}
        for sql, values, _ in map(compile_query, queries):
            found.setdefault(sql, []).append(values)
        for sql, many in found.items():
            await self.send(asyncpg.Connection.executemany, sql, many)

    def transaction(self) -> Transaction:
        return Transaction(self, counts=True)
