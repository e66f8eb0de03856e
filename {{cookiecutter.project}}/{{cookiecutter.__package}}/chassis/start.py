"""The start of a process: where it fails, one line says why."""

import errno
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from hypercorn.utils import LifespanFailureError
from starlette.applications import Starlette

from .error_groups import find_cause, unwrap
from .logs import output

NO_ADDRESS = {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES}

logger = logging.getLogger(__name__)


def describe_failure(error: LifespanFailureError) -> str:
    """In a line."""
    stage = "start" if "startup" in str(error).partition(".")[0] else "end"
    return f"The {stage} failed: {find_cause(str(error))}"


def tell_failed_starts(addresses: list[str]) -> None:
    """Those of the command `hypercorn` itself, in a line too, where Python would print all."""
    otherwise = sys.excepthook

    def tell(type_: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        cause = unwrap(error)
        if isinstance(cause, LifespanFailureError):
            logger.error("%s", describe_failure(cause))
        elif isinstance(cause, OSError) and cause.errno in NO_ADDRESS:
            logger.error("%s cannot be served: %s", ", ".join(addresses), cause.strerror)
        else:
            otherwise(type_, error, trace)

    sys.excepthook = tell


async def build(app: Starlette) -> None:
    """Its middleware, which Starlette makes at the first event: Hypercorn would serve without any.

    Raises `SystemExit` with one line where that fails.
    """
    with tell_failure():
        app.middleware_stack = app.middleware_stack or app.build_middleware_stack()


@contextmanager
def tell_failure() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        cause = unwrap(error)
        line, *_ = f"{type(cause).__name__}: {cause}".splitlines()
        raise SystemExit(f"The start failed: {line}") from None


async def check_start(app: Starlette) -> None:
    """Opens and closes the lifespan. Raises `SystemExit` with one line where that fails."""
    await build(app)
    with tell_failure():
        async with app.router.lifespan_context(app):
            pass
    output.flush(seconds=1)
