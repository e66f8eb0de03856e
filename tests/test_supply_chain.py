"""What a baked project's SECURITY.md says, run; its audit is also what its workflow runs."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from baking import bake, environment, run
from steps import read_blocks, read_section

pytestmark = pytest.mark.slow

# Of pip-audit, where the package index is a copy that knows of no vulnerabilities.
UNREACHABLE = "Dependency not found on PyPI and could not be audited"


def execute(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-ec", commands],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )


def read_commands(project: Path, title: str) -> str:
    [commands] = read_blocks(read_section(project / "SECURITY.md", title), "sh")
    return commands


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bake with the requirements that SECURITY.md has uv write."""
    project = bake(tmp_path_factory.mktemp("exported"))
    export = read_commands(project, "Known vulnerabilities").splitlines()[0]
    done = execute(export, project)
    assert done.returncode == 0, done.stdout
    return project


def test_requirements_have_hashes(exported: Path) -> None:
    """Each of production's packages, none of development's"""
    text = (exported / "requirements.txt").read_text()
    requirements = re.findall(r"^([a-z].*?)(?=^[a-z]|\Z)", text, re.M | re.S)
    assert len(requirements) >= 20
    assert all("--hash=sha256:" in requirement for requirement in requirements)
    assert not re.search("^(pytest|ruff|my-service)", text, re.M)


def test_workflow_audits_the_same(exported: Path) -> None:
    steps = yaml.safe_load((exported / ".github/workflows/ci.yaml").read_text())["jobs"]["audit"]
    commands = read_commands(exported, "Known vulnerabilities").splitlines()
    assert [step.get("run") for step in steps["steps"]][-len(commands) :] == commands


def test_audit(exported: Path) -> None:
    """No vulnerability is known.

    Where the index is a copy the audit fails, as it cannot say so, and this test is skipped, but
    not on GitHub.
    """
    done = execute(read_commands(exported, "Known vulnerabilities"), exported)
    if UNREACHABLE in done.stdout and os.environ.get("GITHUB_ACTIONS") != "true":
        assert done.returncode == 1
        pytest.skip(f"The vulnerabilities cannot be had: {UNREACHABLE}")
    assert done.returncode == 0, done.stdout
    assert "No known vulnerabilities found" in done.stdout


def test_bill_of_materials(exported: Path) -> None:
    """Has all that is installed in production, and the hashes of its files"""
    done = execute(read_commands(exported, "Bill of materials"), exported)
    assert done.returncode == 0, done.stdout
    document = json.loads((exported / "sbom.json").read_text())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    parts = {part["name"]: part for part in document["components"]}
    requirements = (exported / "requirements.txt").read_text()
    required = set(re.findall(r"^([a-z0-9-]+)(?:\[.*\])?==", requirements, re.M))
    assert required <= parts.keys()
    assert "pytest" not in parts
    assert all(parts[name]["externalReferences"][0]["hashes"] for name in required)


def test_install_without_uv(exported: Path, tmp_path: Path) -> None:
    """By pip; the service knows its name too, and a file with another hash is refused"""
    project = shutil.copytree(exported, tmp_path / "project")
    commands = read_commands(project, "Install without uv")
    done = execute(commands, project)
    assert done.returncode == 0, done.stdout
    variables = {"DATABASE_URL": "postgresql://127.0.0.1/none"}
    document = ["python", "-m", "my_service.chassis.openapi", "my_service.app:app"]
    assert '"openapi"' in run(project, *document, variables=variables)
    requirements = project / "requirements.txt"
    text = re.sub("sha256:[0-9a-f]{8}", "sha256:00000000", requirements.read_text())
    requirements.write_text(text)
    shutil.rmtree(project / ".venv")
    done = execute(commands, project)
    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stdout
