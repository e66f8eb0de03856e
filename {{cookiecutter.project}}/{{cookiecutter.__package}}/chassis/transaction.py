"""Transactions for `databases` that leave nothing behind, however they begin or end."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import asyncpg
from databases import core
from databases.interfaces import TransactionBackend

from .connect import Connection


class Unsettled(Exception):
    """The state of a connection is not known: it is cleaned up before it is lent again."""


class Lent(Protocol):
    """What a transaction needs of the connection that it is of."""

    connection: Connection | None
    counter: Callable[[], core.Connection | None]
    transactions: int

    async def acquire(self) -> None: ...

    async def release(self) -> None: ...

    def use(self) -> AbstractAsyncContextManager[Connection]: ...

    def give_back(self, error: BaseException | None) -> None: ...


class Transaction(TransactionBackend):
    """One that counts as a user of its connection, or not."""

    def __init__(self, lent: Lent, *, counts: bool) -> None:
        self.lent, self.counts = lent, counts

    @asynccontextmanager
    async def control(self) -> AsyncIterator[Connection]:
        """For what begins or ends a transaction."""
        try:
            async with self.lent.use() as connection:
                yield connection
        except BaseException as error:
            if self.is_root or not isinstance(error, asyncpg.PostgresError):
                self.lent.give_back(Unsettled())
            if self.counts and (counter := self.lent.counter()):
                await counter.__aexit__()  # `databases` does not count down where these fail.
            raise

    async def start(self, is_root: bool, extra_options: dict[Any, Any]) -> None:
        self.is_root = is_root
        async with self.control() as connection:
            self.transaction = connection.transaction(**extra_options)
            # As a context manager, or asyncpg would complain of a BEGIN that failed.
            await self.transaction.__aenter__()
        self.lent.transactions += 1

    async def commit(self) -> None:
        """Raises `InFailedSQLTransactionError` where a failed query was passed over."""
        try:
            async with self.control():
                await self.transaction.__aexit__(None, None, None)
        finally:
            self.lent.transactions -= 1

    async def rollback(self) -> None:
        """Where the connection is lost, the server has done it."""
        try:
            connection = self.lent.connection
            if connection and not connection.is_closed():
                async with self.control():
                    await self.transaction.__aexit__(Exception, None, None)
        finally:
            self.lent.transactions -= 1
