"""Several hosts in one URL: each has its own time, and the last good one is tried first."""

import asyncio
import time

import pytest

from {{ cookiecutter.__package }}.chassis.connector import Connector
from {{ cookiecutter.__package }}.chassis.database_url import connect_options


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def test_host_that_says_nothing_costs_its_own_time_once(database_url: str) -> None:
    good = connect_options(database_url)
    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        hosts = {"host": ["127.0.0.1", *good["host"]], "port": [port, *good["port"]]}
        connect = Connector(good | hosts | {"timeout": 0.5})
        durations = []
        for _ in range(2):
            start = time.monotonic()
            connection = await connect()
            durations.append(time.monotonic() - start)
            await connection.close()
    await asyncio.sleep(0.1)
    assert 0.5 <= durations[0] < 1
    assert durations[1] < 0.3


async def test_last_error_is_raised_where_no_host_answers() -> None:
    options = connect_options("postgresql://nobody@127.0.0.1:1,127.0.0.1:2/none")
    with pytest.raises(OSError, match="2"):
        await Connector(options)()


async def test_host_that_says_nothing_is_the_last_one_next_time(database_url: str) -> None:
    """Where a request has no time for all of them, the next one comes to the others."""
    good = connect_options(database_url)
    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        hosts = {
            "host": ["127.0.0.1", "localhost", *good["host"]],
            "port": [port, port, *good["port"]],
        }
        connect = Connector(good | hosts | {"timeout": 0.5})
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connect(), 0.8)
        connection = await asyncio.wait_for(connect(), 0.8)
        await connection.close()
    await asyncio.sleep(0.1)
