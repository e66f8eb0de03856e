"""Each recipe of the baked project, followed word for word in a fresh bake."""

import re
import subprocess
from pathlib import Path

import httpx
import pytest
from baking import SERVICE, bake, environment, install, run, run_owners_tests
from recipes import apply
from serving import free_port, serve
from steps import delete_demos

pytestmark = pytest.mark.slow

RECIPES = sorted(path.stem for path in (SERVICE / "docs/recipes").glob("*.md"))
# A line of a recipe, and the test of the recipe's that must fail without it.
LEFT_OUT = [
    ("crud", "    require_match(if_match, str(post.version))", "test_change_names_its_version"),
    (
        "idempotency-key",
        '            await database.execute(keep, {"key": key, "answer": answer})',
        "test_answer_is_repeated",
    ),
    (
        "outbox",
        '            await database.execute(POSTPONE, {"id": message["id"]})',
        "test_failed_message_waits_while_others_go",
    ),
]


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
    """Its own test, the owner's, and the rules for every route."""
    project = bake(tmp_path)
    install(project)
    apply(project, name, tmp_path)
    check_style(project)
    assert all((project / test).exists() for test in own_tests(project, name))
    run_owners_tests(project)


def test_recipes_go_together(tmp_path: Path) -> None:
    """In one project, whose imports ruff sorts; httpx2 renames what others import.

    They need no demos.
    """
    project = bake(tmp_path)
    delete_demos(project)
    install(project)
    number = 1
    # One of them leaves what the others build on.
    for name in sorted(set(RECIPES) - {"sqlalchemy"}, key=lambda name: (name == "httpx2", name)):
        number += "--rev-id" in (project / f"docs/recipes/{name}.md").read_text()
        apply(project, name, tmp_path, f"{number:04}")
        run(project, "ruff", "check", "--quiet", "--select", "I", "--fix")
        run(project, "ruff", "format", "--quiet")
    check_style(project)
    run_owners_tests(project)


def test_provider_of_tokens_to_try(tmp_path: Path) -> None:
    """With the scopes that it is told."""
    project = bake(tmp_path)
    install(project)
    apply(project, "bearer-tokens", tmp_path)
    issuer = {"TOKEN_ISSUER": f"http://127.0.0.1:{free_port()}"}
    with subprocess.Popen(
        [project / ".venv/bin/python", "-m", "tests.provider", "profile", "users:write"],
        cwd=project,
        env=environment(PYTHONUNBUFFERED="1", **issuer),
        stdout=subprocess.PIPE,
        text=True,
    ) as provider:
        assert provider.stdout
        headers = {"Authorization": f"Bearer {provider.stdout.readline().strip()}"}
        try:
            with serve(project, **issuer) as service:
                answer = httpx.get(f"{service.url}/me", headers=headers)
        finally:
            provider.terminate()
    assert answer.json() == {"id": "ada", "scopes": ["profile", "users:write"]}


@pytest.mark.parametrize(("name", "line", "test"), LEFT_OUT)
def test_recipe_needs_its_lines(tmp_path: Path, name: str, line: str, test: str) -> None:
    """Negative control."""
    project = bake(tmp_path)
    install(project)
    apply(project, name, tmp_path, without=line)
    with pytest.raises(AssertionError, match=rf"FAILED \S+::{test}\b"):
        run(project, "pytest", "-q", *own_tests(project, name))
