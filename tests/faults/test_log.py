"""A log that cannot be written loses lines, and no request; whoever writes, a line is an event."""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faults.load import ask, count, open_client
from faults.postgres import Postgres
from faults.service import RUNNER, copy, protocols, serve_on, workers
from faults.test_load import run_h2load

REQUESTS = 10_000
TOLD = 200
SINKS = {
    "full": "2>/dev/full",
    "without a reader": "2> >(exec true)",
    "never read": "2<>{fifo}",
    "closed": "2>&-",
}
PRINTED = {
    "my_service/chassis/log_output.py": {
        "del self.waiting[: os.write(self.fd, part)]": (
            "sys.stderr.write(self.waiting.decode()); self.waiting.clear()"
        ),
        "except OSError:": "except ZeroDivisionError:",
    },
}
# What a reader of the log would miss, and the edit that takes it away.
BARE = {
    "order_id": ("if name not in RECORD_FIELDS", "if name in {}"),
    "Expecting value": ("root = logging.getLogger()", "root = logging.getLogger(package)"),
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


async def tell(project: Path, database_url: str, workers: str, http2: bool) -> list[str]:
    """The log of a service whose handlers log at once, each three times."""
    settings = {"LOG_LEVEL": "info", "WEB_CONCURRENCY": workers}
    with serve_on(project, database_url, RUNNER, **settings) as service:
        async with open_client(service.url, http2) as client:
            paths = [f"/tell?number={number}" for number in range(TOLD)]
            ids = [{"X-Request-ID": f"id-{number}"} for number in range(TOLD)]
            answers = await asyncio.gather(
                *(ask(client, path, headers=id_) for path, id_ in zip(paths, ids, strict=True))
            )
        assert count(answers) == {200: TOLD}
        assert await asyncio.to_thread(service.stop) == 0
        return service.log.read_text().splitlines()


def read_told(lines: list[str]) -> Counter[tuple[Any, ...]]:
    """Level, id and number of the events of `tell`; raises `ValueError` for a line that is none."""
    events = [json.loads(line) for line in lines]
    told: Counter[tuple[Any, ...]] = Counter()
    for event in events:
        message = event["message"]
        if message == "Ordered":
            told[message, event["level"], event["request_id"], event["order_id"]] += 1
        for text in ("Late", "Old"):
            if f"{text}: " in message:
                number = int(message.partition(f"{text}: ")[2].split()[0])
                told[text, event["level"], event["request_id"], number] += 1
    return told


@protocols
@workers
async def test_fields_and_others_events(
    extended: Path,
    postgres: Postgres,
    figure: Callable[[str, str], None],
    workers: str,
    http2: bool,
) -> None:
    """What `extra` names is a field; another library's line and a warning are events too."""
    lines = await tell(extended, postgres.url(), workers, http2)
    told = read_told(lines)
    protocol = "HTTP/2" if http2 else "HTTP/1.1"
    figure(
        f"{TOLD} handlers that log at once, {protocol}, {workers} workers",
        f"{told.total()} events of theirs, {len(lines)} lines in all, each an event",
    )
    assert told == Counter(
        (text, level, f"id-{number}", number)
        for number in range(TOLD)
        for text, level in [("Ordered", "info"), ("Late", "warning"), ("Old", "warning")]
    )


@pytest.mark.parametrize("missing", BARE)
async def test_control_of_events(
    extended: Path, postgres: Postgres, tmp_path: Path, missing: str
) -> None:
    """Fields would not be there, and what another library says would be bare text."""
    edits = {"my_service/chassis/logs.py": dict([BARE[missing]])}
    lines = await tell(copy(extended, tmp_path, edits), postgres.url(), "1", http2=False)
    with pytest.raises((KeyError, ValueError), match=missing):
        read_told(lines)
