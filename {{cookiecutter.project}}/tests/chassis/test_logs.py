import asyncio
import fcntl
import json
import logging
import os
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from {{ cookiecutter.__package }}.chassis import logs
from {{ cookiecutter.__package }}.chassis.log_output import Output
from {{ cookiecutter.__package }}.chassis.request_id import request_id

PACKAGE = "{{ cookiecutter.__package }}"
ReadEvents = Callable[[], list[dict[str, Any]]]

logger = logging.getLogger(f"{PACKAGE}.orders")


@pytest.fixture(autouse=True)
def configured() -> Iterator[None]:
    """The root logger is as it was afterwards."""
    root = logging.getLogger()
    before = [*root.handlers], root.level
    logs.configured.clear()
    logs.configure(PACKAGE, "info")
    yield
    root.handlers, level = before
    root.setLevel(level)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that is logged to."""
    file = tmp_path / "log"
    with file.open("wb") as opened:
        monkeypatch.setattr(logs.output, "fd", opened.fileno())
        yield file


@pytest.fixture
def read_events(log: Path) -> ReadEvents:
    """Reads what has been logged."""
    return lambda: [json.loads(line) for line in log.read_text().splitlines()]


def test_record_is_an_event(read_events: ReadEvents) -> None:
    token = request_id.set("abc-1")
    logger.info("%s is sent", "it")
    request_id.reset(token)
    (event,) = read_events()
    assert event.keys() == {"time", "level", "message", "request_id", "trace_id"}
    assert (event["level"], event["message"]) == ("info", "it is sent")
    assert event["request_id"] == "abc-1"


def test_extra_is_fields_of_the_event(read_events: ReadEvents) -> None:
    """Of any type, and beside the event's own fields, which it does not replace."""
    logger.info("sent", extra={"order_id": 7, "place": object, "level": "loud"})
    (event,) = read_events()
    assert (event["order_id"], event["level"], event["level_"]) == (7, "info", "loud")
    assert event["place"] == str(object)


def test_warning_of_a_library_is_an_event(read_events: ReadEvents) -> None:
    logging.getLogger("another.library").warning("deprecated")
    logging.getLogger("another.library").info("nothing")
    (event,) = read_events()
    assert (event["level"], event["message"]) == ("warning", "deprecated")


def test_level_is_that_of_the_package(read_events: ReadEvents) -> None:
    logs.configured.clear()
    logs.configure(PACKAGE, "error")
    logger.warning("nothing")
    logging.getLogger("another.library").warning("nothing")
    logger.error("failed")
    (event,) = read_events()
    assert event["message"] == "failed"


async def test_what_asyncio_logs_is_an_event(read_events: ReadEvents) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": "an error is lost"})
    (event,) = read_events()
    assert (event["level"], event["message"]) == ("error", "an error is lost")


def test_call_that_cannot_be_formatted_raises_nothing(read_events: ReadEvents) -> None:
    """The event says where it is."""
    record = logger.makeRecord("x", logging.INFO, __file__, 7, "%d", ("three",), None)
    logs.EventHandler().handle(record)
    (event,) = read_events()
    assert event["level"] == "error"
    assert event["message"] == f"{__file__}:7 logs what fails with TypeError: %d"


def test_error_that_cannot_be_formatted_has_its_traceback(read_events: ReadEvents) -> None:
    try:
        raise KeyError("lost")
    except KeyError as error:
        exc_info = type(error), error, error.__traceback__
    record = logger.makeRecord("x", logging.INFO, __file__, 7, "%d", ("three",), exc_info)
    logs.EventHandler().handle(record)
    (event,) = read_events()
    assert event["traceback"].endswith("KeyError: 'lost'\n")


class Unprintable:
    def __str__(self) -> str:
        raise ValueError


def test_message_that_is_no_text_raises_nothing(read_events: ReadEvents) -> None:
    record = logger.makeRecord("x", logging.INFO, __file__, 7, Unprintable(), (), None)
    logs.EventHandler().handle(record)
    (event,) = read_events()
    assert event["message"].endswith("logs what fails with ValueError")


def test_second_call_leaves_what_an_owner_has_set_up() -> None:
    """The server's configuration calls it again, after app.py."""
    root, other = logging.getLogger(), logging.NullHandler()
    root.handlers = [other]
    logging.getLogger(PACKAGE).setLevel(logging.DEBUG)
    assert logs.configure(PACKAGE, "info").level == logging.DEBUG
    assert root.handlers == [other]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="It is a field of the record.")
def test_name_of_a_task_may_be_extra(read_events: ReadEvents) -> None:
    logger.info("sent", extra={"taskName": "upkeep"})
    (event,) = read_events()
    assert event["taskName"] == "upkeep"


def test_text_that_is_no_utf_8_is_logged(read_events: ReadEvents) -> None:
    try:
        raise ValueError("\ud800")
    except ValueError:
        logger.exception("failed", extra={"odd": "\udfff", "order_id": 7})
    (event,) = read_events()
    assert (event["trace_id"], event["order_id"]) == (None, 7)
    assert "ValueError: \ud800" in event["traceback"]
    assert event["odd"] == "\udfff"


def test_warning_of_python_is_an_event(read_events: ReadEvents) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # The tests make them errors, and catch them.
        logging.captureWarnings(False)
        logs.configured.clear()
        logs.configure(PACKAGE, "info")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    (event,) = read_events()
    assert event["level"] == "warning"
    assert "DeprecationWarning: old" in event["message"]


