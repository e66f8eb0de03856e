"""Updates of a project whose owner has edited every module of theirs: from the layout before
`chassis/`, and between two versions of it.
"""

import ast
import io
import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
from baking import TEMPLATE, install, run, run_owners_tests
from steps import (
    bake_release,
    begin_updates,
    commit_edits,
    copy_template,
    delete_demos,
    follow,
    publish,
    read_blocks,
    read_section,
    start_repository,
    update,
)

pytestmark = pytest.mark.slow

SERVICE = "{{cookiecutter.project}}"
PACKAGE = f"{SERVICE}/{{{{cookiecutter.__package}}}}"
OLD_COMMIT = "7baa7ed"  # the last one with all modules side by side
OLD, NEW, NEXT = "v1.0.0", "v2.0.0", "v3.0.0"

# What an owner adds: files, and texts at the end of a file or in the place of others.
Edits = dict[str, list[tuple[str, str]]]
END = ""

NOTES = '''\
"""Notes, for all to read."""

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from .chassis.endpoint import endpoint
from .chassis.parse import Text
from .lifespan import State
from .settings import NOTES_TITLE


class Notes(msgspec.Struct):
    title: str
    texts: list[str]


@endpoint()
async def list_notes(request: Request[State], beginning: Text = "") -> Notes:
    """List notes"""
    query = "SELECT text FROM notes WHERE starts_with(text, :beginning) ORDER BY id"
    rows = await request.state["database"].fetch_all(query, {"beginning": beginning})
    return Notes(NOTES_TITLE, [row["text"] for row in rows])


routes = [Route("/notes", list_notes)]
'''
TEST_NOTES = """\
from typing import Any

import httpx


async def test_notes_are_listed(client: httpx.AsyncClient, state: dict[str, Any]) -> None:
    await state["database"].execute("INSERT INTO notes (text) VALUES ('one'), ('two')")
    response = await client.get("/notes?beginning=t")
    assert response.json() == {"title": "Notes", "texts": ["two"]}
"""
MIGRATION = '''\
"""Create notes, and give posts a body."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "notes",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="notes_pkey"),
    )
    op.add_column("posts", sa.Column("body", sa.Text, server_default="", nullable=False))


def downgrade() -> None:
    op.drop_column("posts", "body")
    op.drop_table("notes")
'''
FILES = {
    "my_service/notes.py": NOTES,
    "tests/test_notes.py": TEST_NOTES,
    "migrations/versions/0002_notes.py": MIGRATION,
}

DEMOS = ["my_service/demos.py", "tests/test_demos.py"]
TABLE = """\
notes = Table(
    "notes",
    metadata,
    Column("id", sa.BigInteger, Identity(always=True), primary_key=True),
    Column("text", sa.Text, nullable=False),
)


"""
FIXTURE = """

@pytest.fixture
def ours() -> str:
    return "ours"
"""
TEST = """

def test_ours(ours: str) -> None:
    assert ours == "ours"
"""
COUNT_USERS = '''\
@endpoint()
async def count_users(request: Request[State]) -> int:
    """Count users"""
    row = await request.state["database"].fetch_one("SELECT count(*) FROM users")
    return int(row[0]) if row else 0


'''
LAST_UPSTREAM = '''\
@endpoint(502, 503, 504)
async def read_last_upstream(request: Request[State]) -> Any:
    """Ask the last upstream"""
    return await fetch_json(request.state["client"], UPSTREAM_URLS[-1])


'''
SETTING = 'NOTES_TITLE = read("NOTES_TITLE", str, "Notes")\n'
HEADING = "| setting | default | |\n|---|---|---|\n"
USERS = '    Route("/users", list_users),\n'
EXTERNAL = '    Route("/external-api", read_external_api),\n'

