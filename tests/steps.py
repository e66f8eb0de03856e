"""The steps that the documents tell, and a copy of the template to follow them in."""

import os
import re
import shlex
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


def add_test(project: Path) -> None:
    """Follows the lesson after that of the endpoint."""
    section = read_section(project / "README.md", "Test it")
    [test] = read_blocks(section, "python")
    named = re.search(r"`(tests/\w+\.py)`", section)
    assert named
    add_code(project / named[1], test)


def add_endpoint(project: Path) -> None:
    """Follows the first lesson of a baked project's README."""
    section = read_section(project / "README.md", "Add an endpoint")
    [function] = read_blocks(section, "python")
    add_code(project / "my_service/home.py", function)
    add_route(project / "my_service/home.py", section)


def delete_demos(project: Path) -> None:
    """Follows the last lesson: two files, the lines that name them, and the lesson itself."""
    section = read_section(project / "README.md", "Delete the demos")
    module, test, named, *files = re.findall(r"`(.+?)`", section)
    (project / module).unlink()
    (project / test).unlink()
    for file in files:
        text = (project / file).read_text().replace(f"## Delete the demos\n{section}", "")
        lines = text.splitlines(keepends=True)
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


def start_repository(home: Path) -> Path:
    """Makes a repository for releases of a template in `home`; the empty clone to fill."""
    clone = home / "clone"
    clone.mkdir()
    start = """
        git init --quiet --bare --initial-branch main ../template.git
        git init --quiet --initial-branch main
        git remote add origin ../template.git
    """
    follow(start, clone, home)
    return clone


def publish(clone: Path, home: Path, tag: str) -> None:
    """Commits what is in the clone, and pushes it with its tag."""
    commands = f"""
        git add --all
        git commit --quiet --message "Template"
        git tag {tag}
        git push --quiet --tags origin main
    """
    follow(commands, clone, home)


def bake_release(home: Path, tag: str, folder: Path, *answers: str) -> Path:
    """Bakes the release into a new folder, as the README says; the project's path."""
    [command] = read_blocks(read_section(TEMPLATE / "README.md", "Bake your own"), "sh")
    command = command.strip().replace("gh:org/template", (home / "template.git").as_uri())
    options = ["--no-input", "--checkout", tag, *answers]
    folder.mkdir()
    follow(f"{command} {shlex.join(options)}", folder, home)
    return folder / "my-service"


def find_block(project: Path, beginning: str) -> str:
    """That of the README, of whichever release, which begins with this command."""
    blocks = read_blocks((project / "README.md").read_text(), "sh")
    [block] = [block for block in blocks if block.startswith(beginning)]
    return block


def begin_updates(project: Path, home: Path) -> None:
    """Follows what the README of the project says to do before the first edit."""
    follow(find_block(project, "git init"), project, home)


def commit_edits(project: Path, home: Path) -> None:
    follow("git add --all && git commit --quiet --message Ours", project, home)


def update(project: Path, home: Path, tag: str) -> None:
    """Follows what the README of the project says; `AssertionError` where the merge conflicts."""
    url = (home / "template.git").as_uri()
    steps = find_block(project, "git worktree add").replace("gh:org/template", url)
    # A shell that lines are pasted into goes on after one that fails.
    follow("set +e\n" + steps.replace("TAG", tag), project, home)
