import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from baking import bake, install
from serving import Service, serve

if any(name.lower() in {"all_proxy", "http_proxy", "https_proxy"} for name in os.environ):
    # What is served here is asked directly; packages come through the shell's proxy.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

# A shell that starts the tests in the background has it ignored, and so would all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spreads the modules whose tests run one by one evenly among the others.

    A process takes the module that is next: in a row, several would wait for each other.
    """
    modules: dict[Path, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.path, []).append(item)
    places: dict[Path, float] = {}
    for alone in (False, True):
        # Backwards, as those with the longest tests stand at the end.
        kind = [path for path in reversed(modules) if is_alone(modules[path][0]) is alone]
        places |= {path: (number + 0.5) / len(kind) for number, path in enumerate(kind)}
    items[:] = [item for path in sorted(places, key=places.__getitem__) for item in modules[path]]


def is_alone(test: pytest.Item) -> bool:
    return "alone" in getattr(test, "fixturenames", ())


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default bake with its own environment. Tests that change files bake another."""
    project = bake(tmp_path_factory.mktemp("default"))
    install(project)
    return project


@pytest.fixture(scope="session")
def service(project: Path) -> Iterator[Service]:
    """The default bake, served on its embedded database."""
    with serve(project) as service:
        yield service


@pytest.fixture(scope="session")
def stopping_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second bake, whose embedded database no other test uses."""
    own = bake(tmp_path_factory.mktemp("stopping"))
    install(own)
    return own


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have recorded as a `figure`, whether they ran here or in another process."""
    lines = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "figure" and getattr(report, "when", None) == "call"
    ]
    if lines:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(sorted(lines)))
