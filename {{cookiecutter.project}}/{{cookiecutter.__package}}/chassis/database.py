"""The database, by the API that `databases` documents."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any, Self
from weakref import WeakKeyDictionary, ref

import asyncpg
import databases
from databases import core
from databases.interfaces import Record
from sqlalchemy.sql import ClauseElement

from .backend import LentConnection
from .connect import MAX_IDLE, check_readable, set_up
from .connector import Connector
from .database_url import DatabaseURL, connect_options
from .expressions import compile_query
from .parameters import bind, changes_session, parse
from .pool import Pool
from .transaction import Unsettled

Query = ClauseElement | str
Values = dict[str, Any]
Rows = AsyncGenerator[Any, None]


class Database(databases.Database):
    """At most `max_size` connections, opened as they are needed. All times are in seconds.

    Texts go straight to the backend, the rest through the library. `options` are those of
    `connect_options`. Raises `ValueError` where the URL cannot be accepted.
    """

    SUPPORTED_BACKENDS = dict.fromkeys(["postgresql", "postgres"], f"{__package__}.backend:Backend")

    def __init__(
        self,
        url: str | databases.DatabaseURL,
        *,
        force_rollback: bool = False,
        min_size: int = 0,
        max_size: int = 10,
        acquire_timeout: float = 2.0,
        max_age: float = 900.0,
        max_idle: float = MAX_IDLE,
        **options: Any,
    ) -> None:
        connector = Connector(connect_options(str(url), **options), set_up)
        self.pool = Pool(connector, min_size, max_size, acquire_timeout, max_age, max_idle)
        self.made: list[LentConnection] = []
        self.lent: WeakKeyDictionary[asyncio.Task[Any], LentConnection] = WeakKeyDictionary()
        self.shared: LentConnection | None = None  # by all tasks, where all is to be rolled back
        own: dict[str, Any] = {"pool": self.pool, "made": self.made}
        # The library cannot read all URLs that `connect_options` can.
        super().__init__("postgresql://", force_rollback=force_rollback, **own)
        self.url = DatabaseURL(str(url))

    async def connect(self) -> None:
        await super().connect()
        if self.made:
            self.shared = self.adopt(super().connection())

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def disconnect(self) -> None:
        self.shared = None
        try:
            await super().disconnect()
        finally:
            await self.pool.close()

    def connection(self) -> core.Connection:
        connection = super().connection()
        if self.made and (task := asyncio.current_task()):
            self.lent[task] = self.adopt(connection)
        return connection

    def adopt(self, connection: core.Connection) -> LentConnection:
        """The library's own loop would hold a lock of the connection for as long as it runs."""
        lent = self.made.pop()
        lent.counter = ref(connection)
        connection.iterate = partial(self.rows, lent)  # type: ignore[method-assign]
        return lent

    def held(self) -> LentConnection | None:
        """What the current task holds."""
        if self.shared or not self.lent:
            return self.shared
        task = asyncio.current_task()
        lent = self.lent.get(task) if task else None
        return lent if lent and lent.is_acquired else None

    async def send(self, fetch: Callable[..., Awaitable[Any]], sql: str, *arguments: Any) -> Any:
        if held := self.held():
            return await held.send(fetch, sql, *arguments)
        pool = self.pool
        connection = pool.take() or await pool.acquire()
        try:
            result = await fetch(connection, sql, *arguments)
        except BaseException as error:
            pool.release(connection, error)
            check_readable(error)
            raise
        changed = changes_session(sql, connection.functions)
        pool.release(connection, Unsettled() if changed else None)
        return result

    async def fetch_all(self, query: Query, values: Values | None = None) -> list[Record]:
        if not isinstance(query, str):
            return await super().fetch_all(query, values)
        sql, arguments = bind(query, values)
        rows: list[Record] = await self.send(asyncpg.Connection.fetch, sql, *arguments)
        return rows

    async def fetch_one(self, query: Query, values: Values | None = None) -> Record | None:
        if not isinstance(query, str):
            return await super().fetch_one(query, values)
        sql, arguments = bind(query, values)
        row: Record | None = await self.send(asyncpg.Connection.fetchrow, sql, *arguments)
        return row

    async def fetch_val(self, query: Query, values: Values | None = None, column: Any = 0) -> Any:
        row = await self.fetch_one(query, values)
        return None if row is None else row[column]

    async def execute(self, query: Query, values: Values | None = None) -> Any:
        if not isinstance(query, str):
            return await super().execute(query, values)
        sql, arguments = bind(query, values)
        return await self.send(asyncpg.Connection.fetchval, sql, *arguments)

    async def execute_many(self, query: Query, values: list[Values]) -> None:
        """All of them, or none."""
        if not isinstance(query, str):
            return await super().execute_many(query, values)
        arguments = [bind(query, each)[1] for each in values]
        await self.send(asyncpg.Connection.executemany, parse(query)[0], arguments)

    def iterate(self, query: Query, values: Values | None = None) -> Rows:
        return self.rows(self.held(), query, values)

    def rows(self, lent: LentConnection | None, query: Query, values: Values | None = None) -> Rows:
        compiled = compile_query(query, values)
        if lent and lent.is_acquired:
            return lent.iterate_rows(*compiled)
        return LentConnection(self.pool).iterate_alone(*compiled)
