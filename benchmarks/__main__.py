"""Runs the benchmark: `uv run python -m benchmarks`."""

import argparse
import json
import os
import resource
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from faults.postgres import run_postgres
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from . import plot, report
from .criteria import judge
from .load import TOOLS
from .phases import IDLE, Bench
from .results import Results
from .rounds import QUICK, WHOLE, Rounds
from .servers import Environments


def prepare() -> tuple[set[int], set[int]]:
    """The core of the servers and the others, on which this process now is.

    Raises `SystemExit` with a line that says what the machine lacks.
    """
    for tool, package in TOOLS.items():
        if not shutil.which(tool):
            raise SystemExit(f"{tool} is missing: install Debian's {package}, or {tool} itself")
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        raise SystemExit("Two cores are needed: one for the servers, one for the load")
    files = 2 * IDLE
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < files:
        raise SystemExit(f"{files} open files are needed, {most} are allowed: see ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
    os.sched_setaffinity(0, others)
    return {first}, set(others)


def measure(rounds: Rounds, output: Path) -> None:
    core, others = prepare()
    busy, _, _ = os.getloadavg()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    results = Results()
    with (
        TemporaryDirectory() as folder,
        run_postgres() as postgres,
        Progress(*columns, console=Console(stderr=True)) as progress,
    ):
        task = progress.add_task("environments", total=None)
        environments = Environments(Path(folder), postgres)
        bench = Bench(environments, results, rounds, core, others)
        steps = list(bench.steps())
        progress.update(task, total=sum(step.seconds for step in steps))
        with bench.stack:
            for step in steps:
                progress.update(task, description=step.name)
                step.run()
                progress.advance(task, step.seconds)
        machine = report.describe_machine(environments, rounds, busy)
    figures = report.as_json(machine, results, judge(results))
    output.mkdir(parents=True, exist_ok=True)
    markdown = report.as_markdown(figures)
    print(markdown)
    (output / "results.md").write_text(markdown)
    (output / "results.json").write_text(json.dumps(figures, separators=(",", ":")) + "\n")
    (output / "results.svg").write_text(plot.draw(figures))
    print(f"Written to {output}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short rounds: see that it works")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    measure(QUICK if arguments.quick else WHOLE, arguments.output)


if __name__ == "__main__":
    main()