EDITS: Edits = {
    "my_service/app.py": [("    *users.routes,\n", "    *users.routes,\n    *notes.routes,\n")],
    "my_service/home.py": [('"""Greet"""', '"""Greet everybody"""')],
    "my_service/users.py": [
        (USERS, f'{USERS}    Route("/users-count", count_users),\n'),
        ("@endpoint(409, query", f"{COUNT_USERS}@endpoint(409, query"),
    ],
    "my_service/external.py": [
        (EXTERNAL, f'{EXTERNAL}    Route("/last-upstream", read_last_upstream),\n'),
        ("routes = [\n", f"{LAST_UPSTREAM}routes = [\n"),
    ],
    "my_service/demos.py": [('"""Sleep 1 s in the thread pool"""', '"""Sleep 1 s in a thread"""')],
    "my_service/settings.py": [(END, SETTING)],
    "my_service/tables.py": [
        ('REVISION = "0001"', 'REVISION = "0002"'),
        (
            '    Column("title", sa.Text, nullable=False),\n',
            '    Column("title", sa.Text, nullable=False),\n'
            '    Column("body", sa.Text, nullable=False, server_default=""),\n',
        ),
        ("class Base(", f"{TABLE}class Base("),
    ],
    "my_service/lifespan.py": [
        ("import gc\n", "import gc\nimport time\n"),
        ("    client: httpx.AsyncClient\n", "    client: httpx.AsyncClient\n    began: float\n"),
        ("(open_client()),\n", '(open_client()),\n            "began": time.time(),\n'),
    ],
    "my_service/__main__.py": [
        ("\nif __name__", "\n# Our unit of systemd runs this.\nif __name__")
    ],
    **{
        f"tests/test_{name}.py": [(END, TEST)]
        for name in ("demos", "external", "home", "lifespan", "settings", "tables", "users")
    },
    "pyproject.toml": [('    "httpx[', '    "h2>=4",\n    "httpx[')],
    ".env.example": [(END, "\n# The title of /notes.\nNOTES_TITLE=Notes\n")],
    "README.md": [
        ("\n## Run it\n", "\nOur words.\n\n## Run it\n"),
        (HEADING, f"{HEADING}| `NOTES_TITLE` | Notes | the title of `/notes` |\n"),
    ],
}
# Where the text around an edit is another one in each layout. Those beside lines that the layout
# changed are what conflicts.
OLD_EDITS: Edits = {
    "my_service/app.py": [("home, logs, openapi", "home, logs, notes, openapi")],
    "tests/conftest.py": [("        yield client\n", f"        yield client\n{FIXTURE}")],
    # A module that has moved since takes the edit with it.
    "my_service/docs.py": [("deepLinking: true", "deepLinking: false")],
}
NEW_EDITS: Edits = {
    "my_service/app.py": [("import external, home, set", "import external, home, notes, set")],
    "tests/conftest.py": [("    return app\n", f"    return app\n{FIXTURE}")],
}

# What was another API in the old layout, and is changed by hand: now, and then.
BY_HAND = [
    ("starts_with(text, :beginning)", "starts_with(text, $1)"),
    (
        'request.state["database"].fetch_all(query, {"beginning": beginning})',
        'fetch_all(request.state["database"], query, beginning)',
    ),
    (
        'state["database"].execute("INSERT INTO',
        'fetch_all(state["database"], "INSERT INTO',
    ),
    (
        'request.state["database"].fetch_one("SELECT count',
        'fetch_one(request.state["database"], "SELECT count',
    ),
    (
        "from .chassis.endpoint import endpoint\nfrom .chassis.parse import Text\n",
        "from .chassis.database import fetch_all\nfrom .chassis.endpoint import endpoint\n"
        "from .chassis.parse import Text\n",
    ),
    (
        "import httpx\n\n\nasync def test_notes",
        "import httpx\n\nfrom my_service.chassis.database import fetch_all\n\n\n"
        "async def test_notes",
    ),
]

