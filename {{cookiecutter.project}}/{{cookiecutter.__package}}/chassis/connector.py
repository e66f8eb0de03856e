"""Opens connections: to the one of several hosts that answers, with the password of now."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg

from .connect import Connection, Row

# Up to a colon that no backslash stands before.
FIELD = r"((?:\\.|[^\\:])*):"


def find_password(file: str, *asked: str) -> str | None:
    """That of the first line for this host, port, database and user, in libpq's form.

    https://www.postgresql.org/docs/current/libpq-pgpass.html. asyncpg reads no file that a group
    may read, as a Secret is mounted. Raises `InvalidAuthorizationSpecificationError` where it
    cannot be read.
    """
    try:
        lines = Path(file).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = f"passfile cannot be read: {type(error).__name__}"
        raise asyncpg.InvalidAuthorizationSpecificationError(reason) from error
    for line in lines:
        if not line.startswith("#") and (found := re.match(4 * FIELD + "(.*)", line)):
            *fields, password = (re.sub(r"\\(.)", r"\1", field) for field in found.groups())
            if all(field in {"*", one} for field, one in zip(fields, asked, strict=True)):
                return password
    return None


class Connector:
    """Opens connections, `options` being those of `asyncpg.connect`; `init` sets each one up.

    Of several hosts each has the whole of `timeout` for itself; the last good one is tried first.
    """

    def __init__(
        self,
        options: dict[str, Any],
        init: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        hosts, ports = options.get("host"), options.get("port")
        self.addresses: list[dict[str, Any]] = [{}]
        if isinstance(hosts, list) and options.get("target_session_attrs") != "prefer-standby":
            every = ports if isinstance(ports, list) else [ports] * len(hosts)
            pairs = zip(hosts, every, strict=True)
            self.addresses = [{"host": host, "port": port} for host, port in pairs]
        self.options = {"record_class": Row} | options
        self.passfile = self.options.pop("passfile", None)
        self.init = init

    async def __call__(self) -> Connection:
        """Raises what `asyncpg.connect` does; of several hosts, the last one's error."""
        connection = await self.connect()
        try:
            if self.init:
                await self.init(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def connect(self) -> Connection:
        *others, last = self.addresses
        for address in others:
            try:
                connection = await self.connect_to(address)
            except (OSError, asyncpg.CannotConnectNowError, asyncpg.InternalClientError):
                # The last one next time: there may not be time for all of them in one.
                self.addresses.sort(key=address.__eq__)
                continue
            return connection
        return await self.connect_to(last)

    async def connect_to(self, address: dict[str, Any]) -> Connection:
        options = self.options | address
        if self.passfile and "password" not in options:
            options["password"] = self.read_password(options)
        try:
            connection = await asyncpg.connect(connection_class=Connection, **options)
        except (asyncpg.DataError, asyncpg.SyntaxOrAccessError) as error:
            # Of a setting or a role that the session is to have, and of no query.
            reason = f"the session is refused: {error}"
            raise asyncpg.InvalidAuthorizationSpecificationError(reason) from error
        self.addresses.sort(key=address.__ne__)
        return connection

    def read_password(self, options: dict[str, Any]) -> str | None:
        """That of now: it may have changed since the last connection was opened."""
        defaults = {"host": "localhost", "port": 5432, "database": "", "user": ""}
        values = [options.get(name) or default for name, default in defaults.items()]
        asked = [str(value[0] if isinstance(value, list) else value) for value in values]
        if asked[0].startswith("/"):
            asked[0] = "localhost"
        return find_password(self.passfile, *asked)
