"""The benchmark runs to its end; what it measures on a quiet machine is no test's to judge."""

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from baking import TEMPLATE

TOOLS = {"wrk": "wrk", "h2load": "nghttp2-client", "taskset": "util-linux"}
# Rows of each table of a quick run: see ESSENTIAL in benchmarks/subjects.py.
ROWS = {
    "criteria": 28,
    "requests": 35,
    "starts": 7,
    "sleeps": 10,
    "connections": 6,
    "workers": 3,
    "lists": 6,
    "idle": 5,
    "query": 1,
}


def benchmark(
    *arguments: str, path: str = os.environ["PATH"], timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=TEMPLATE,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.mark.parametrize("missing", TOOLS)
def test_missing_tool(tmp_path: Path, missing: str) -> None:
    for tool in TOOLS.keys() - {missing}:
        (tmp_path / tool).symlink_to(shutil.which(tool) or "/bin/true")
    done = benchmark("--quick", path=str(tmp_path))
    package = TOOLS[missing]
    line = f"{missing} is missing: install Debian's {package}, or {missing} itself\n"
    assert (done.returncode, done.stderr) == (1, line)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a quick run writes."""
    folder = tmp_path_factory.mktemp("benchmark")
    done = benchmark("--quick", "--output", str(folder), timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (folder / "results.md").read_text().strip()
    return folder


@pytest.fixture(scope="module")
def report(written: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((written / "results.json").read_text())
    return report


@pytest.mark.slow
def test_every_row(report: dict[str, Any]) -> None:
    assert {table: len(report[table]) for table in ROWS} == ROWS


@pytest.mark.slow
def test_figures(report: dict[str, Any]) -> None:
    """Something was measured in each row, and no request of the main table failed"""
    assert all(row["CPU µs"] > 0 and row["requests/s"] > 0 for row in report["requests"])
    assert [row for row in report["requests"] if row["errors"]] == []


@pytest.mark.slow
def test_markdown_has_the_rows(written: Path, report: dict[str, Any]) -> None:
    lines = re.findall(r"^\| (?!---).*\|$", (written / "results.md").read_text(), re.M)
    headings = len(ROWS)
    assert len(lines) == sum(ROWS.values()) + headings
    assert all(criterion["name"] in "\n".join(lines) for criterion in report["criteria"])


@pytest.mark.slow
def test_plot(written: Path, report: dict[str, Any]) -> None:
    """A bar for each row over HTTP/1.1, two for sleeps, four floors; in both colour schemes"""
    text = (written / "results.svg").read_text()
    bars = ET.fromstring(text).findall("{http://www.w3.org/2000/svg}rect")
    requests = [row for row in report["requests"] if row["protocol"] == "HTTP/1.1"]
    sleeps = [row for row in report["sleeps"] if row["protocol"] == "HTTP/1.1"]
    assert len(bars) == len(requests) + 2 * len(sleeps) + 4
    assert "prefers-color-scheme: dark" in text


def test_documents_tell_the_figures() -> None:
    """Those of the run whose results are kept"""
    kept = json.loads((TEMPLATE / "benchmarks/results/results.json").read_text())
    criteria = {criterion["name"]: criterion["seen"] for criterion in kept["criteria"]}
    told = (TEMPLATE / "README.md").read_text()
    for name, seen in criteria.items():
        user, query = "CPU time of GET /users/{user_id} over HTTP/1.1", "databases as it comes"
        if user in name or query in name:
            assert f"{seen:.1f} times" in told
    page = (TEMPLATE / "{{cookiecutter.project}}/docs/deployment.md").read_text()
    rows: dict[str, dict[tuple[str, str], str]] = {}
    for row in kept["requests"]:
        if row["application"] == "the service" and row["request"].startswith("GET"):
            cells = rows.setdefault(row["request"], {})
            cells[row["server"], row["protocol"]] = f"{row['requests/s']:,.0f}"
    assert len(rows) == 3
    for request, cells in rows.items():
        figures = [
            cells[server, protocol]
            for server in ("Hypercorn", "Granian")
            for protocol in ("HTTP/1.1", "HTTP/2")
        ]
        assert f"| `{request}` | {' | '.join(figures)} |" in page
