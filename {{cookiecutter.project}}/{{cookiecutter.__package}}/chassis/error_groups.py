"""Errors that came together, as those of an `asyncio.TaskGroup`."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from inspect import iscoroutinefunction
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

logger = logging.getLogger(__name__)

# What a traceback draws around the members of a group.
FRAME = re.compile(r"^ *(\| |\+-.*\n)", re.M)


def find_cause(trace: str) -> str:
    """The first line of the error that a traceback ends with; of a group's, that of a member."""
    *_, cause = re.split(r"^ .*\n", FRAME.sub("", trace), flags=re.M)
    return cause.partition("\n")[0]


def unwrap(error: BaseException) -> BaseException:
    """What is alone in a group, or in several."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    else:
        yield error


def find_handler(handlers: Mapping[Any, Any], error: Exception) -> Any:
    """That of its class, or None: that of `Exception` is for what is logged as a failure."""
    classes = type(error).__mro__
    return next((handlers[c] for c in classes if c in handlers and c is not Exception), None)


async def group_error(request: Request, error: Exception) -> Response:
    """The answer to the first of them, where each has one; else raises the group."""
    found = [find_handler(request.app.exception_handlers, leaf) for leaf in leaves(error)]
    if not all(found):
        raise error
    return await call_handler(found[0], request, next(leaves(error)))


async def call_handler(handler: Callable[..., Any], request: Request, error: Exception) -> Response:
    """As Starlette does, where one that is not asynchronous runs in a thread."""
    if iscoroutinefunction(handler):
        response: Response = await handler(request, error)
        return response
    return await run_in_threadpool(handler, request, error)


async def try_handler(
    handler: Callable[..., Any], request: Request, error: Exception
) -> Response | None:
    """None where it fails, which is logged, or passes the error on."""
    try:
        return await call_handler(handler, request, error)
    except Exception as raised:
        if raised is not error:
            logger.exception("The handler of an error failed")
        return None
