"""Runs baked services as real processes on free ports."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from baking import environment

HYPERCORN = ("hypercorn", "--config", "file:hypercorn.conf.py", "my_service.app:app")


@dataclass
class Service:
    """A running service. `log` has both its output streams."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self, signal_number: int = signal.SIGTERM, timeout: float = 30) -> int:
        """Sends the signal and waits; the exit code."""
        self.process.send_signal(signal_number)
        return self.process.wait(timeout)

    def wait_until_ready(self, path: str = "/readyz") -> None:
        wait_until_ready(self.url, self.process, self.log, path)


def free_port() -> int:
    """A port for a server to come, which gets it where it sets SO_REUSEADDR, as servers do.

    For a minute the system gives it to no one else who asks for any: a connection to it is in
    TIME-WAIT (RFC 9293, 3.3.2).
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address: tuple[str, int] = listener.getsockname()
        with socket.create_connection(address):
            listener.accept()[0].close()
    return address[1]


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path, path: str) -> None:
    """Returns when `path` answers 200; raises `AssertionError` with the log after 30 s."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url + path, verify=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{url}{path} does not answer 200:\n{log.read_text()}")


@contextmanager
def serve(
    project: Path,
    command: Sequence[str] = HYPERCORN,
    *,
    ready: str = "/readyz",
    **options: str,
) -> Iterator[Service]:
    """`launch`, whose `options` it takes, and waits until the path `ready` answers."""
    with launch(project, command, **options) as service:
        service.wait_until_ready(ready)
        yield service


@contextmanager
def launch(
    project: Path,
    command: Sequence[str] = HYPERCORN,
    *,
    scheme: str = "http",
    url: str = "",
    **variables: str,
) -> Iterator[Service]:
    """Runs `command` of the project's environment in its folder until the block ends.

    `url` is where it is reached, if that is not a port of its own.
    """
    port = free_port()
    url = url or f"{scheme}://127.0.0.1:{port}"
    log = project / f"service-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(project / ".venv/bin" / command[0]), *command[1:]],
            cwd=project,
            env=environment(**({"PORT": str(port)} | variables)),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Service(url, port, process, log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)
        log.unlink(missing_ok=True)
