"""The service installed from a wheel, away from its project."""

import subprocess
import sys
from pathlib import Path

import pytest
from baking import capture, environment


@pytest.mark.slow
def test_wheel_says_that_it_needs_the_project(project: Path, tmp_path: Path) -> None:
    capture(["uv", "build", "--quiet", "--wheel", "--out-dir", str(tmp_path)], project)
    [wheel] = tmp_path.glob("*.whl")
    capture(["uv", "venv", "--quiet", "--python", sys.executable, "env"], tmp_path)
    python = str(tmp_path / "env/bin/python")
    capture(["uv", "pip", "install", "--quiet", "--python", python, str(wheel)], tmp_path)
    done = subprocess.run(
        [python, "-m", "my_service"],
        cwd=tmp_path,
        env=environment(DATABASE_URL="postgresql://127.0.0.1/none"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    [line] = (done.stdout + done.stderr).splitlines()
    told = "/hypercorn.conf.py is missing: run the service from its project, after uv sync"
    assert line.endswith(told)
