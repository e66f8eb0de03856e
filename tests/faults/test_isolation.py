"""The tests of a project do not see each other's rows, in whatever order they run."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from baking import environment

from faults.postgres import Postgres
from faults.service import copy

# Both create the same user, which the second of them would find taken.
TESTS = (
    "tests/test_users.py::test_created_user_can_be_read_where_location_says",
    "tests/test_users.py::test_query_string_may_give_the_fields",
)
ORDERS = pytest.mark.parametrize("tests", [TESTS, TESTS[::-1]], ids=["forwards", "backwards"])


def run_tests(project: Path, postgres: Postgres, tests: tuple[str, ...]) -> str:
    """The last line of the report."""
    postgres.execute("DROP DATABASE IF EXISTS rows_test")
    postgres.execute("CREATE DATABASE rows_test")
    done = subprocess.run(
        [project / ".venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=project,
        env=environment(PYTHONPATH=str(project), TEST_DATABASE_URL=postgres.url("rows_test")),
        capture_output=True,
        text=True,
        timeout=120,
    )
    print(done.stdout + done.stderr)
    return done.stdout.splitlines()[-1]


@ORDERS
def test_rows_are_not_seen(
    project: Path, postgres: Postgres, figure: Callable[[str, str], None], tests: tuple[str, ...]
) -> None:
    report = run_tests(project, postgres, tests)
    figure(f"two tests that create the same user, first {tests[0].rpartition('::')[2]}", report)
    assert report.startswith("2 passed"), report


@ORDERS
def test_control(project: Path, postgres: Postgres, tmp_path: Path, tests: tuple[str, ...]) -> None:
    emptying = 'f"TRUNCATE {tables} RESTART IDENTITY CASCADE"'
    edits = {"tests/chassis/fixtures.py": {emptying: '"SELECT 1"'}}
    report = run_tests(copy(project, tmp_path, edits), postgres, tests)
    assert report.startswith("1 failed, 1 passed")
