"""Each recipe of the baked project, followed word for word in a fresh bake."""

import re
from pathlib import Path

import pytest
from baking import SERVICE, bake, install, run
from recipes import apply

pytestmark = pytest.mark.slow

RECIPES = sorted(path.stem for path in (SERVICE / "docs/recipes").glob("*.md"))
RULES = ["tests/chassis/test_policies.py", "tests/chassis/test_layers.py"]


def own_tests(project: Path, name: str) -> list[str]:
    """What the recipe tells to write."""
    text = (project / f"docs/recipes/{name}.md").read_text()
    return sorted(set(re.findall(r"`(tests/test_\w+\.py)`", text)))


def check_style(project: Path) -> None:
    run(project, "ruff", "check")
    run(project, "ruff", "format", "--check")
    run(project, "mypy", ".")


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_followed(tmp_path: Path, name: str) -> None:
    """Lint, types, its own test, the owner's, and the rules for every route."""
    project = bake(tmp_path)
    install(project)
    apply(project, name, tmp_path)
    check_style(project)
    owners = sorted(str(path.relative_to(project)) for path in project.glob("tests/test_*.py"))
    assert {*own_tests(project, name)} <= {*owners}
    run(project, "pytest", "-q", *owners, *RULES)