# For each file in conflict and each place in it, what the owner added there.
Conflicts = dict[str, list[list[str]]]
CONFLICTS: Conflicts = {
    # The import that the layout took apart.
    "my_service/app.py": [["home, logs, notes, openapi"]],
    # The line has a relative URL now.
    "my_service/chassis/docs.py": [[]],
    # Nearly all of it became `chassis/fixtures.py`.
    "tests/conftest.py": [[OLD_EDITS["tests/conftest.py"][0][1]]],
}
CONFLICT = re.compile(r"^<<<<<<< .*\n((?:.*\n)*?)=======\n((?:.*\n)*?)>>>>>>> .*\n", re.M)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the repository of the template: as it is, and with another chassis."""
    home = tmp_path_factory.mktemp("home")
    clone = start_repository(home)
    copy_template(clone)
    publish(clone, home, NEW)
    change_chassis(clone)
    publish(clone, home, NEXT)
    return home


@pytest.fixture(scope="module")
def old_project(home: Path) -> Path:
    """A bake of the old layout, from a release in the same repository."""
    archive = ["git", "archive", OLD_COMMIT]
    done = subprocess.run(archive, cwd=TEMPLATE, capture_output=True)
    if done.returncode:
        reason = f"Commit {OLD_COMMIT} is not in this clone, as in a shallow one"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    clone = home / "clone"
    follow("git rm -r --quiet .", clone, home)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as files:
        files.extractall(clone, filter="data")
    publish(clone, home, OLD)
    return begin(home, OLD, home / "old")


@pytest.fixture(scope="module")
def new_project(home: Path) -> Path:
    return begin(home, NEW, home / "new")


def begin(home: Path, tag: str, folder: Path) -> Path:
    project = bake_release(home, tag, folder)
    begin_updates(project, home)
    return project


def clone_project(project: Path, folder: Path) -> Path:
    """A copy to edit, with the branches that an update needs."""
    follow(f"git clone --quiet {project} {folder}", project, folder)
    follow("git branch template origin/template", folder, folder)
    return folder


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    if old == END:
        file.write_text(text + new)
    else:
        assert text.count(old) == 1, f"{file.name} has {old!r} {text.count(old)} times"
        file.write_text(text.replace(old, new))


def join(first: Edits, second: Edits) -> Edits:
    return {name: first.get(name, []) + second.get(name, []) for name in {**first, **second}}


def apply(project: Path, edits: Edits) -> None:
    for name, changes in edits.items():
        for old, new in changes:
            edit(project / name, old, new)


def find_modules(project: Path) -> set[str]:
    """The owner's that hold anything: those that stand directly in the package and the tests."""
    modules = [*project.glob("my_service/*.py"), *project.glob("tests/*.py")]
    return {str(each.relative_to(project)) for each in modules if each.read_text()}


def find_chassis(project: Path) -> set[str]:
    modules = [*project.glob("my_service/chassis/*.py"), *project.glob("tests/chassis/*.py")]
    return {str(each.relative_to(project)) for each in modules}


def find_lost(project: Path, edits: Edits) -> list[str]:
    """The edits that are not there."""
    return [
        f"{name}: {new}"
        for name, changes in edits.items()
        for _, new in changes
        if new not in (project / name).read_text()
    ]


def read_conflicts(project: Path, edits: Edits) -> Conflicts:
    """For each file in conflict and each place in it, what the owner added there."""
    names = follow("git diff --name-only --diff-filter=U", project, project).splitlines()
    return {
        name: [
            [new for _, new in edits.get(name, []) if new.strip() in ours]
            for ours, _ in CONFLICT.findall((project / name).read_text())
        ]
        for name in names
    }


def resolve(project: Path, edits: Edits) -> None:
    """In each place the template's text is taken, and the owner's edit made again."""
    for name in read_conflicts(project, edits):
        file = project / name
        file.write_text(CONFLICT.sub(lambda found: found[2], file.read_text()))
        text = file.read_text()
        for old, new in edits.get(name, []):
            if new not in text:
                edit(file, old, new)


def check(project: Path) -> None:
    run(project, "ruff", "check")
    run(project, "ruff", "format", "--check")
    run(project, "mypy", ".")
    print(run_owners_tests(project))


