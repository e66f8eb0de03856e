"""What a bake writes and prints, from wherever it is started."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from baking import TEMPLATE, bake, capture, environment

PATHS = {
    ".cookiecutter.json",
    ".dockerignore",
    ".editorconfig",
    ".env.example",
    ".gitattributes",
    ".github/dependabot.yml",
    ".github/workflows/ci.yaml",
    ".gitignore",
    "AGENTS.md",
    "Dockerfile",
    "README.md",
    "SECURITY.md",
    "asgi.py",
    "compose.yaml",
    "deploy/kubernetes/autoscaler.yaml",
    "deploy/kubernetes/deployment.yaml",
    "deploy/kubernetes/disruption.yaml",
    "deploy/kubernetes/kustomization.yaml",
    "deploy/kubernetes/migrate.yaml",
    "deploy/kubernetes/network.yaml",
    "deploy/kubernetes/service.yaml",
    "docs/deployment.md",
    "docs/migrations.md",
    "docs/recipes.md",
    "docs/recipes/bearer-tokens.md",
    "docs/recipes/crud.md",
    "docs/recipes/event-streams.md",
    "docs/recipes/httpx2.md",
    "docs/recipes/idempotency-key.md",
    "docs/recipes/metrics.md",
    "docs/recipes/outbox.md",
    "docs/recipes/periodic-tasks.md",
    "docs/recipes/rate-limits.md",
    "docs/recipes/read-replica.md",
    "docs/recipes/sqlalchemy.md",
    "docs/recipes/uploads.md",
    "docs/recipes/websockets.md",
    "docs/scaling.md",
    "hypercorn.conf.py",
    "migrations/env.py",
    "migrations/script.py.mako",
    "migrations/versions/0001_users_and_posts.py",
    "my_service/__init__.py",
    "my_service/__main__.py",
    "my_service/app.py",
    "my_service/chassis/__init__.py",
    "my_service/chassis/addresses.py",
    "my_service/chassis/answers.py",
    "my_service/chassis/backend.py",
    "my_service/chassis/body.py",
    "my_service/chassis/bounded_body.py",
    "my_service/chassis/bounds.py",
    "my_service/chassis/casts.py",
    "my_service/chassis/components.py",
    "my_service/chassis/config.py",
    "my_service/chassis/connect.py",
    "my_service/chassis/connector.py",
    "my_service/chassis/database.py",
    "my_service/chassis/database_errors.py",
    "my_service/chassis/database_parameters.py",
    "my_service/chassis/database_service.py",
    "my_service/chassis/database_tls.py",
    "my_service/chassis/database_url.py",
    "my_service/chassis/docs.py",
    "my_service/chassis/download.py",
    "my_service/chassis/drain.py",
    "my_service/chassis/edge.py",
    "my_service/chassis/embedded.py",
    "my_service/chassis/endpoint.py",
    "my_service/chassis/error_groups.py",
    "my_service/chassis/errors.py",
    "my_service/chassis/expressions.py",
    "my_service/chassis/fields.py",
    "my_service/chassis/forwarded.py",
    "my_service/chassis/health.py",
    "my_service/chassis/in_flight.py",
    "my_service/chassis/keeper.py",
    "my_service/chassis/layers.py",
    "my_service/chassis/limits.py",
    "my_service/chassis/log_output.py",
    "my_service/chassis/logs.py",
    "my_service/chassis/loops.py",
    "my_service/chassis/markers.py",
    "my_service/chassis/migrations.py",
    "my_service/chassis/openapi.py",
    "my_service/chassis/operation.py",
    "my_service/chassis/parameters.py",
    "my_service/chassis/parse.py",
    "my_service/chassis/places.py",
    "my_service/chassis/pool.py",
    "my_service/chassis/postgres.py",
    "my_service/chassis/postgres_folders.py",
    "my_service/chassis/reload.py",
    "my_service/chassis/request_id.py",
    "my_service/chassis/request_log.py",
    "my_service/chassis/results.py",
    "my_service/chassis/route_limits.py",
    "my_service/chassis/routes.py",
    "my_service/chassis/schema.py",
    "my_service/chassis/security.py",
    "my_service/chassis/server.py",
    "my_service/chassis/sessions.py",
    "my_service/chassis/signature.py",
    "my_service/chassis/start.py",
    "my_service/chassis/supervisor.py",
    "my_service/chassis/telemetry.py",
    "my_service/chassis/transaction.py",
    "my_service/chassis/upstream.py",
    "my_service/chassis/violations.py",
    "my_service/chassis/watched.py",
    "my_service/chassis/watched_websocket.py",
    "my_service/chassis/websockets.py",
    "my_service/demos.py",
    "my_service/external.py",
    "my_service/home.py",
    "my_service/lifespan.py",
    "my_service/settings.py",
    "my_service/tables.py",
    "my_service/users.py",
    "pyproject.toml",
    "tests/__init__.py",
    "tests/chassis/__init__.py",
    "tests/chassis/fixtures.py",
    "tests/chassis/test_answers.py",
    "tests/chassis/test_asgi.py",
    "tests/chassis/test_bursts.py",
    "tests/chassis/test_casts.py",
    "tests/chassis/test_config.py",
    "tests/chassis/test_database.py",
    "tests/chassis/test_database_errors.py",
    "tests/chassis/test_database_url.py",
    "tests/chassis/test_declarations.py",
    "tests/chassis/test_docs.py",
    "tests/chassis/test_edge.py",
    "tests/chassis/test_embedded.py",
    "tests/chassis/test_endpoint.py",
    "tests/chassis/test_errors.py",
    "tests/chassis/test_health.py",
    "tests/chassis/test_hosts.py",
    "tests/chassis/test_layers.py",
    "tests/chassis/test_limits.py",
    "tests/chassis/test_logs.py",
    "tests/chassis/test_loops.py",
    "tests/chassis/test_main.py",
    "tests/chassis/test_migrations.py",
    "tests/chassis/test_openapi.py",
    "tests/chassis/test_parameters.py",
    "tests/chassis/test_parse.py",
    "tests/chassis/test_passwords.py",
    "tests/chassis/test_policies.py",
    "tests/chassis/test_pool.py",
    "tests/chassis/test_providers.py",
    "tests/chassis/test_request_id.py",
    "tests/chassis/test_request_log.py",
    "tests/chassis/test_route_limits.py",
    "tests/chassis/test_schema.py",
    "tests/chassis/test_schema_changes.py",
    "tests/chassis/test_security.py",
    "tests/chassis/test_server.py",
    "tests/chassis/test_telemetry.py",
    "tests/chassis/test_transactions.py",
    "tests/chassis/test_upkeep.py",
    "tests/chassis/test_upstream.py",
    "tests/conftest.py",
    "tests/test_demos.py",
    "tests/test_external.py",
    "tests/test_home.py",
    "tests/test_lifespan.py",
    "tests/test_settings.py",
    "tests/test_tables.py",
    "tests/test_users.py",
}

EXECUTABLE: set[str] = set()

NEXT_STEPS = """
my-service is ready. With uv:

    cd my-service
    uv run hypercorn --config file:hypercorn.conf.py my_service.app:app
    uv run pytest

