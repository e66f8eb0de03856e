"""What an owner adds to a bake: its tests judge faults, and neither style nor the machine."""

import re
import shutil
from pathlib import Path

import pytest
from baking import bake, install, run
from faults.service import copy, edit
from steps import read_section

pytestmark = pytest.mark.slow

OWNER = Path(__file__).with_name("owner")
APP = "my_service/app.py"
POLICIES = "tests/chassis/test_policies.py"
LAYERS = "tests/chassis/test_layers.py"

# What a developer's shell may have set.
SHELL = {"HTTP_PROXY": "http://127.0.0.1:9", "DATABASE_POOLER": "true"}
SHOW = "from my_service import settings as s; print(s.ALLOWED_HOSTS, s.DATABASE_POOLER, s.PORT)"

Edits = dict[str, dict[str, str]]


def add_module(project: Path, name: str) -> None:
    """Adds a module of the owner's, perhaps with tests, and its two lines in app.py."""
    shutil.copy(OWNER / f"{name}.py.txt", project / f"my_service/{name}.py")
    if (tests := OWNER / f"test_{name}.py.txt").exists():
        shutil.copy(tests, project / f"tests/test_{name}.py")
    app = project / APP
    [imported] = re.findall(r"^from \. import (.+)$", app.read_text(), re.M)
    names = ", ".join(sorted([*imported.split(", "), name]))
    edit(app, f"from . import {imported}\n", f"from . import {names}\n")
    edit(app, "\nroutes = [\n", f"\nroutes = [\n    *{name}.routes,\n")


def set_up_https(project: Path) -> None:
    """Follows the README, and sets two things more."""
    section = read_section(project / "README.md", "HTTPS on your machine")
    [lines] = re.findall(r"^```\n(TLS.*?)^```", section, re.M | re.S)
    run(project, "python", "-m", "trustme")
    (project / ".env").write_text(f"{lines}LOG_LEVEL=error\nALLOWED_HOSTS=example.com\n")


def test_suite_is_green_with_a_feature_on_any_machine(tmp_path: Path) -> None:
    """With the oldest dependencies that a project allows: test_workflows.py has the newest."""
    project = bake(tmp_path)
    install(project, "--resolution", "lowest-direct")
    add_module(project, "posts")
    set_up_https(project)
    assert run(project, "python", "-c", SHOW, variables=SHELL) == "['example.com'] True 8000\n"
    run(project, "ruff", "check")
    run(project, "ruff", "format", "--check")
    run(project, "mypy", ".")
    print(run(project, "pytest", "-q", variables=SHELL))


def test_machine_would_be_seen(project: Path, tmp_path: Path) -> None:
    """Negative control: what the test above sets is no idle setting."""
    seeing = copy(project, tmp_path, {"tests/chassis/fixtures.py": {"    forget_settings()\n": ""}})
    set_up_https(seeing)
    with pytest.raises(AssertionError, match=r"(?s)exited 1.*\nFAILED tests/test_home\.py"):
        run(seeing, "pytest", "-q", "tests/test_home.py", variables={"PYTHONPATH": str(seeing)})


@pytest.mark.parametrize("pages", [False, True])
def test_policies_hold_for_routes_of_every_kind(project: Path, tmp_path: Path, pages: bool) -> None:
    """With pages at the root too, which take each request that no route does."""
    owned = copy(project, tmp_path, {})
    add_module(owned, "posts")
    add_module(owned, "variants")
    add_module(owned, "features")
    shutil.copytree(OWNER / "pages", owned / "my_service/pages")
    tests = [POLICIES]
    if pages:
        edit(owned / APP, "\napp = Starlette(", "\nroutes += [variants.pages]\n\napp = Starlette(")
        tests += ["tests/test_posts.py", "tests/test_variants.py"]
    run(owned, "ruff", "check")
    run(owned, "ruff", "format", "--check")
    run(owned, "pytest", "-q", *tests, variables={"PYTHONPATH": str(owned)})


