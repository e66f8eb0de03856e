from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest

from {{ cookiecutter.__package }}.chassis import embedded


async def test_server_stops_with_its_last_user_and_keeps_the_rows() -> None:
    """In a folder whose name must be percent-encoded in a URL."""
    with TemporaryDirectory(suffix="%é") as temporary:
        folder = Path(temporary) / "postgres"
        with embedded.run_server(folder) as url:
            connection = await asyncpg.connect(url)
            await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
            await connection.close()
        with pytest.raises(FileNotFoundError):
            await asyncpg.connect(url)
        with embedded.run_server(folder) as url:
            connection = await asyncpg.connect(url)
            assert await connection.fetchval("SELECT one FROM kept") == 1
            await connection.close()
