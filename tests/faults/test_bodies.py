"""Bodies that are too large, too slow or not wanted cost no memory and no open files."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
from serving import Service

from faults.postgres import Postgres
from faults.service import copy, protocols, serve_on

MIB = 1 << 20
JSON = {"Content-Type": "application/json"}
# The application sees the body as it comes.
UNPROTECTED = {
    "my_service/chassis/bounded_body.py": {
        "if self.accepted or (self.bounds.stream and not refusal)": "if True",
        "return max(self.size, self.length) > self.bounds.max_body_size": "return False",
        "while not (self.accepted or self.client_gone)": "while False",
    },
}


def produce(size: int) -> Iterator[bytes]:
    for _ in range(size // MIB):
        yield bytes(MIB)


def upload(
    service: Service, size: int, http2: bool, path: str = "/users", declared: bool = True
) -> tuple[int | None, float]:
    """The status, or None where there is none, and the MiB by which the service grew at most."""
    process = psutil.Process(service.process.pid)
    with httpx.Client(http1=not http2, http2=http2, timeout=60) as client:
        client.get(service.url + "/readyz")
        before = most = process.memory_info().rss

        def watch() -> Iterator[bytes]:
            nonlocal most
            for chunk in produce(size):
                most = max(most, process.memory_info().rss)
                yield chunk

        status = None
        with suppress(httpx.TransportError):
            status = client.post(
                service.url + path,
                content=watch(),
                headers=JSON | ({"Content-Length": str(size)} if declared else {}),
            ).status_code
        most = max(most, process.memory_info().rss)
    return status, (most - before) / MIB


@protocols
def test_large_body(
    extended: Path, postgres: Postgres, figure: Callable[[str, str], None], http2: bool
) -> None:
    # Over HTTP/2 the client itself takes long for as much.
    size = MIB << (6 if http2 else 10)
    with serve_on(extended, postgres.url()) as service:
        upload(service, 8 * MIB, http2)
        status, growth = upload(service, size, http2)
    protocol = "HTTP/2" if http2 else "HTTP/1.1"
    figure(f"{size >> 20} MiB POST, {protocol}", f"{status}, memory grows by {growth:.1f} MiB")
    assert status == 413
    assert growth < 10


def test_control_of_large_body(extended: Path, postgres: Postgres, tmp_path: Path) -> None:
    with serve_on(copy(extended, tmp_path, UNPROTECTED), postgres.url()) as service:
        _, growth = upload(service, 128 * MIB, http2=False)
    assert growth > 10


def count_files(service: Service) -> int:
    """Hypercorn keeps a connection that its client has closed for up to 5 s."""
    time.sleep(6)
    number: int = psutil.Process(service.process.pid).num_fds()
    return number


def refuse(service: Service) -> int:
    """By how many the open files grow with 20 POSTs that are refused whatever their body is."""
    before = count_files(service)
    for path in ["/sleep?seconds=0.3", "/livez", "/nowhere", "/users"] * 5:
        with suppress(httpx.TransportError), httpx.Client(timeout=0.6) as client:
            client.post(service.url + path, content=bytes(MIB), headers={"Content-Type": "x/y"})
    return count_files(service) - before


def test_early_refused_bodies(
    extended: Path, postgres: Postgres, figure: Callable[[str, str], None]
) -> None:
    with serve_on(extended, postgres.url()) as service:
        growth = refuse(service)
    figure("20 early-refused 1 MiB POSTs", f"{growth} more open files")
    assert growth == 0


def test_control_of_early_refused_bodies(
    extended: Path, postgres: Postgres, tmp_path: Path
) -> None:
    with serve_on(copy(extended, tmp_path, UNPROTECTED), postgres.url()) as service:
        assert refuse(service) > 0
