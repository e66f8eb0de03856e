"""The application for a server that sends no lifespan events: its first request opens the lifespan.

Daphne is such a server. https://asgi.readthedocs.io/en/latest/specs/lifespan.html
"""

import asyncio
from contextlib import AsyncExitStack

from starlette.types import Receive, Scope, Send

from {{ cookiecutter.__package }}.app import app
from {{ cookiecutter.__package }}.lifespan import State, lifespan

stack = AsyncExitStack()  # Nobody closes it: the system takes the connections back at the end.
states: list[State] = []
lock = asyncio.Lock()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    async with lock:
        if not states:
            states.append(await stack.enter_async_context(lifespan(app)))
    await app({**scope, "state": states[0].copy()}, receive, send)
