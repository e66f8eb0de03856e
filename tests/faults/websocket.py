"""A WebSocket's client that shows how it was opened and how it ended."""

import asyncio

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset
from wsproto import ConnectionType, WSConnection
from wsproto.connection import Connection, ConnectionState
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    RejectConnection,
    Request,
    TextMessage,
)

SIZE = 1 << 14  # bytes that a frame of HTTP/2 may have


class Client:
    """`status` is `accepted`, or that of the refusal; `code` is of the frame that closes it."""

    accepted = 101

    def __init__(self, port: int) -> None:
        self.port = port
        self.connection: WSConnection | Connection = WSConnection(ConnectionType.CLIENT)
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
                    self.status = self.accepted
                elif isinstance(event, RejectConnection):
                    self.status = event.status_code
                else:
                    self.take(event)
                if self.status and not opened.done():
                    opened.set_result(None)

    def take(self, event: Event) -> None:
        """A message, or the end, which is answered."""
        if isinstance(event, TextMessage):
            self.parts.append(event.data)
            if event.message_finished:
                self.texts.put_nowait("".join(self.parts))
                self.parts.clear()
        elif isinstance(event, CloseConnection) and self.code is None:
            self.code = event.code
            if self.connection.state is ConnectionState.REMOTE_CLOSING:
                self.send(event.response())

    async def read_some(self) -> bytes:
        """Nothing where the server has closed the connection, in order or not."""
        try:
            return await self.reader.read(1 << 16)
        except ConnectionResetError:
            return b""

    async def ask(self, text: str) -> str:
        self.send(TextMessage(data=text))
        return await asyncio.wait_for(self.texts.get(), 10)

    async def end(self, seconds: float = 20) -> int:
        """The code, when the server has closed the connection: 1006 without a closing frame.

        Raises `TimeoutError` after so many seconds.
        """
        await asyncio.wait_for(self.reading, seconds)
        self.writer.close()
        return self.code or 1006

    def go(self) -> None:
        """Without a word."""
        self.reading.cancel()
        self.writer.transport.abort()


class Http2Client(Client):
    """The same as a stream of HTTP/2: https://www.rfc-editor.org/rfc/rfc8441"""

    accepted = 200

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.connection = Connection(ConnectionType.CLIENT)
        self.unsent = bytearray()
        self.streams = {1}
        self.status_beside = 0

    async def open(self, path: str, *headers: tuple[bytes, bytes], host: str = "localhost") -> int:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.http = H2Connection(H2Configuration(header_encoding=None))
        self.http.initiate_connection()
        request = [
            (b":method", b"CONNECT"),
            (b":protocol", b"websocket"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", host.encode()),
            (b"sec-websocket-version", b"13"),
            *((name.lower(), value) for name, value in headers),
        ]
        self.http.send_headers(1, request)
        self.writer.write(self.http.data_to_send())
        opened = asyncio.get_running_loop().create_future()
        self.reading = asyncio.create_task(self.read(opened))
        await opened
        return self.status

    def send(self, event: Event) -> None:
        self.unsent += self.connection.send(event)
        self.write()

    def ask_beside(self, path: str) -> None:
        """On the same connection, until whose end `read` goes on."""
        request = {":method": "GET", ":scheme": "http", ":authority": "localhost", ":path": path}
        self.http.send_headers(3, list(request.items()), end_stream=True)
        self.streams.add(3)
        self.write()

    def write(self) -> None:
        """As much as the server's windows take."""
        while part := self.unsent[: self.http.local_flow_control_window(1)][:SIZE]:
            self.http.send_data(1, bytes(part))
            del self.unsent[: len(part)]
        self.writer.write(self.http.data_to_send())

    async def read(self, opened: "asyncio.Future[None]") -> None:
        while data := await self.read_some():
            for event in self.http.receive_data(data):
                if isinstance(event, ResponseReceived):
                    status = int(dict(event.headers)[b":status"])
                    if event.stream_id == 1:
                        self.status = status
                        opened.set_result(None)
                    else:
                        self.status_beside = status
                elif isinstance(event, DataReceived) and event.stream_id == 1:
                    self.http.acknowledge_received_data(event.flow_controlled_length, 1)
                    if self.code is None:  # Else there is an empty part at the end.
                        self.connection.receive_data(event.data)
                    for frame in self.connection.events():
                        self.take(frame)
                elif isinstance(event, StreamEnded | StreamReset):
                    self.streams.discard(event.stream_id)
                    if not self.streams:
                        return
            self.write()