HOOKS = """
import sys, threading
from {{ cookiecutter.__package }}.chassis import logs

class Odd:
    def __del__(self):
        raise ValueError("in a finalizer")

logs.configure("{{ cookiecutter.__package }}", "info")
thread = threading.Thread(target=lambda: 1 / 0, name="upkeep")
thread.start()
thread.join()
odd = Odd()
del odd
raise KeyError("at the top")
"""


def test_error_that_nobody_caught_is_an_event() -> None:
    """In a thread, in a finalizer, and in the program itself."""
    done = subprocess.run([sys.executable, "-c", HOOKS], capture_output=True, text=True, timeout=20)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [event["level"] for event in events] == ["error"] * 3
    assert events[0]["message"] == "upkeep failed"
    for event, name in zip(events, ["ZeroDivisionError", "ValueError", "KeyError"], strict=True):
        assert name in event["traceback"]
    assert done.returncode == 1


def test_stack_is_a_field(read_events: ReadEvents) -> None:
    logger.info("here", stack_info=True)
    (event,) = read_events()
    assert "test_stack_is_a_field" in event["stack"]


def fill(pipe: int) -> int:
    """How many bytes a pipe took until it was full."""
    os.set_blocking(pipe, False)
    size = 0
    with suppress(BlockingIOError):
        while True:
            size += os.write(pipe, bytes(1000))
    os.set_blocking(pipe, True)
    return size


def test_reader_that_does_not_read_stops_nobody(
    read_events: ReadEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some lines wait, later ones are lost, and the log tells how many when it can again."""
    read, write = os.pipe()
    fill(write)
    with monkeypatch.context() as patch:
        patch.setattr(logs.output, "fd", write)
        for number in range(5000):
            logger.info("%s", f"{number} " + "x" * 50)
    logger.info("last")
    os.close(read)
    os.close(write)
    events = read_events()
    kept = len(events) - 2
    assert [event["message"].split()[0] for event in events[:kept]] == [str(n) for n in range(kept)]
    assert events[kept]["message"] == "last"
    assert events[-1]["message"] == f"{5000 - kept} lines of the log were lost"


@pytest.mark.parametrize("sink", ["full", "broken", "closed", "none"])
def test_sink_that_fails_is_no_error(
    read_events: ReadEvents, monkeypatch: pytest.MonkeyPatch, sink: str
) -> None:
    """Its lines are written when it can be, as on a disk that has room again."""
    read, write = os.pipe()
    os.close(read)
    if sink == "full":
        write = os.open("/dev/full", os.O_WRONLY)
    if sink == "closed":
        os.close(write)
    with monkeypatch.context() as patch:
        patch.setattr(logs.output, "fd", None if sink == "none" else write)
        logger.info("one")
    logger.info("two")
    assert [event["message"] for event in read_events()] == ["one", "two"]


def test_part_of_a_line_that_was_written_is_completed(
    read_events: ReadEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a pipe takes it that does not block."""
    read, write = os.pipe()
    size = fill(write)
    os.read(read, 4096)
    os.set_blocking(write, False)
    with monkeypatch.context() as patch:
        patch.setattr(logs.output, "fd", write)
        logger.info("x" * 10_000)
        taken = os.read(read, 100_000)[size - 4096 :]
        logger.info("last")
        taken += os.read(read, 100_000)
    assert [len(json.loads(line)["message"]) for line in taken.splitlines()] == [10_000, 4]


@pytest.mark.parametrize("sink", ["file", "pipe"])
@pytest.mark.parametrize("length", [100, 5000])
def test_lines_of_two_workers_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sink: str, length: int
) -> None:
    """Those that are written together, and those that are longer than a pipe takes at once."""
    file = tmp_path / "log"
    write = os.open(file, os.O_WRONLY | os.O_CREAT)
    if sink == "pipe":
        read, write = os.pipe()
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 1 << 20)
    lines = [bytes([letter]) * length + b"\n" for letter in b"ab"]
    with open(write, "w") as stderr, ThreadPoolExecutor() as pool:
        monkeypatch.setattr(sys, "stderr", stderr)
        workers = [Output(bytes) for _ in range(2)]
        for worker in workers:
            worker.open()
        for _ in range(50):
            list(pool.map(Output.write, workers, [line * (6000 // length) for line in lines]))
    written = os.read(read, 1 << 20) if sink == "pipe" else file.read_bytes()
    assert Counter(written.splitlines(True)) == dict.fromkeys(lines, 50 * (6000 // length))


@pytest.mark.parametrize("stream", ["2>&-", "2>/dev/full", "2> >(true)"])
def test_exit_code_does_not_depend_on_the_log(stream: str) -> None:
    """Python would make it 120, where it cannot flush."""
    program = f"from {PACKAGE}.chassis import logs; logs.configure('{PACKAGE}', 'info').info('x')"
    command = f'exec {sys.executable} -c "{program}" {stream}'
    assert subprocess.run(["/bin/bash", "-c", command], timeout=20).returncode == 0


def test_terminal_shows_text(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the id of the request where one failed."""
    monkeypatch.setattr(logs.output, "is_terminal", True)
    token = request_id.set("abc-1")
    logger.info("sent", extra={"order_id": 7})
    logger.error("failed")
    request_id.reset(token)
    first, second = log.read_text().splitlines()
    assert first.endswith(" INFO sent order_id=7")
    assert second.endswith(" ERROR failed [abc-1]")
