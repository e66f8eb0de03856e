"""A log that cannot be written: lines are lost, requests are not."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.postgres import Postgres
from faults.service import copy, serve_on
from faults.test_load import run_h2load

REQUESTS = 10_000
SINKS = {
    "full": "2>/dev/full",
    "without a reader": "2> >(exec true)",
    "never read": "2<>{fifo}",
    "closed": "2>&-",
}
PRINTED = {
    "my_service/chassis/log_output.py": {
        "del self.waiting[: os.write(self.fd, self.waiting[:PART])]": (
            "sys.stderr.write(self.waiting.decode()); self.waiting.clear()"
        ),
        "except OSError:": "except ZeroDivisionError:",
    },
}


def command(sink: str, folder: Path) -> tuple[str, ...]:
    """The service, whose standard error is this sink."""
    fifo = folder / "fifo"
    if not fifo.exists():
        os.mkfifo(fifo)
    into = SINKS[sink].format(fifo=fifo)
    return ("/bin/bash", "-c", f"exec .venv/bin/python -m my_service {into}")


@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("workers", [1, 2])
def test_requests_do_not_notice(
    extended: Path,
    postgres: Postgres,
    tmp_path: Path,
    figure: Callable[[str, str], None],
    workers: int,
    sink: str,
) -> None:
    settings = {"LOG_LEVEL": "info", "WEB_CONCURRENCY": str(workers)}
    with serve_on(extended, postgres.url(), command(sink, tmp_path), **settings) as service:
        failed, rate = run_h2load(service, "/", REQUESTS)
        alive = service.process.poll() is None
        start = time.monotonic()
        code = service.stop()
        seconds = time.monotonic() - start
    figure(
        f"a log that is {sink}, {REQUESTS:,} requests, {workers} workers",
        f"{failed} failed, {rate:.0f} a second, exit {code} after {seconds:.1f} s",
    )
    assert failed == 0
    assert alive
    assert code == 0
    assert seconds < 10


def test_control(extended: Path, postgres: Postgres, tmp_path: Path) -> None:
    """A log that is printed ends the service at its first request."""
    project = copy(extended, tmp_path, PRINTED)
    with serve_on(project, postgres.url(), LOG_LEVEL="info") as service:
        assert run_h2load(service, "/", 100)[0] == 0
    full = command("full", tmp_path)
    with (
        pytest.raises(AssertionError, match="does not answer"),
        serve_on(project, postgres.url(), full, LOG_LEVEL="info"),
    ):
        pass
