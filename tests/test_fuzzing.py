"""Thousands of requests generated from the OpenAPI document that the running service gives.

https://schemathesis.readthedocs.io sends data that fit the document and data that do not, other
methods, and sequences in which a request takes what another one answered, and compares each answer
with the document. Every operation is tested, those of a bake and those of a module that declares
all that endpoints can. One without input has nothing to vary, so that those that sleep or stop the
event loop get a handful of cases by themselves, and the thousands go to the operations that take
input.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from baking import bake, install
from serving import serve
from test_owner import add_module

pytestmark = pytest.mark.slow

FEWEST_CASES = 5000
CASES_AN_OPERATION = 100
# What a document cannot say: that a field must not be over another one, and which version
# `If-Match` must name. In a form everything is a text; and null, which may stand for a body here,
# is none of the values that Schemathesis takes for right.
CONFIG = """
[[operations]]
include-path = ["/features/ranges", "/features/tagged"]
checks.positive_data_acceptance.enabled = false

[[operations]]
include-path = ["/features/login", "/features/uploads", "/features/optional"]
checks.negative_data_rejection.enabled = false
"""
# JSON Schema takes 1.0 for an integer, and the service does not: who sends it may mean a fraction.
HOOKS = """
import schemathesis


def write_integers(value):
    if isinstance(value, dict):
        return {name: write_integers(each) for name, each in value.items()}
    if isinstance(value, list):
        return [write_integers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@schemathesis.hook
def before_call(context, case, **kwargs):
    case.body = write_integers(case.body)
"""


@dataclass
class Run:
    exit_code: int
    output: str
    report: dict[str, Any]
    operations: int
    log: str


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One run against a project of its own, since it fills the tables."""
    folder = tmp_path_factory.mktemp("fuzzing")
    project = bake(folder)
    install(project)
    for name in ("features", "posts"):
        add_module(project, name)
    (folder / "schemathesis.toml").write_text(CONFIG)
    (folder / "hooks.py").write_text(HOOKS)
    with serve(project) as service:
        document = httpx.get(f"{service.url}/openapi.json").json()
        command = [
            *(str(Path(sys.executable).with_name("schemathesis")), "run"),
            f"{service.url}/openapi.json",
            *("--mode", "all", "--continue-on-failure"),
            *("--max-examples", str(CASES_AN_OPERATION), "--request-timeout", "10"),
            *("--generation-database", "none", "--seed", "1", "--no-color"),
            *("--report", "json", "--report-json-path", "report.json"),
        ]
        hooks = os.environ | {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(folder)}
        done = subprocess.run(
            command, cwd=folder, env=hooks, capture_output=True, text=True, timeout=900
        )
        yield Run(
            done.returncode,
            done.stdout + done.stderr,
            json.loads((folder / "report.json").read_text()),
            sum(len(methods) for methods in document["paths"].values()),
            service.log.read_text(errors="replace"),
        )


def test_answers_agree_with_the_document(run: Run) -> None:
    """No check fails, in no phase; the output tells how to repeat a request that does."""
    assert run.exit_code == 0, run.output
    assert {phase["status"] for phase in run.report["phases"].values()} == {"success"}, run.output


def test_every_operation_is_tested(run: Run) -> None:
    assert run.report["operations"]["tested"] == run.operations


def test_thousands_of_cases(run: Run) -> None:
    cases = run.report["test_cases"]["generated"]
    print(f"{cases} cases in {run.report['running_time']:.0f} s")
    assert cases >= FEWEST_CASES


def test_valid_data_are_accepted(run: Run) -> None:
    """Cases get past the validation, and past e-mail addresses that are taken: users are made."""
    accepted = run.report["valid_rates"]["POST /users"]["fuzzing"]["accepted"]
    print(f"{accepted} users")
    assert accepted >= 5


def test_nothing_fails(run: Run) -> None:
    assert "Traceback" not in run.log
