"""HTTP/3, asked by a real client, and HTTPS with the certificate that the README makes."""

import asyncio
import json
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent
from baking import TEMPLATE, bake, install, run
from serving import HYPERCORN, Service, free_port, serve

pytestmark = pytest.mark.slow

Response = tuple[dict[bytes, bytes], bytes]
COMMANDS = {"hypercorn": HYPERCORN, "runner": ("python", "-m", "my_service")}
README = (TEMPLATE / "{{cookiecutter.project}}/README.md").read_text()
TLS = dict(re.findall(r"^(TLS_\w+)=(.+)$", README, re.M))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bake with the extra, and the certificate of the README's command."""
    project = bake(tmp_path_factory.mktemp("http3"))
    install(project, "--extra", "h3")
    run(project, "python", "-m", "trustme")
    return project


class Client(QuicConnectionProtocol):
    """Sends one request after the other, and waits for the whole of each answer."""

    http: H3Connection | None = None

    async def ask(
        self, method: str, path: bytes, body: bytes = b"", *headers: tuple[bytes, bytes]
    ) -> Response:
        self.http = self.http or H3Connection(self._quic)
        stream = self._quic.get_next_available_stream_id()
        self.events: asyncio.Queue[H3Event] = asyncio.Queue()
        start = [(b":method", method.encode()), (b":scheme", b"https"), (b":path", path)]
        self.http.send_headers(stream, [*start, (b":authority", b"localhost"), *headers])
        self.http.send_data(stream, body, end_stream=True)
        self.transmit()
        received: dict[bytes, bytes] = {}
        content = b""
        ended = False
        while not ended:
            event = await self.events.get()
            if isinstance(event, HeadersReceived):
                received = dict(event.headers)
                ended = event.stream_ended
            elif isinstance(event, DataReceived):
                content += event.data
                ended = event.stream_ended
        return received, content

    def quic_event_received(self, event: QuicEvent) -> None:
        for http_event in self.http.handle_event(event) if self.http else []:
            self.events.put_nowait(http_event)


async def ask(
    project: Path,
    port: int,
    method: str,
    path: bytes,
    body: bytes = b"",
    *headers: tuple[bytes, bytes],
) -> Response:
    """On a connection of its own, to a server whose certificate must be the authority's."""
    configuration = QuicConfiguration(alpn_protocols=H3_ALPN, server_name="localhost")
    configuration.load_verify_locations(str(project / "client.pem"))
    async with (
        asyncio.timeout(10),
        connect("127.0.0.1", port, configuration=configuration, create_protocol=Client) as client,
    ):
        assert isinstance(client, Client)
        return await client.ask(method, path, body, *headers)


@contextmanager
def serve_quic(project: Path, command: tuple[str, ...]) -> Iterator[tuple[Service, int]]:
    port = free_port()
    with serve(project, command, scheme="https", QUIC_BIND=f"127.0.0.1:{port}", **TLS) as service:
        yield service, port


@pytest.fixture(scope="module", params=COMMANDS)
def served(request: pytest.FixtureRequest, project: Path) -> Iterator[tuple[Service, int]]:
    with serve_quic(project, COMMANDS[request.param]) as served:
        yield served


async def test_http_3(project: Path, served: tuple[Service, int]) -> None:
    """Validation, the database, and the log's protocol are those of the other versions"""
    service, port = served
    headers, content = await ask(project, port, "GET", b"/items/5?q=a")
    assert headers[b":status"] == b"200"
    assert json.loads(content) == {"item_id": 5, "q": "a"}
    user = json.dumps({"name": "Ada", "email": f"{port}@example.com"}).encode()
    media = (b"content-type", b"application/json")
    headers, content = await ask(project, port, "POST", b"/users", user, media)
    assert headers[b":status"] == b"201"
    assert json.loads(content)["email"] == f"{port}@example.com"
    headers, content = await ask(project, port, "POST", b"/users", b" " * (1 << 20) + user, media)
    assert headers[b":status"] == b"413"
    assert '"protocol":"HTTP/3"' in service.log.read_text()


def test_http_3_is_announced(project: Path, served: tuple[Service, int]) -> None:
    """https://www.rfc-editor.org/rfc/rfc7838, over HTTP/2, which this certificate serves too"""
    service, port = served
    context = ssl.create_default_context(cafile=project / "client.pem")
    with httpx.Client(http2=True, verify=context) as client:
        response = client.get(f"https://localhost:{service.port}/")
    assert response.http_version == "HTTP/2"
    assert response.headers["alt-svc"] == f'h3=":{port}"; ma=3600'


async def test_a_request_in_flight_is_answered_at_the_end(project: Path) -> None:
    """The runner's drain counts requests of any protocol"""
    with serve_quic(project, COMMANDS["runner"]) as (service, port):
        answer = asyncio.create_task(ask(project, port, "GET", b"/async"))
        await asyncio.sleep(0.5)
        service.process.terminate()
        headers, _ = await answer
        assert headers[b":status"] == b"200"
        assert service.process.wait(10) == 0


@pytest.mark.parametrize("path", [b"//", b"*", b""])
async def test_path_that_is_none(project: Path, served: tuple[Service, int], path: bytes) -> None:
    """The next request is served, whatever became of this one"""
    _, port = served
    with suppress(TimeoutError, ConnectionError):
        await asyncio.wait_for(ask(project, port, "GET", path), 2)
    headers, _ = await ask(project, port, "GET", b"/")
    assert headers[b":status"] == b"200"


def test_path_that_is_not_ascii(project: Path) -> None:
    """Known limit of Hypercorn, as docs/deployment.md has it: HTTP/3 ends, and only that"""
    with serve_quic(project, COMMANDS["runner"]) as (service, port):
        for path in [b"/\xff", b"/"]:
            with pytest.raises((TimeoutError, ConnectionError)):
                asyncio.run(asyncio.wait_for(ask(project, port, "GET", path), 2))
        assert httpx.get(service.url, verify=False).status_code == 200


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize(
    "settings",
    [{}, {"WEB_CONCURRENCY": "2", **TLS}],
    ids=["no certificate", "two workers"],
)
def test_what_is_missing_is_one_line(
    project: Path, command: tuple[str, ...], settings: dict[str, str]
) -> None:
    with pytest.raises(AssertionError, match=r"exited 1:\nQUIC_BIND needs [^\n]+\n$"):
        run(project, *command, variables={"QUIC_BIND": "127.0.0.1:1", **settings})
