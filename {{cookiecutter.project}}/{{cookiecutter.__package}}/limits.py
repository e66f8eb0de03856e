"""What the server does not bound: the size and time of bodies, the time and number of requests."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from .traffic import CLOSE, Exchange, traffic

T = TypeVar("T")

MAX_IN_FLIGHT = 2000
PROBES = {"/livez", "/readyz"}
LENGTHS = {b"transfer-encoding", b"content-length"}

calls: set[asyncio.Task[Any]] = set()  # An event loop itself holds no task.


async def finish(call: Coroutine[Any, Any, T]) -> T:
    """The result of a call that runs to its own end, unheard, where this one is cancelled."""

    def forget(task: asyncio.Task[T]) -> None:
        calls.discard(task)
        if not task.cancelled():
            task.exception()  # Else asyncio logs one that nobody waits for any more.

    task = asyncio.create_task(call)
    calls.add(task)
    task.add_done_callback(forget)
    await asyncio.wait([task])
    return task.result()


class Limits:
    """Reads the body before the application runs; ends what takes too long or has no client left.

    An answer before the end of the body can stop the other streams of an HTTP/2 connection.
    Raises `HTTPException`, or `ClientDisconnect` where there is nobody to answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = Exchange(receive)
        counted = scope["path"] not in PROBES
        traffic.add(exchange, counted)
        try:
            lengths = {name for name, _ in scope["headers"] if name in LENGTHS}
            if lengths or scope["http_version"] not in {"1.0", "1.1"}:
                await exchange.read_body()
            else:  # There is none: RFC 9112, section 6.3. Granian would take 40 µs to say so.
                exchange.accept(b"")
            if counted and traffic.in_flight > MAX_IN_FLIGHT:
                raise HTTPException(503, "Too many requests are under way", {"Retry-After": "1"})
            if lengths == LENGTHS:
                # A proxy may have believed the other one: RFC 9112, section 6.1.
                raise HTTPException(400, "The body has two lengths", CLOSE)
            await self.app(scope, exchange.receive, send)
        except asyncio.CancelledError:
            if not exchange.reason or not exchange.task:
                raise
            exchange.task.uncancel()
            raise exchange.reason from None
        finally:
            traffic.remove(exchange, counted)
