"""Answers are data: what cannot work is refused, what can is escaped, nothing of it is evaluated.

This is a Jinja extension because a hook comes too late: by then Cookiecutter has made the project's
folder and those above it, wherever its name points to. Here a refusal is one line, before that.
https://cookiecutter.readthedocs.io/en/stable/advanced/local_extensions.html
"""

import json
import keyword
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

from click import ClickException
from jinja2 import Environment
from jinja2.ext import Extension

PROJECT = Path(__file__).parents[1] / "{{cookiecutter.project}}"
PYPROJECT = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
OWN_PYPROJECT = (PROJECT.parent / "pyproject.toml").read_text(encoding="utf-8")

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
MOST_IN_NAME = 50

# TOML, YAML and XML have no place for these, and some of them end a line.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
MOST_IN_TEXT = 200

# In the strings that have no file the template's own expressions are of this form, and no others.
OWN = r"\{ ?cookiecutter(\.\w+)?( \| (package|quote|fault))? ?\}\}"
OTHER_JINJA = re.compile(r"\{(?=[{%#])(?!" + OWN + ")")

# Modules that only some versions of Python from 3.11 on have, and `test`, which none lists.
STANDARD = """
    aifc annotationlib asynchat asyncore audioop cgi cgitb chunk compression crypt distutils imghdr
    imp lib2to3 mailcap msilib nis nntplib ossaudiodev pipes profiling smtpd sndhdr spwd sunau
    telnetlib test uu xdrlib
"""
# What the dependencies bring with them, distributions and modules, and the tools that install.
BROUGHT = """
    annotated_types anyio ast_serialize attr attrs certifi cffi colorama cryptography dotenv
    fasteners greenlet h11 h2 hpack httpcore hyperframe idna iniconfig jsonschema jsonschema_path
    jsonschema_specifications lazy_object_proxy librt mako markupsafe multipart mypy_extensions
    mypyc openapi_schema_validator packaging pathable pathspec pip platformdirs pluggy priority
    psutil py pycparser pydantic pydantic_core pydantic_settings pygments python_dotenv pyyaml
    referencing rfc3339_validator rpds rpds_py setuptools six typing_extensions typing_inspection
    uv uv_build wsproto yaml
"""
# Folders that ruff and pytest pass over, and one that a project comes to have.
FOLDERS = {"build", "dist", "node_modules", "deploy"}
WINDOWS = {"con", "prn", "aux", "nul", *(port + n for port in ("com", "lpt") for n in "0123456789")}

TAKEN = {
    *keyword.kwlist,
    *sys.stdlib_module_names,
    *STANDARD.split(),
    *BROUGHT.split(),
    *FOLDERS,
    *WINDOWS,
    *(name.replace("-", "_") for name in re.findall(r'^ +"([a-z0-9-]+)[\[<>=~]', PYPROJECT, re.M)),
    # What stands beside the package, or is a name of pytest's.
    *(path.stem.lower() for folder in (PROJECT, PROJECT / "tests") for path in folder.iterdir()),
}


def package(project: object) -> str:
    """The package's name. Raises `ClickException` for a project that cannot have one."""
    name = str(project)
    if not NAME.fullmatch(name) or len(name) > MOST_IN_NAME:
        raise ClickException(
            f"project {name!r:.60} must be lower-case letters, digits and single hyphens between "
            f"them, begin with a letter, and have at most {MOST_IN_NAME} characters"
        )
    if (module := name.replace("-", "_")) in TAKEN:
        raise ClickException(
            f"project {name!r} has the name of a part of Python, of a dependency or of one of the "
            "project's own files: choose another"
        )
    return module


def quote(text: object) -> str:
    """What stands between double quotes in TOML, Python, JSON and YAML alike.

    Raises `ClickException` for what cannot, or is too long.
    """
    if CONTROL.search(line := str(text)) or len(line) > MOST_IN_TEXT:
        raise ClickException(
            f"{line!r:.60} must be one line of at most {MOST_IN_TEXT} characters, none of them a "
            "control character"
        )
    return line.replace("\\", r"\\").replace('"', r"\"")


def markdown(text: object) -> str:
    """The text as a paragraph. https://spec.commonmark.org/0.31.2/#backslash-escapes"""
    return re.sub(r"^(\d*)(?=[#+=.)-])|(?=[\\`*_[\]<>&~$])", r"\1\\", str(text).strip(" "))


def fault(variables: Mapping[str, object]) -> str:
    """What is wrong with all the variables, in JSON: null where nothing is."""
    derived = {
        "__package": (package, "project"),
        "__description": (quote, "description"),
        "__author": (quote, "author"),
    }
    try:
        for name, (derive, answer) in derived.items():
            if variables[name] != derive(variables[answer]):
                raise ClickException(f"{name} does not follow from {answer}: leave it out")
    except ClickException as error:
        return json.dumps(error.message)
    return "null"


class Answers(Extension):
    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.filters |= {
            "package": package,
            "quote": quote,
            "markdown": markdown,
            "fault": fault,
        }
        # No variable: a replay would bring an old one.
        environment.globals["template_version"] = tomllib.loads(OWN_PYPROJECT)["project"]["version"]

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Keeps Jinja in an answer as it is: Cookiecutter renders those of the command line."""
        return source if name else OTHER_JINJA.sub("{{ '{' }}", source)
