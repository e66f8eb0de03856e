"""A real PostgreSQL from a wheel, for development: no `DATABASE_URL` and nothing to install.

Of the wheel only the programs are used. Locks by flock(2) tell who is there: no process id is read
from a file, where it may be another program's by now.
"""

import atexit
import multiprocessing
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import SubprocessError

FOLDER = ".postgres"  # in the project's
OWN = "sslmode=disable&sslnegotiation=postgres&target_session_attrs=any&gsslib=gssapi"


@contextmanager
def run_server(folder: Path) -> Iterator[str]:
    """Runs the server whose data are in `folder`; gives the URL of its database `postgres`.

    Processes that use the same folder share the server, and the last one stops it. Raises
    `RuntimeError` with the cause in one line.
    """
    if os.name != "posix":
        raise RuntimeError("The embedded PostgreSQL needs Linux or macOS; set DATABASE_URL")
    from .postgres import run_postgres  # Its modules are not everywhere.

    if re.search("[\r\n]", name := str(folder.resolve())):
        raise RuntimeError(f"PostgreSQL takes no line break: rename {name!r}, or set DATABASE_URL")
    with ExitStack() as stack:
        try:
            sockets = stack.enter_context(run_postgres(folder.resolve()))
        except OSError as error:
            reason = f"{error.strerror or error}: {error.filename or folder}"
            raise RuntimeError(
                f"The embedded PostgreSQL cannot run ({reason}):"
                " make room or give the rights, or set DATABASE_URL"
            ) from error
        # What the environment says of other servers is not for this one.
        yield f"postgresql://postgres@/postgres?host={sockets}&{OWN}"


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