Without uv: README.md has commands that fetch it.
"""

# The command, ended where it would open a connection or look a name up.
OFFLINE = """
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        sys.exit(f"{event} {arguments}")

sys.addaudithook(refuse)

from cookiecutter.cli import main

main()
"""

TEMPLATE_NAME = "{{cookiecutter.project}}"
CODE = re.compile(r"^```.*?^```", re.M | re.S)
Tree = dict[str, tuple[int, bytes]]


def read_tree(folder: Path) -> Tree:
    """The mode and the content of each file by its path."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mode & 0o777, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def run_cookiecutter(
    folder: Path, *arguments: str, answers: str = "", wrapper: tuple[str, ...] = ()
) -> str:
    """Runs the command in `folder`, which is its home too; what it prints.

    Raises `AssertionError` where it fails.
    """
    command = [*wrapper, sys.executable, "-c", OFFLINE, *arguments]
    return capture(command, folder, answers=answers, timeout=60, variables={"HOME": str(folder)})


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return read_tree(bake(tmp_path_factory.mktemp("bake")))


def test_paths(tree: Tree) -> None:
    """A bake writes these files and no others"""
    assert tree.keys() == PATHS


def test_executable(tree: Tree) -> None:
    assert {path for path, (mode, _) in tree.items() if mode & 0o111} == EXECUTABLE


def test_rendered(tree: Tree) -> None:
    """Nothing of the template's language is left in any file; `${{ }}` is that of workflows"""
    left = {
        path
        for path, (_, content) in tree.items()
        if re.search(rb"(?i)cookiecutter\.(?!json)|(?<!\$)\{\{|\{%|%\}", content)
    }
    assert left == set()


def test_whitespace(tree: Tree) -> None:
    """Every file that is not empty ends with one newline; no line ends in a space or a return"""
    untidy = {
        path
        for path, (_, content) in tree.items()
        if re.search(rb"[ \t\r]$|\n\n\Z|[^\n]\Z", content, re.MULTILINE)
    }
    assert untidy == set()


