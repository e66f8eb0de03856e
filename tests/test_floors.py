"""The oldest versions of the dependencies that a project allows are enough for it."""

from pathlib import Path

import pytest
from baking import bake, install, run


@pytest.mark.slow
def test_lowest_versions(tmp_path: Path) -> None:
    project = bake(tmp_path)
    install(project, "--resolution", "lowest-direct")
    run(project, "mypy", ".")
    run(project, "pytest", "-q")
