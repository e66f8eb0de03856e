"""Probes for orchestrators and load balancers."""

import asyncio

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from .database import is_current
from .endpoint import endpoint
from .lifespan import State
from .limits import finish
from .traffic import traffic

READY_TIMEOUT = 1.0  # seconds


class Status(msgspec.Struct):
    status: str


@endpoint()
async def read_livez(request: Request[State]) -> Status:
    """Tell that the process serves"""
    return Status("ok")


@endpoint(503)
async def read_readyz(request: Request[State]) -> Status:
    """Tell that the service can do its work: the database answers and its schema is current"""
    if traffic.draining:
        raise HTTPException(503, "The service is about to end")
    try:
        async with asyncio.timeout(READY_TIMEOUT):
            current = await finish(is_current(request.state["database"]))
    except TimeoutError:
        raise HTTPException(503, "The database did not answer in time") from None
    if not current:
        raise HTTPException(503, "The database's schema is old: run alembic upgrade head")
    return Status("ok")


routes = [
    Route("/livez", read_livez),
    Route("/readyz", read_readyz),
]