def read_links(folder: Path) -> list[tuple[Path, str]]:
    """The pages below a folder, each with the paths that it links to."""
    return [
        (page, link)
        for page in folder.rglob("*.md")
        if not {".venv", "node_modules", TEMPLATE_NAME} & set(page.relative_to(folder).parts)
        for link in re.findall(r"\]\(([^):#]+)(?:#[^)]*)?\)", CODE.sub("", page.read_text()))
    ]


def test_links(tmp_path: Path) -> None:
    """What the pages of the template and of a baked project link to is there"""
    for folder in (TEMPLATE, bake(tmp_path)):
        links = read_links(folder)
        assert len(links) > 10
        assert [
            (page.name, link) for page, link in links if not (page.parent / link).exists()
        ] == []


def test_map_is_complete(tree: Tree) -> None:
    """The README of a baked project says of each module of the package what is in it"""
    modules = {Path(path).name for path in tree if re.match(r"my_service/.*\w\.py$", path)}
    named = set(re.findall(r"\b\w+\.py\b|__\w+__\.py", tree["README.md"][1].decode()))
    assert modules - named == {"__init__.py"}


def test_rules_are_short(tree: Tree) -> None:
    for content in (tree["AGENTS.md"][1], (TEMPLATE / "AGENTS.md").read_bytes()):
        assert len(content.splitlines()) <= 40


def test_repeatable(tmp_path: Path, tree: Tree) -> None:
    assert read_tree(bake(tmp_path)) == tree


def test_offline(tmp_path: Path, tree: Tree) -> None:
    """A bake from a path needs no network, for its hooks neither, and prints the next steps"""
    wrapper = ("unshare", "--map-root-user", "--net")
    try:
        isolates = subprocess.run([*wrapper, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        isolates = False
    printed = run_cookiecutter(
        tmp_path, str(TEMPLATE), "--no-input", wrapper=wrapper if isolates else ()
    )
    assert printed == NEXT_STEPS
    assert read_tree(tmp_path / "my-service") == tree


def measure_bake(folder: Path, template: Path) -> float:
    """Seconds of a processor."""
    folder.mkdir()
    before = os.times()
    run_cookiecutter(folder, str(template), "--no-input")
    after = os.times()
    user = after.children_user - before.children_user
    return user + after.children_system - before.children_system


def test_fast(tmp_path: Path) -> None:
    """A bake takes less than four times the work of a template of one file, most of it imports"""
    one = tmp_path / "one"
    (one / TEMPLATE_NAME).mkdir(parents=True)
    (one / TEMPLATE_NAME / "README.md").touch()
    (one / "cookiecutter.json").write_text('{"project": "one"}')
    control = measure_bake(tmp_path / "control", one)
    ours = measure_bake(tmp_path / "ours", TEMPLATE)
    print(f"{ours:.2f} s, the control {control:.2f} s")
    assert ours < 4 * control


def test_from_repository(tmp_path: Path, tree: Tree) -> None:
    """A bake from the URL of a repository is the bake from its files"""
    repository = tmp_path / "template.git"
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.com"]
    for command in (
        ["init", "--quiet", "--bare", str(repository)],
        ["--work-tree", ".", "add", "--all"],
        ["--work-tree", ".", *identity, "commit", "--quiet", "--message", "Template"],
    ):
        subprocess.run(
            ["git", *command],
            cwd=TEMPLATE,
            env=environment(HOME=str(tmp_path), GIT_DIR=str(repository)),
            check=True,
        )
    run_cookiecutter(tmp_path, repository.as_uri(), "--no-input")
    assert read_tree(tmp_path / "my-service") == tree


def test_interactive(tmp_path: Path) -> None:
    """What is typed is taken as it is, and an empty line takes the default"""
    printed = run_cookiecutter(tmp_path, str(TEMPLATE), answers='other\n"{{ 7 * 7 }}"\n\n')
    assert "[1/3] Name of the project: lower-case letters, digits and hyphens" in printed
    pyproject = (tmp_path / "other/pyproject.toml").read_text()
    assert 'description = "\\"{{ 7 * 7 }}\\""\n' in pyproject
    assert 'authors = [{ name = "Your Name" }]\n' in pyproject


@pytest.mark.parametrize("output", ["/dev/full", "closed"])
def test_unread(tmp_path: Path, output: str) -> None:
    """A bake stands where its next steps cannot be printed"""
    redirect = ">&-" if output == "closed" else f"> {output}"
    command = [sys.executable, "-m", "cookiecutter", str(TEMPLATE), "--no-input"]
    subprocess.run(
        ["sh", "-c", f'"$@" {redirect}', "sh", *command],
        cwd=tmp_path,
        env=environment(HOME=str(tmp_path)),
        check=True,
        timeout=60,
    )
    assert (tmp_path / "my-service/pyproject.toml").exists()
