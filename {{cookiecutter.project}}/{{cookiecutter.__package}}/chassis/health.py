"""Probes for orchestrators and load balancers: whether the process serves, and can do its work."""

from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from .drain import Drain
from .endpoint import endpoint
from .schema import SchemaCheck

PROBES = {"/livez", "/readyz"}


class Status(msgspec.Struct):
    status: str


def build_routes(drain: Drain, revision: str) -> list[Route]:
    """`revision` is the oldest schema that the code can work with."""
    schema = SchemaCheck(revision)

    @endpoint()
    async def read_livez(request: Request[Any]) -> Status:
        """Tell that the process serves"""
        return Status("ok")

    @endpoint(503)
    async def read_readyz(request: Request[Any]) -> Status:
        """Tell that the service can do its work: the database answers and its schema is current"""
        if drain.started:
            raise HTTPException(503, "The service is about to end")
        if fault := await schema.find_fault(request.state["database"]):
            raise HTTPException(503, fault)
        return Status("ok")

    return [Route("/livez", read_livez), Route("/readyz", read_readyz)]