FAULTS: dict[str, tuple[str, Edits]] = {
    "errors without handlers": (
        "test_unknown_method_is_405_and_options_204",
        {APP: {"errors.handlers | database_errors.handlers": "{}"}},
    ),
    "no security headers": (
        "test_answers_have_security_headers",
        {APP: {"    Middleware(edge.SecurityHeaders),\n": ""}},
    ),
    "unknown parameters are dropped": (
        "test_unknown_query_parameter_is_422",
        {
            "my_service/chassis/parse.py": {
                "    if not query and not model.__struct_fields__:": (
                    "    query = {n: query[n] for n in query if n in model.__struct_fields__}\n"
                    "    if not query and not model.__struct_fields__:"
                )
            },
            "tests/conftest.py": {'["DEMOS"] = "true"': '["DEMOS"] = "false"'},  # They sleep.
        },
    ),
    "redirects as the client claims": (
        "test_no_path_redirects_to_the_host_that_the_client_claims",
        {
            APP: {
                "redirect_slashes = False": "redirect_slashes = True",
                "    Middleware(edge.SecurityHeaders),\n": "",
            }
        },
    ),
    "no limits": (
        "test_body_over_the_limit_is_413",
        {APP: {"    Middleware(Limits, ": "    # Middleware(Limits, "}},
    ),
    "nobody answers what is raised": (
        "test_body_over_the_limit_is_413",
        {APP: {"    Middleware(errors.ErrorResponses, around=cors),\n": ""}},
    ),
    "parameters of the path that are said to be elsewhere": (
        "test_document_is_valid_openapi_3_1",
        {"my_service/chassis/operation.py": {'"in": "path" if in_path else place': '"in": place'}},
    ),
    "operations that are not described": (
        "test_document_has_every_endpoint",
        {
            "my_service/chassis/openapi.py": {
                "            if operation:": '            if operation and method != "post":'
            }
        },
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_policy_finds_its_fault(project: Path, tmp_path: Path, fault: str) -> None:
    """Negative controls: each policy, and what it is for."""
    policy, edits = FAULTS[fault]
    faulty = copy(project, tmp_path, edits)
    with pytest.raises(AssertionError, match=rf"(?s)exited 1.*\nFAILED {POLICIES}::{policy}\b"):
        run(faulty, "pytest", "-q", f"{POLICIES}::{policy}", variables={"PYTHONPATH": str(faulty)})


def test_every_policy_has_its_fault(project: Path) -> None:
    policies = set(re.findall(r"def (test_\w+)", (project / POLICIES).read_text()))
    assert policies == {policy for policy, _ in FAULTS.values()}


@pytest.mark.parametrize(
    ("file", "code", "found"),
    [
        ("chassis/drain.py", "from ..settings import PORT", "imports my_service.settings.PORT"),
        ("chassis/drain.py", "def late(): from .. import app", "imports my_service.app"),
        ("chassis/drain.py", "def late(): import my_service", "imports my_service"),
        ("home.py", "def late(): from .app import app", "CycleError: .*my_service.app"),
    ],
)
def test_import_of_what_is_above_is_found(
    project: Path, tmp_path: Path, file: str, code: str, found: str
) -> None:
    """Negative control: at the top of a module, or late, in a function."""
    faulty = copy(project, tmp_path, {})
    module = faulty / "my_service" / file
    module.write_text(f"{module.read_text()}{code}\n")
    where = f"{file}:{module.read_text().count(chr(10))} " if file.startswith("chassis") else ""
    with pytest.raises(AssertionError, match=f"(?s)exited 1.*{where}{found}"):
        run(faulty, "pytest", "-q", LAYERS, variables={"PYTHONPATH": str(faulty)})


def test_import_for_types_alone_may_go_round(project: Path, tmp_path: Path) -> None:
    owned = copy(project, tmp_path, {})
    for name, other in [("home", "users"), ("users", "home")]:
        module = owned / f"my_service/{name}.py"
        code = f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import {other}\n"
        module.write_text(f"{module.read_text()}{code}")
    run(owned, "pytest", "-q", LAYERS, variables={"PYTHONPATH": str(owned)})