def change_chassis(template: Path) -> None:
    """Changes each module of the chassis and its tests; adds one, renames one, deletes one."""
    chassis, tests = template / PACKAGE / "chassis", template / SERVICE / "tests/chassis"
    move_function(chassis / "casts.py", "check", chassis / "checks.py")
    moved = "from .casts import Refused, accepts, port\nfrom .checks import check"
    edit(chassis / "addresses.py", "from .casts import Refused, accepts, check, port", moved)
    (chassis / "routes.py").rename(chassis / "route_paths.py")
    (chassis / "telemetry.py").unlink()
    (tests / "test_telemetry.py").unlink()
    app = template / PACKAGE / "app.py"
    [imported] = re.findall(r"^if settings\.OTEL.+\n(?:(?: .*)?\n)+", app.read_text(), re.M)
    edit(app, imported, "")
    for module in [*chassis.glob("*.py"), *tests.glob("*.py")]:
        module.write_text(rewrite(module.read_text()))


def move_function(module: Path, name: str, target: Path) -> None:
    """To a new module, from which the first one, with imports of Python's alone, imports it."""
    text = module.read_text()
    body = ast.parse(text).body
    [code] = [
        f"{ast.get_source_segment(text, each)}\n"
        for each in body
        if isinstance(each, ast.FunctionDef) and each.name == name
    ]
    imports = [
        each.end_lineno or 0 for each in body if isinstance(each, ast.Import | ast.ImportFrom)
    ]
    target.write_text(f"\n{code}")
    lines = text.splitlines(keepends=True)
    lines.insert(imports[-1], f"\nfrom .{target.stem} import {name}\n")
    module.write_text("".join(lines).replace(f"{code}\n\n", ""))


def rewrite(text: str) -> str:
    """Another docstring, another line at the end, and one more above each function and class."""
    text = text.replace(".routes import", ".route_paths import")
    text = re.sub(r"^\n\n(?=@|def |async def |class )", "\n\n# Rewritten.\n", text, flags=re.M)
    if text.startswith('"""'):
        text = text.replace('"""', '"""Rewritten.\n\n', 1)
    else:
        text = f'"""Rewritten."""\n\n{text}'
    return f"{text.rstrip()}\n\n\n# Rewritten.\n"


def age_text(text: str) -> str:
    """As it was written for the old layout's API."""
    for now, then in BY_HAND:
        text = text.replace(now, then)
    return text


def age(edits: Edits) -> Edits:
    return {name: [(old, age_text(new)) for old, new in pairs] for name, pairs in edits.items()}


def test_update_from_the_old_layout_conflicts_where_both_changed_a_line(
    home: Path, old_project: Path, new_project: Path, tmp_path: Path
) -> None:
    """What its owner does then is what the changelog says."""
    project = clone_project(old_project, tmp_path / "my-service")
    edits = join(age(EDITS), OLD_EDITS)
    assert find_modules(new_project) <= edits.keys()
    apply(project, edits)
    for name, text in FILES.items():
        (project / name).write_text(age_text(text).replace(".chassis", ""))
    commit_edits(project, home)

    with pytest.raises(AssertionError, match="Automatic merge failed"):
        update(project, home, NEW)
    assert read_conflicts(project, edits) == CONFLICTS
    assert "deepLinking: false" in (project / "my_service/chassis/docs.py").read_text()

    edits = join(age(EDITS), NEW_EDITS)
    resolve(project, edits)
    assert find_lost(project, edits) == []
    install(project)
    with pytest.raises(AssertionError, match=r"No module named 'my_service\.database'"):
        run(project, "python", "-c", "import my_service.notes")
    [steps] = read_blocks((TEMPLATE / "CHANGELOG.md").read_text(), "sh")
    follow(steps, project, home)
    for name in [*FILES, "my_service/users.py"]:
        text = (project / name).read_text()
        for now, then in BY_HAND:
            text = text.replace(then, now)
        (project / name).write_text(text)
    commit_edits(project, home)
    check(project)


