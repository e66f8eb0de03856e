"""The production entry: `python -m`."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from .fixtures import free_port

PROJECT = Path(__file__).parents[2]


@contextmanager
def start(**settings: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Runs the service on a free port; its process and URL."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "{{ cookiecutter.__package }}"],
        cwd=PROJECT,
        env=os.environ | {"PORT": str(port), "LOG_LEVEL": "warning"} | settings,
        stderr=subprocess.PIPE,
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(url)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_request_in_flight_is_answered_at_the_end(workers: str) -> None:
    """This test is the upstream, and answers only when the service has been told to end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        upstream = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with start(WEB_CONCURRENCY=workers, UPSTREAM_URLS=",".join([upstream] * 3)) as service:
            process, url = service
            wait_for(url + "/readyz")
            with ThreadPoolExecutor() as pool:
                request = pool.submit(httpx.get, url + "/external-api")
                connection, _ = listener.accept()
                process.send_signal(signal.SIGTERM)
                time.sleep(0.5)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                connection.close()
                assert request.result(10).status_code == 200
            assert process.wait(10) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_start_names_the_file_of_its_settings(tmp_path: Path, workers: str) -> None:
    """Once, though each process reads it; what it holds is not shown."""
    file = tmp_path / "settings"
    file.write_text("LOG_LEVEL=info\n")
    with start(ENV_FILE=str(file), LOG_LEVEL="", WEB_CONCURRENCY=workers) as (process, url):
        wait_for(url + "/readyz")
        process.terminate()
        log = process.communicate(timeout=20)[1].decode()
    assert log.count(str(file)) == 1, log
    assert f"Settings come from {file}" in log


@pytest.mark.parametrize("workers", ["1", "2"])
def test_port_that_is_taken_is_one_line(workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        with start(PORT=port, WEB_CONCURRENCY=workers) as (process, _):
            _, errors = process.communicate(timeout=20)
    assert errors.decode() == f"127.0.0.1:{port} cannot be served: Address already in use\n"
    assert process.returncode == 1
