"""The steps that the documents tell, and a copy of the template to follow them in."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from baking import TEMPLATE, capture


def read_section(document: Path, title: str) -> str:
    """The text under the heading, up to the next one of its level."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", document.read_text(), re.M | re.S)
    assert found, f"{document} has no section {title}"
    return found[1]


def read_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def add_code(module: Path, code: str) -> None:
    """Adds code above the routes, or at the end; an import takes the place of its like."""
    text = module.read_text()
    for line in re.findall(r"^from \S+ import ", code, re.M):
        [new] = re.findall(rf"^{re.escape(line)}.*\n", code, re.M)
        text, count = re.subn(rf"^{re.escape(line)}.*\n", new, text, flags=re.M)
        assert count == 1
        code = code.replace(new, "")
    before, routes, after = text.partition("routes = [\n")
    module.write_text(f"{before.rstrip()}\n\n\n{code.strip()}\n\n\n{routes}{after}".rstrip() + "\n")


def add_route(module: Path, section: str) -> None:
    """Adds the route that the section tells to the module's."""
    found = re.search(r"`(Route\(.*?\),)`", section)
    assert found
    text = module.read_text()
    assert "routes = [\n" in text
    module.write_text(text.replace("routes = [\n", f"routes = [\n    {found[1]}\n"))


def add_endpoint(project: Path) -> None:
    """Follows the first lesson of a baked project's README."""
    section = read_section(project / "README.md", "Add an endpoint")
    [function] = read_blocks(section, "python")
    add_code(project / "my_service/home.py", function)
    add_route(project / "my_service/home.py", section)


def delete_demos(project: Path) -> None:
    """Follows the last lesson: two files, and the lines that name them."""
    section = read_section(project / "README.md", "Delete the demos")
    module, test, named, *files = re.findall(r"`(.+?)`", section)
    (project / module).unlink()
    (project / test).unlink()
    for file in files:
        lines = (project / file).read_text().splitlines(keepends=True)
        kept = [line for line in lines if named not in line.lower()]
        assert len(kept) < len(lines)
        (project / file).write_text("".join(kept))


def copy_template(folder: Path) -> None:
    """Copies what git tracks, or would."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=TEMPLATE,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, tracked):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TEMPLATE / name, folder / name)


def follow(commands: str, folder: Path, home: Path) -> str:
    """Runs commands in one shell of somebody whose home is `home`; what they print.

    Raises `AssertionError` where one of them fails.
    """
    cache = subprocess.run(["uv", "cache", "dir"], capture_output=True, text=True, check=True)
    variables = {
        "HOME": str(home),
        "UV_CACHE_DIR": cache.stdout.strip(),
        "PATH": f"{folder / '.uv/bin'}:{os.environ['PATH']}",
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{f"GIT_{role}_NAME": "Ada" for role in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{role}_EMAIL": "ada@example.com" for role in ("AUTHOR", "COMMITTER")},
    }
    return capture(["bash", "-ec", commands], folder, variables=variables)
