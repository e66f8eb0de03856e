"""Follows a recipe of a baked project's docs/recipes/ word for word."""

import re
from pathlib import Path

from steps import follow

BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<code>.*?)^```", re.M | re.S)
FILE = re.compile(r"`([\w./-]+\.(?:py|md|toml|example))`")
IMPORT = re.compile(r"^from (?P<module>\S+) import (?P<names>.+)$")


def apply(project: Path, name: str, home: Path, revision: str = "0002", without: str = "") -> None:
    """Does what the recipe says, in its order, but leaves out the line `without`.

    The last file that the text names before a block is what the block is for: `python` is the whole
    of a new file, or goes to the end of one that is there; `diff` changes lines; `sh` is run.
    """
    text = (project / f"docs/recipes/{name}.md").read_text()
    # The numbers of the migrations: the last one's, and the recipe's.
    numbers = {"0001": f"{int(revision) - 1:04}", "0002": revision}
    text = re.sub(r"\b000[12]\b", lambda number: numbers[number[0]], text)
    if without:
        assert text.count(f"{without}\n") == 1, f"{without} is not one line of {name}"
        text = text.replace(f"{without}\n", "")
    end, path = 0, project
    for block in BLOCK.finditer(text):
        before, code = text[end : block.start()], block["code"]
        end = block.end()
        if block["language"] == "sh":
            follow(code, project, home)
            continue
        if named := FILE.findall(before):
            path = project / named[-1]
        if block["language"] == "diff":
            change(path, code)
        elif block["language"] == "python":
            append(path, code)


def append(path: Path, code: str) -> None:
    text = f"{path.read_text().rstrip()}\n\n\n" if path.exists() else ""
    path.write_text(text + code)


def change(path: Path, diff: str) -> None:
    """Each paragraph of a diff is a place of its own."""
    text = path.read_text()
    for hunk in re.split(r"^\n", diff, flags=re.M):
        lines = hunk.splitlines()
        old = [line[1:] for line in lines if line[0] in " -"]
        new = [line[1:] for line in lines if line[0] in " +"]
        if len(lines) == 2 and IMPORT.match(old[0]) and old[0] not in text.splitlines():
            old, new = merge_import(text, old[0], new[0])
        before = "".join(f"{line}\n" for line in old)
        assert f"\n{text}".count(f"\n{before}") == 1, f"{path} has not once:\n{before}"
        after = "".join(f"{line}\n" for line in new)
        text = f"\n{text}".replace(f"\n{before}", f"\n{after}")[1:]
    path.write_text(text)


def merge_import(text: str, old: str, new: str) -> tuple[list[str], list[str]]:
    """Another recipe has added to the same import."""
    match = IMPORT.match(new)
    assert match
    names = set(match["names"].split(", ")) - set(old.rpartition("import ")[2].split(", "))
    [present] = re.findall(rf"^from {re.escape(match['module'])} import .+$", text, re.M)
    known = present.rpartition("import ")[2].split(", ")
    return [present], [f"from {match['module']} import {', '.join(sorted({*known, *names}))}"]
