"""Loops over the rows of a query, on a connection that is free for other queries meanwhile."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any
from weakref import ReferenceType, ref

from .expressions import Result
from .transaction import Lent, Transaction

PREFETCH = 50  # rows, as with asyncpg's own cursors


class Loops(Lent):
    """Rows are fetched within a transaction: one of the loop's own where there is none.

    What is sent meanwhile is in it too, and is committed as without a loop: also where the loop is
    left early, or its body fails, before anything else is sent. Its generator ends some time after.
    """

    loop_rows: ReferenceType[Any]
    loop_transaction: Transaction | None = None
    loop_left = False

    async def send(self, fetch: Callable[..., Awaitable[Any]], sql: str, *arguments: Any) -> Any:
        raise NotImplementedError

    async def iterate_alone(self, *query: Any) -> AsyncGenerator[Any, None]:
        """Acquires the connection for as long as the loop runs."""
        await self.acquire()
        try:
            async with aclosing(self.iterate_rows(*query)) as rows:
                async for row in rows:
                    yield row
        finally:
            await self.release()

    def iterate_rows(
        self, sql: str, values: Sequence[Any], columns: Sequence[Any] | None
    ) -> AsyncGenerator[Any, None]:
        rows, lent = self.read_rows(sql, values, columns), ref(self)

        def note_left(_: object) -> None:
            if (loops := lent()) and loops.loop_transaction:
                loops.loop_left = True

        if not self.transactions or self.loop_left:
            self.loop_rows = ref(rows, note_left)
        return rows

    async def read_rows(
        self, sql: str, values: Sequence[Any], columns: Sequence[Any] | None
    ) -> AsyncGenerator[Any, None]:
        async with self.in_transaction():
            async with self.use() as connection:
                # Without a name: a pooler would keep it for others.
                statement = await connection.prepare(sql, name="")
                cursor = await statement.cursor(*values)
            while True:
                rows = await self.send(lambda *_: cursor.fetch(PREFETCH), sql)
                if not rows:
                    return
                for row in [*map(Result(rows[0], columns).read, rows)] if columns else rows:
                    yield row

    @asynccontextmanager
    async def in_transaction(self) -> AsyncIterator[None]:
        if self.loop_left:
            await self.end_loop()
        if self.transactions:
            yield
            return
        transaction = Transaction(self, counts=False)
        await transaction.start(True, {})
        self.loop_transaction = transaction
        try:
            yield
        except GeneratorExit:
            if self.loop_transaction is transaction:
                self.loop_left = True
                await self.end_loop()
            raise
        except BaseException:
            if self.loop_transaction is transaction:
                self.loop_transaction = None
                await transaction.rollback()
            raise
        if self.loop_transaction is transaction:
            await self.end_loop()

    async def end_loop(self) -> None:
        """Commits what a loop has begun, unless a transaction in it is still open."""
        if self.loop_transaction and self.transactions == 1:
            transaction, self.loop_transaction = self.loop_transaction, None
            self.loop_left = False
            await transaction.commit()
