"""The service as it is run: Hypercorn with two workers, on real sockets."""

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
import trustme
from hypercorn.utils import LifespanFailureError
from starlette.applications import Starlette

from {{ cookiecutter.__package }}.chassis.start import (
    check_start,
    describe_failure,
)

from .fixtures import free_port

PROJECT = Path(__file__).parents[2]
COMMAND = [
    "hypercorn",
    "--config",
    "file:hypercorn.conf.py",
    "{{ cookiecutter.__package }}.app:app",
]
CERTIFICATES = trustme.CA()


@contextmanager
def serve(folder: Path, **settings: str) -> Iterator[int]:
    """Runs the service until the block ends; the port."""
    port = free_port()
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [Path(sys.executable).with_name(COMMAND[0]), *COMMAND[1:]],
            cwd=PROJECT,
            env=os.environ | {"PORT": str(port), "WEB_CONCURRENCY": "2"} | settings,
            stderr=output,
            stdout=output,
        )
    try:
        deadline = time.monotonic() + 20
        while log.read_bytes().count(b"Running on") < 2:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serve(tmp_path_factory.mktemp("plain")) as port:
        yield port


@pytest.fixture(scope="module")
def tls_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("tls")
    certificate = CERTIFICATES.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    files = {"TLS_CERTFILE": str(folder / "cert.pem"), "TLS_KEYFILE": str(folder / "key.pem")}
    with serve(folder, **files) as port:
        yield port


@pytest.mark.parametrize(("http2", "version"), [(False, "HTTP/1.1"), (True, "HTTP/2")])
def test_clear_text_speaks_both_protocols(port: int, http2: bool, version: str) -> None:
    """HTTP/2 without TLS by prior knowledge."""
    with httpx.Client(http1=not http2, http2=http2) as client:
        response = client.get(f"http://127.0.0.1:{port}/readyz")
    assert (response.status_code, response.http_version) == (200, version)


def test_clear_text_upgrades_to_http_2(port: int) -> None:
    """https://www.rfc-editor.org/rfc/rfc7540#section-3.2"""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        )
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        answer = b""
        while b"Hello World" not in answer:
            received = connection.recv(4096)
            assert received, answer
            answer += received
    assert answer.startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize(("http2", "version"), [(False, "HTTP/1.1"), (True, "HTTP/2")])
def test_tls_agrees_on_the_protocol(tls_port: int, http2: bool, version: str) -> None:
    """By ALPN, which falls back silently: the version is what counts."""
    context = ssl.create_default_context()
    CERTIFICATES.configure_trust(context)
    with httpx.Client(http2=http2, verify=context) as client:
        response = client.get(f"https://localhost:{tls_port}/readyz")
    assert (response.status_code, response.http_version) == (200, version)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("PORT", "http", "PORT must be a port number"),
        ("QUIC_BIND", "127.0.0.1:8443", "QUIC_BIND needs TLS_CERTFILE"),
    ],
)
def test_failed_start_is_a_failed_command(name: str, value: str, line: str) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name(COMMAND[0]), *COMMAND[1:]],
        cwd=PROJECT,
        env=os.environ | {name: value},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


def test_failed_start_is_told_by_what_its_error_says_first() -> None:
    """PostgreSQL's errors have a detail and a hint in lines of their own."""
    try:
        raise RuntimeError("permission denied\nDETAIL:  It has no privilege.\nHINT:  Ask for one.")
    except RuntimeError:
        error = LifespanFailureError("startup", traceback.format_exc())
    assert describe_failure(error) == "The start failed: RuntimeError: permission denied"


async def fail_to_connect() -> None:
    raise ConnectionError("no redis at 1.2.3.4")


def test_failed_start_in_a_group_is_one_line() -> None:
    """As of a job that the lifespan starts in a `TaskGroup`."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail_to_connect())
            await asyncio.sleep(1)
            yield

    async def run() -> None:
        async with lifespan(Starlette()):
            pass

    line = "The start failed: ConnectionError: no redis at 1.2.3.4"
    try:
        asyncio.run(run())
    except ExceptionGroup:
        error = LifespanFailureError("startup", traceback.format_exc())
    assert describe_failure(error) == line
    with pytest.raises(SystemExit, match=line):
        asyncio.run(check_start(Starlette(lifespan=lifespan)))
