"""The id of a request, in its log, its answer and its calls to others."""

import re
from collections.abc import Awaitable
from contextvars import ContextVar
from random import getrandbits

from starlette.types import ASGIApp, Message, Receive, Scope, Send

STARTS = {"http.response.start", "websocket.accept", "websocket.http.response.start"}
PLAIN = re.compile(r"[\w.-]{1,64}", re.ASCII)

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class RequestId:
    """Takes `X-Request-ID` over where it is short and plain, and makes one where it is not.

    It is sent back where the client gave it or may ask about the answer, an error: HTTP/2 cannot
    compress a value that it has not seen before.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        given = ""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                given = value.decode("latin-1")
        id_ = given if given and PLAIN.fullmatch(given) else f"{getrandbits(128):032x}"

        def add_header(message: Message) -> Awaitable[None]:
            if message["type"] in STARTS and (given or message.get("status", 0) >= 400):
                header = (b"x-request-id", id_.encode())
                message = {**message, "headers": [*message.get("headers", ()), header]}
            return send(message)

        token = request_id.set(id_)
        try:
            await self.app(scope, receive, add_header)
        finally:
            request_id.reset(token)
