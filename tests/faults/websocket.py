"""A WebSocket's client that shows how it was opened and how it ended."""

import asyncio

from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    RejectConnection,
    Request,
    TextMessage,
)

END_TIMEOUT = 40  # seconds: gunicorn takes 30


class Client:
    """`status` is 101, or that of the refusal; `code` is 1006 where there was no closing frame."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connection = WSConnection(ConnectionType.CLIENT)
        self.status = 0
        self.code: int | None = None
        self.parts: list[str] = []
        self.texts: asyncio.Queue[str] = asyncio.Queue()

    async def open(self, path: str, *headers: tuple[bytes, bytes], host: str = "localhost") -> int:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.send(Request(host=host, target=path, extra_headers=list(headers)))
        opened = asyncio.get_running_loop().create_future()
        self.reading = asyncio.create_task(self.read(opened))
        await opened
        return self.status

    def send(self, event: Event) -> None:
        self.writer.write(self.connection.send(event))

    async def read(self, opened: "asyncio.Future[None]") -> None:
        """Until the server closes the connection."""
        while data := await self.read_some():
            self.connection.receive_data(data)
            for event in self.connection.events():
                if isinstance(event, AcceptConnection):
                    self.status = 101
                elif isinstance(event, RejectConnection):
                    self.status = event.status_code
                elif isinstance(event, TextMessage):
                    self.parts.append(event.data)
                    if event.message_finished:
                        self.texts.put_nowait("".join(self.parts))
                        self.parts.clear()
                elif isinstance(event, CloseConnection) and self.code is None:
                    self.code = event.code
                    if self.connection.state is ConnectionState.REMOTE_CLOSING:
                        self.send(event.response())
                if self.status and not opened.done():
                    opened.set_result(None)

    async def read_some(self) -> bytes:
        """Nothing where the server has closed the connection, in order or not."""
        try:
            return await self.reader.read(1 << 16)
        except ConnectionResetError:
            return b""

    async def ask(self, text: str) -> str:
        self.send(TextMessage(data=text))
        return await asyncio.wait_for(self.texts.get(), 10)

    async def end(self) -> int:
        """The code, when the server has closed the connection."""
        await asyncio.wait_for(self.reading, END_TIMEOUT)
        self.writer.close()
        return self.code or 1006

    def go(self) -> None:
        """Without a word."""
        self.reading.cancel()
        self.writer.transport.abort()
