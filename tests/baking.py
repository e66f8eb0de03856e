"""Bakes projects and makes their environments."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from cookiecutter.main import cookiecutter

TEMPLATE = Path(__file__).parents[1]
SERVICE = TEMPLATE / "{{cookiecutter.project}}"
LEAKS = {
    *re.findall(r"^(\w+)=", (SERVICE / ".env.example").read_text(), re.M),
    "ENV_FILE",
    # Each start would compile SQLAlchemy and all the rest again: it took three times as long.
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPATH",
    "UV_PROJECT_ENVIRONMENT",
    "VIRTUAL_ENV",
}
# Each start of pytest shuts its root to other users, and PostgreSQL, which started by root runs as
# another, may be below it: so the projects' pytest has another root than this one.
OWN_ROOT = TemporaryDirectory(prefix="baked-")


def bake(folder: Path, **answers: str) -> Path:
    """Bakes into `folder`, with the defaults where no answer is given; the project's path."""
    return Path(
        cookiecutter(
            str(TEMPLATE),
            no_input=True,
            output_dir=str(folder),
            extra_context=answers,
            default_config=True,
        )
    )


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without what would leak into a project, with `variables` added."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in LEAKS and not name.startswith("PYTEST_")
    }
    # One cache for all bakes: it goes by what is in the files.
    own = {"PYTEST_DEBUG_TEMPROOT": OWN_ROOT.name, "MYPY_CACHE_DIR": f"{OWN_ROOT.name}/mypy"}
    return inherited | own | variables


def capture(
    command: Sequence[str],
    folder: Path,
    *,
    answers: str | None = None,
    timeout: float = 600,
    variables: Mapping[str, str] = {},
) -> str:
    """Runs a command in `folder`, with `answers` as its input; its output, both streams.

    Raises `AssertionError` with the output where it fails.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(**variables),
        input=answers,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, f"{command} exited {done.returncode}:\n{done.stdout}"
    return done.stdout


def run(project: Path, *command: str, variables: Mapping[str, str] = {}) -> str:
    """`capture` of a command of the project's environment in its folder."""
    return capture(
        [str(project / ".venv/bin" / command[0]), *command[1:]], project, variables=variables
    )


def install(project: Path, *options: str, python: str = sys.executable) -> None:
    """Makes the project's own environment, `.venv`."""
    subprocess.run(
        ["uv", "sync", "--quiet", "--python", python, *options],
        cwd=project,
        env=environment(),
        check=True,
        timeout=600,
    )


def run_owners_tests(project: Path) -> str:
    """The owner's and the rules for every route, not the chassis's own, nor what only sleeps."""
    tests = sorted(path.relative_to(project) for path in project.glob("tests/test_*.py"))
    rules = ["tests/chassis/test_policies.py", "tests/chassis/test_layers.py"]
    sleeping = ["--deselect", "tests/test_demos.py"]
    return run(project, "pytest", "-q", *map(str, tests), *rules, *sleeping)
