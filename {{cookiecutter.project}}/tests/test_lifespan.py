import gc

import databases
import httpx
from starlette.applications import Starlette

from {{ cookiecutter.__package }}.lifespan import lifespan


async def test_everything_is_closed_at_the_end() -> None:
    async with lifespan(Starlette()) as state:
        database, client = state["database"], state["client"]
        assert isinstance(database, databases.Database)
        assert isinstance(client, httpx.AsyncClient)
        assert database.is_connected
        assert not client.is_closed
    assert not database.is_connected
    assert client.is_closed


async def test_garbage_is_not_looked_for_in_what_stays() -> None:
    before = gc.get_threshold()
    async with lifespan(Starlette()):
        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold()[0] == 2_000
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
