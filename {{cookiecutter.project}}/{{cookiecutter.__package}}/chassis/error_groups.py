"""Errors that came together, as those of an `asyncio.TaskGroup`."""

from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import Response


def leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for each in error.exceptions:
            yield from leaves(each)
    else:
        yield error


async def group_error(request: Request, error: Exception) -> Response:
    """The answer to the first of them, where each has one; else raises the group."""
    known = request.app.exception_handlers
    found = [[known[cls] for cls in type(leaf).__mro__ if cls in known] for leaf in leaves(error)]
    if not all(found):
        raise error
    response: Response = await found[0][0](request, next(leaves(error)))
    return response
