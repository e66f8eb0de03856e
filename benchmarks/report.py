"""A run in Markdown and in JSON."""

import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from baking import environment

from .criteria import Criterion
from .load import AT_ONCE
from .results import TABLES, Results
from .rounds import Rounds
from .servers import Environments

TITLES = {
    "requests": f"Requests: {AT_ONCE} at a time, one worker on one core",
    "starts": "Start: from the process to the first 200 that needed the database",
    "sleeps": "Requests that sleep for 0.1 s",
    "connections": "Connections, all active: `GET /`",
    "workers": "Workers, on all cores together with the load: `GET /`",
    "lists": "Length of a list: `GET /users?limit=`",
    "idle": "Idle connections: `GET /` at 64 active ones",
    "query": "One query, in one process",
}
NAMED = (
    *("asyncpg", "blacksheep", "databases", "fastapi", "granian", "hypercorn", "litestar"),
    *("msgspec", "pydantic", "sqlalchemy", "starlette", "uvicorn", "uvloop"),
)


def describe_machine(environments: Environments, rounds: Rounds, busy: float) -> dict[str, Any]:
    """What the figures depend on; `busy` is the load average before."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    packages: dict[str, str] = {}
    for venv in environments.venvs():
        freeze = ["uv", "pip", "freeze", "--quiet", "--python", str(venv)]
        done = subprocess.run(freeze, check=True, capture_output=True, text=True, env=environment())
        packages |= dict(line.split("==") for line in done.stdout.splitlines() if "==" in line)
    return {
        "processor": model,
        "cores": psutil.cpu_count(),
        "load average before": busy,
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "rounds": rounds.rounds,
        "seconds of load": rounds.seconds,
        "sleeping requests": rounds.sleeps,
        "packages": {name: packages[name] for name in NAMED},
    }


def as_json(
    machine: dict[str, Any], results: Results, criteria: Sequence[Criterion]
) -> dict[str, Any]:
    judged = [
        {"name": c.name, "target": c.target, "seen": c.seen, "verdict": c.verdict} for c in criteria
    ]
    return {
        "machine": machine,
        "criteria": judged,
        **{table: results.rows(table) for table in TABLES},
        # Each round, for who wants more than medians.
        "samples": {
            table: [{"row": key, "samples": samples} for key, samples in rows.items()]
            for table, rows in results.samples.items()
        },
    }


def as_markdown(report: Mapping[str, Any]) -> str:
    machine = report["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    facts = ", ".join(f"{name} {fact}" for name, fact in machine.items() if name != "packages")
    sections = [
        "# Benchmark",
        f"{facts[0].upper()}{facts[1:]}; {packages}. Medians of the rounds.",
        "## Criteria",
        as_table(report["criteria"]),
    ]
    for table, title in TITLES.items():
        sections += [f"## {title}", as_table(report[table])]
    return "\n\n".join(sections) + "\n"


def as_table(rows: Sequence[Mapping[str, str | float]]) -> str:
    names = list(rows[0])
    rule = ["---" if isinstance(rows[0][name], str) else "---:" for name in names]
    lines = [names, rule, *([as_cell(row[name]) for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_cell(value: str | float) -> str:
    """Three figures, or all before the point."""
    if isinstance(value, str):
        return value
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
