import asyncio
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from {{ cookiecutter.__package }}.chassis import logs
from {{ cookiecutter.__package }}.chassis.request_id import request_id

PACKAGE = "{{ cookiecutter.__package }}"
ReadEvents = Callable[[], list[dict[str, Any]]]

logger = logging.getLogger(f"{PACKAGE}.orders")


@pytest.fixture(autouse=True)
def configured() -> Iterator[None]:
    """The root logger is as it was afterwards."""
    root = logging.getLogger()
    before = [*root.handlers], root.level
    logs.configure(PACKAGE, "info")
    yield
    root.handlers, level = before
    root.setLevel(level)


@pytest.fixture
def read_events(capsys: pytest.CaptureFixture[str]) -> ReadEvents:
    """Reads what has been logged."""
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


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
    assert (event["order_id"], event["level"]) == (7, "info")
    assert event["place"] == str(object)


def test_warning_of_a_library_is_an_event(read_events: ReadEvents) -> None:
    logging.getLogger("another.library").warning("deprecated")
    logging.getLogger("another.library").info("nothing")
    (event,) = read_events()
    assert (event["level"], event["message"]) == ("warning", "deprecated")


def test_level_is_that_of_the_package(read_events: ReadEvents) -> None:
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
    assert event["message"] == f"{__file__}:7 logs what fails with TypeError"


def test_text_that_is_no_utf_8_is_logged(read_events: ReadEvents) -> None:
    try:
        raise ValueError("\ud800")
    except ValueError:
        logger.exception("failed", extra={"odd": "\udfff"})
    (event,) = read_events()
    assert "ValueError: \ud800" in event["traceback"]
    assert event["odd"] == "\udfff"


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_lines_that_cannot_be_written_are_counted(
    read_events: ReadEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody notices but the log, which tells when it can again."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Full())
        logger.info("one")
        logger.info("two")
    logger.info("three")
    messages = [event["message"] for event in read_events()]
    assert messages == ["three", "2 lines of the log were lost"]


def test_count_of_lost_lines_is_kept_until_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that has room for one line."""

    class Small(io.StringIO):
        room = 1

        def write(self, text: str) -> int:
            self.room -= 1
            if self.room < 0:
                raise OSError(28, "No space left on device")
            return super().write(text)

    output = logs.Output()
    monkeypatch.setattr(sys, "stderr", Full())
    output.write("a\nb\n")
    monkeypatch.setattr(sys, "stderr", Small())
    output.write("c\n")
    assert output.lost == 2


def test_terminal_shows_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the id of the request where one failed."""
    monkeypatch.setattr(logs.output, "as_json", False)
    token = request_id.set("abc-1")
    logger.info("sent", extra={"order_id": 7})
    logger.error("failed")
    request_id.reset(token)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith(" INFO sent order_id=7")
    assert second.endswith(" ERROR failed [abc-1]")
