import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PROGRAM = """
import sys, {{ cookiecutter.__package }}.app
print(any(name.partition(".")[0] == "opentelemetry" for name in sys.modules))
"""


def load(endpoint: str) -> subprocess.CompletedProcess[str]:
    """Imports the service with this collector; says whether OpenTelemetry was loaded."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=PROJECT,
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
        capture_output=True,
        text=True,
    )


def test_nothing_is_loaded_without_a_collector() -> None:
    assert load("").stdout == "False\n"


def test_a_collector_needs_the_extra() -> None:
    """Without it the start ends with one line."""
    done = load("http://127.0.0.1:1")
    if find_spec("opentelemetry"):
        assert done.stdout == "True\n"
    else:
        assert done.returncode == 1
        assert done.stderr.startswith("OTEL_EXPORTER_OTLP_ENDPOINT needs the otel extra")
        assert done.stderr.count("\n") == 1
