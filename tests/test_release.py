"""A release, rehearsed, and the update of a project to it: by the steps that the documents tell."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from baking import TEMPLATE, install, run_owners_tests
from steps import (
    add_endpoint,
    bake_release,
    begin_updates,
    commit_edits,
    copy_template,
    delete_demos,
    follow,
    publish,
    read_blocks,
    read_section,
    start_repository,
    update,
)

NEXT = "99.0.0"
SERVICE = "{{cookiecutter.project}}"
AUTHOR = "{{ 7 * 7 }} ' \\ \" 😀"


def read_version(folder: Path) -> str:
    version: str = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["version"]
    return version


def read_changes(folder: Path) -> str:
    """The newest heading of the changelog."""
    found = re.search(r"^## (.+)", (folder / "CHANGELOG.md").read_text(), re.M)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a clone of the template as it is, and the repository that it is pushed to."""
    home = tmp_path_factory.mktemp("home")
    clone = start_repository(home)
    copy_template(clone)
    publish(clone, home, f"v{read_version(TEMPLATE)}")
    return home


@pytest.fixture(scope="module")
def released(home: Path) -> Path:
    """The same folder with a new release, in which one file was changed and one deleted."""
    clone = home / "clone"
    upstream = clone / SERVICE / "{{cookiecutter.__package}}/chassis/upstream.py"
    assert "CONNECT_TIMEOUT = 2.0" in upstream.read_text()
    upstream.write_text(
        upstream.read_text().replace("CONNECT_TIMEOUT = 2.0", "CONNECT_TIMEOUT = 3.0")
    )
    (clone / SERVICE / "docs/scaling.md").unlink()
    changelog = clone / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace(read_changes(clone), NEXT, 1))
    [steps] = read_blocks(read_section(clone / "CONTRIBUTING.md", "Release"), "sh")
    steps = re.sub("VERSION=.+", f"VERSION={NEXT}", steps).replace(".uv/bin/uv", "uv")
    follow(steps, clone, home)
    return home


def bake(home: Path, version: str, *answers: str) -> Path:
    return bake_release(home, f"v{version}", home / version, *answers)


def read_record(project: Path) -> dict[str, object]:
    record: dict[str, object] = json.loads((project / ".cookiecutter.json").read_text())
    return record


def test_changes_are_unreleased_or_of_the_version() -> None:
    assert read_changes(TEMPLATE) in {"Unreleased", read_version(TEMPLATE)}


@pytest.mark.slow
def test_release_bakes_with_its_version(released: Path) -> None:
    """From a clean clone; the version is that of the tag, of the changes and of the record."""
    follow(f"git clone --quiet --branch v{NEXT} template.git clean", released, released)
    assert read_version(released / "clean") == read_changes(released / "clean") == NEXT
    assert read_record(bake(released, NEXT))["version"] == NEXT


@pytest.mark.slow
def test_update_keeps_the_edits_of_the_owner(released: Path) -> None:
    """What the template changed or deleted is so too; what the owner did, and the answers, stay."""
    project = bake(released, read_version(TEMPLATE), f"author={AUTHOR}")
    before = read_record(project)
    install(project)
    begin_updates(project, released)
    readme = project / "README.md"
    add_endpoint(project)
    delete_demos(project)
    readme.write_text(readme.read_text().replace("## Run it", "Our words.\n\n## Run it"))
    install(project)
    commit_edits(project, released)

    update(project, released, f"v{NEXT}")

    assert follow("git status --porcelain --ignored .update", project, released) == ""
    assert follow("git worktree list", project, released).count("\n") == 1
    assert read_record(project) == before | {"version": NEXT}
    assert "CONNECT_TIMEOUT = 3.0" in (project / "my_service/chassis/upstream.py").read_text()
    assert not (project / "docs/scaling.md").exists()
    assert "Our words." in readme.read_text()
    assert "def add(" in (project / "my_service/home.py").read_text()
    assert not (project / "my_service/demos.py").exists()
    assert (project / "uv.lock").exists()
    install(project)
    assert " passed" in run_owners_tests(project)