def test_demos_deleted_in_the_old_layout_stay_away(
    home: Path, old_project: Path, tmp_path: Path
) -> None:
    """The template changed what the owner deleted, who deletes it again, as the README says."""
    project = clone_project(old_project, tmp_path / "my-service")
    for name in DEMOS:
        (project / name).unlink()
    app = project / "my_service/app.py"
    [line] = re.findall(r"^.*__import__.*\n", app.read_text(), re.M)
    edit(app, line, "")
    commit_edits(project, home)
    with pytest.raises(AssertionError, match="Automatic merge failed"):
        update(project, home, NEW)
    assert read_conflicts(project, {}) == {
        "my_service/app.py": [[]],
        **{name: [] for name in DEMOS},
    }

    resolve(project, {})
    delete_demos(project)
    commit_edits(project, home)
    install(project)
    run(project, "ruff", "check")
    print(run(project, "pytest", "-q", "tests/test_home.py", "tests/chassis/test_policies.py"))


def test_update_of_the_chassis_meets_nothing_of_the_owner(
    home: Path, new_project: Path, tmp_path: Path
) -> None:
    project = clone_project(new_project, tmp_path / "my-service")
    edits = {name: each for name, each in join(EDITS, NEW_EDITS).items() if name not in DEMOS}
    delete_demos(project)
    assert find_modules(project) <= edits.keys()
    apply(project, edits)
    for name, text in FILES.items():
        (project / name).write_text(text)
    commit_edits(project, home)
    before = find_chassis(project)

    update(project, home, NEXT)
    changed = follow("git diff --name-only --no-renames template~1 template", project, home)
    assert before | find_chassis(project) <= set(changed.splitlines())
    assert find_lost(project, edits) == []
    assert not (project / DEMOS[0]).exists()
    install(project)
    check(project)


def test_update_that_fails_changes_nothing(home: Path, new_project: Path, tmp_path: Path) -> None:
    """There is no such release, or no branch. The README says how to go on, and back."""
    project = clone_project(new_project, tmp_path / "my-service")
    section = read_section(project / "README.md", "Update")
    told = re.findall(r"`(git .+?)`", section)
    again = "git worktree remove --force .update/my-service"
    [get], [make], [reset], [back] = (
        [command for command in told if command.startswith(beginning)]
        for beginning in ("git fetch", "git branch template", "git reset", "git branch --force")
    )
    show = "git status --porcelain && git rev-parse main template"
    before = follow(show, project, home)
    with pytest.raises(AssertionError, match="v0"):
        update(project, home, "v0")
    assert again in told
    follow(again, project, home)
    assert follow(show, project, home) == before

    follow("git branch --quiet --delete --force template", project, home)
    follow("git update-ref -d refs/remotes/origin/template", project, home)
    with pytest.raises(AssertionError, match="template"):
        update(project, home, NEXT)
    assert not (project / ".update/my-service").exists()
    assert follow("git rev-parse main", project, home) in before
    bake = follow("git log --format=%H --grep=^Bake$", project, home).strip()
    for command in (make.replace("COMMIT", bake), get):
        follow(command, project, home)
        assert follow(show, project, home) == before

    update(project, home, NEXT)
    assert follow(show, project, home) != before
    follow(f"{reset} && {back}", project, home)
    assert follow(show, project, home) == before


def test_edit_of_the_chassis_meets_the_update(
    home: Path, new_project: Path, tmp_path: Path
) -> None:
    """Negative control: the owner changed a line of the chassis, and the template did too."""
    project = clone_project(new_project, tmp_path / "my-service")
    edits: Edits = {"my_service/chassis/drain.py": [('"""The end', '"""The very end')]}
    apply(project, edits)
    commit_edits(project, home)
    with pytest.raises(AssertionError, match="Automatic merge failed"):
        update(project, home, NEXT)
    assert read_conflicts(project, edits) == {"my_service/chassis/drain.py": [['"""The very end']]}
