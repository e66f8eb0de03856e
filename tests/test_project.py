"""The default bake, checked by its own tests and tools in its own environment."""

import ast
import io
import shutil
import subprocess
import tokenize
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from baking import environment, install, run

MOST_DEPENDENCIES = 9
MOST_PACKAGES = 30
MOST_LINES = 380  # of the owner's modules
MOST_CHASSIS_LINES = 4716
MOST_APP_LINES = 60
MOST_MODULE_LINES = 150


def test_lint_and_format(project: Path) -> None:
    run(project, "ruff", "check")
    run(project, "ruff", "format", "--check")


@pytest.mark.slow
def test_types(project: Path) -> None:
    run(project, "mypy", ".")


def test_own_tests(project: Path) -> None:
    """In two processes, each with a database of its own"""
    modules = sorted(str(path.relative_to(project)) for path in project.glob("tests/**/test_*.py"))
    with ThreadPoolExecutor() as pool:
        halves = [pool.submit(run, project, "pytest", "-q", *modules[first::2]) for first in (0, 1)]
        for half in halves:
            print(half.result())


def test_few_dependencies(project: Path) -> None:
    declared = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert len(declared["dependencies"]) <= MOST_DEPENDENCIES


def test_few_packages_are_installed(project: Path, tmp_path: Path) -> None:
    """Without the development tools, and counting the project itself."""
    copy = shutil.copytree(project, tmp_path / "copy", ignore=shutil.ignore_patterns(".*"))
    install(copy, "--no-dev")
    command = ["uv", "pip", "list", "--quiet", "--format", "freeze", "--python", ".venv"]
    listed = subprocess.run(command, cwd=copy, env=environment(), capture_output=True, check=True)
    assert len(listed.stdout.splitlines()) <= MOST_PACKAGES


def code_lines(source: str) -> int:
    """Lines that hold code: neither blank nor only a comment or a docstring."""
    code = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type in {tokenize.NAME, tokenize.OP, tokenize.NUMBER, tokenize.STRING}
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node) is not None:
                docstring = node.body[0]
                code -= set(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return len(code)


def test_code_is_little(project: Path) -> None:
    package = project / "my_service"
    for folder, most in [(package, MOST_LINES), (package / "chassis", MOST_CHASSIS_LINES)]:
        sources = [path.read_text() for path in folder.glob("*.py")]
        lines = sum(map(code_lines, sources))
        all_lines = [source.count("\n") for source in sources]
        print(f"{folder.name}: {lines} lines of code; with blanks and comments {sum(all_lines)}")
        assert lines <= most
        assert max(all_lines) <= MOST_MODULE_LINES
    assert (package / "app.py").read_text().count("\n") <= MOST_APP_LINES


def test_controls_are_current(project: Path) -> None:
    """What a control of these tests takes out of the chassis is in it"""
    missing, found = [], 0
    trees = [ast.parse(path.read_text()) for path in Path(__file__).parent.rglob("*.py")]
    for edits in [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Dict)]:
        for name, changes in zip(edits.keys, edits.values, strict=True):
            file = name.value if isinstance(name, ast.Constant) else None
            if not str(file).startswith("my_service/chassis/") or not isinstance(changes, ast.Dict):
                continue
            texts = [old.value for old in changes.keys if isinstance(old, ast.Constant)]
            source = (project / str(file)).read_text()
            missing += [(file, text) for text in texts if str(text) not in source]
            found += len(texts)
    assert missing == []
    assert found > 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "old", "new", "command"),
    [
        ("my_service/home.py", "Hello World", "Goodbye", ["pytest", "-q", "tests/test_home.py"]),
        ("my_service/home.py", "import msgspec", "import os, msgspec", ["ruff", "check"]),
        ("my_service/home.py", "item_id, q)", "q, item_id)", ["mypy", "my_service"]),
        ("my_service/users.py", "endpoint(404)", "endpoint()", ["pytest", "tests/test_users.py"]),
        ("my_service/tables.py", '"0001"', '"0002"', ["pytest", "-q", "tests/test_tables.py"]),
        (".env.example", "LOG_LEVEL=", "#", ["pytest", "-q", "tests/test_settings.py"]),
    ],
)
def test_a_defect_is_found(
    project: Path, tmp_path: Path, file: str, old: str, new: str, command: list[str]
) -> None:
    """Negative controls of the checks above: a broken handler, an import in vain, a wrong type, an
    answer that the schema does not list, a revision with no migration, a setting not described.
    """
    ignore = shutil.ignore_patterns(".venv", ".postgres*", "*_cache")
    copy = shutil.copytree(project, tmp_path / "copy", ignore=ignore)
    install(copy)
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new))
    with pytest.raises(AssertionError, match="exited 1"):
        run(copy, *command)
