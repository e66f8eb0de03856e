"""Every command of a README, as a reader would run it, in a copy with nothing made beforehand."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
from baking import bake, environment, install, run
from faults.service import RUNNER, edit
from serving import free_port, serve
from steps import (
    add_code,
    add_endpoint,
    add_route,
    add_test,
    copy_template,
    delete_demos,
    read_blocks,
    read_section,
)

pytestmark = pytest.mark.slow

# Those of the template that need a network, or are this test run itself.
ELSEWHERE = {
    "uvx cookiecutter gh:org/template": "test_bake.py, from a local repository",
    "python3 -m venv --without-pip .uv && python3 -m pip --python .uv install --quiet uv"
    " && .uv/bin/uv run pytest": ".ci/run",
    ".uv/bin/uv run pytest -m slow": ".ci/run",
    ".uv/bin/uv run pytest -m control": "by hand",
    "uv run python -m benchmarks": "test_benchmarks.py, the quick way",
}

POLICIES = "tests/chassis/test_policies.py"

# Sections whose commands belong together and are run by tests of their own.
LESSONS = ("Before the first edit", "Add a table", "Update", "Release")


def commands(document: Path) -> list[str]:
    """The lines of its `sh` blocks, then what the cells of its tables say to run."""
    text = re.sub(
        rf"^## ({'|'.join(LESSONS)})\n.*?(?=^## |\Z)", "", document.read_text(), flags=re.M | re.S
    )
    cells = re.findall(r"`(uv run [^`]+)`", text)
    return [line for block in read_blocks(text, "sh") for line in block.splitlines()] + cells


def execute(command: str, folder: Path, **variables: str) -> None:
    """Runs a command to its end; one that serves is asked for its pages, and stopped."""
    port = free_port()
    # A newcomer's Python has pip, where that of these tests, made by uv, has none.
    own = f"{sys.prefix}/bin"
    others = [path for path in os.environ["PATH"].split(os.pathsep) if path != own]
    path = os.pathsep.join([*others, str(folder / ".uv/bin"), own])
    log = folder / "command.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=folder,
            env=environment(PATH=path, PORT=str(port), **variables),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        if "hypercorn" in command or "python -m my_service" in command:
            printed = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 120
            while printed not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            assert httpx.get(f"{printed}/").json() == {"message": "Hello World"}
            assert httpx.get(f"{printed}/docs").status_code == 200
            os.killpg(process.pid, signal.SIGINT)
            process.wait(20)
        else:
            assert process.wait(600) == 0, log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_commands_of_the_template(tmp_path: Path) -> None:
    copy_template(tmp_path)
    found = commands(tmp_path / "README.md") + commands(tmp_path / "CONTRIBUTING.md")
    assert ELSEWHERE.keys() <= set(found)
    for command in found:
        if command not in ELSEWHERE:
            start = time.monotonic()
            execute(command, tmp_path)
            print(f"{time.monotonic() - start:.1f} s: {command}")


@pytest.mark.parametrize("name", ['my "work" & (more)', "$HOME `id` \\ 'x'"])
def test_first_command_in_a_folder_of_any_name(name: str) -> None:
    """Without a home, in the locale C. Others can reach it: it holds the database too."""
    with TemporaryDirectory(dir="/tmp") as temporary:
        Path(temporary).chmod(0o755)
        folder = Path(temporary) / name
        folder.mkdir()
        copy_template(folder)
        first, *_ = commands(folder / "README.md")
        execute(f"unset HOME; {first}", folder, LC_ALL="C")
        assert (folder / "my-service/.postgres/PG_VERSION").exists()


def test_commands_of_the_baked_project(tmp_path: Path) -> None:
    project = bake(tmp_path)
    found = commands(project / "README.md")
    assert len(found) >= 8
    for command in found:
        start = time.monotonic()
        # All of them are run by test_project.py.
        execute(command, project, PYTEST_ADDOPTS="tests/test_home.py")
        print(f"{time.monotonic() - start:.1f} s: {command}")


def check(project: Path, *tests: str) -> None:
    """Style, format, types, and the tests."""
    run(project, "ruff", "check")
    run(project, "ruff", "format", "--check")
    run(project, "mypy", ".")
    run(project, "pytest", "-q", *tests)


def test_endpoint_is_added_as_the_readme_says(tmp_path: Path) -> None:
    """One function with its types and one `Route`: it is validated, described and checked."""
    project = bake(tmp_path)
    add_endpoint(project)
    add_test(project)
    install(project)
    check(project, "tests/test_home.py", POLICIES)
    with serve(project) as service:
        assert httpx.get(f"{service.url}/sum/2?right=3").json() == {"sum": 5}
        wrong = httpx.get(f"{service.url}/sum/x")
        assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "left")
        described = httpx.get(f"{service.url}/openapi.json").json()["paths"]["/sum/{left}"]["get"]
    assert described["summary"] == "Add two numbers"


def test_table_is_added_as_the_readme_says(tmp_path: Path) -> None:
    """The service brings its database to the new migration, and the tests know the table."""
    project = bake(tmp_path)
    install(project)
    section = read_section(project / "README.md", "Add a table")
    table, endpoint = read_blocks(section, "python")
    tables = project / "my_service/tables.py"
    revision = re.search(r'`(REVISION = ".+?")`', section)
    assert revision
    [steps] = read_blocks(section, "sh")
    add_code(tables, table)
    for command in steps.splitlines():
        execute(command, project)
    tables.write_text(re.sub("^REVISION = .*", revision[1], tables.read_text(), flags=re.M))
    add_code(project / "my_service/users.py", endpoint)
    add_route(project / "my_service/users.py", section)
    check(project, "tests/test_tables.py", "tests/test_users.py", POLICIES)
    with serve(project) as service:
        assert httpx.get(f"{service.url}/users/1/notes").json() == []


def test_upstream_is_added_as_the_readme_says(tmp_path: Path) -> None:
    """The setting is documented, and the endpoint passes on what the upstream answers."""
    project = bake(tmp_path)
    install(project)
    readme = project / "README.md"
    section = read_section(readme, "Add an upstream")
    setting, endpoint = read_blocks(section, "python")
    [row] = read_blocks(section, "markdown")
    described = re.search("`([A-Z_]+=.+?)`", section)
    placed = re.search(r"above `(.+?)`", section)
    assert described
    assert placed
    edit(project / "my_service/settings.py", f"{placed[1]}\n", f"{setting}\n{placed[1]}\n")
    add_code(project / "my_service/external.py", endpoint)
    add_route(project / "my_service/external.py", section)
    with (project / ".env.example").open("a") as example:
        example.write(f"{described[1]}\n")
    heading = "| setting | default | |\n|---|---|---|\n"
    assert heading in readme.read_text()
    readme.write_text(readme.read_text().replace(heading, f"{heading}{row}"))
    check(
        project,
        "tests/test_settings.py",
        "tests/test_external.py",
        POLICIES,
    )
    with serve(project) as service:
        assert httpx.get(f"{service.url}/prices").json() == {"source": "prices"}


def add_module(project: Path, title: str) -> None:
    """Writes the module that the section has, and takes its routes into the app."""
    section = read_section(project / "README.md", title)
    [block] = read_blocks(section, "python")
    named = re.search(r"a new file `(\w+)\.py`", section)
    assert named
    name = named[1]
    assert f"`*{name}.routes,`" in section
    (project / f"my_service/{name}.py").write_text(block)
    app = project / "my_service/app.py"
    names = sorted(["external", "home", "settings", "users", name])
    edit(app, "import external, home, settings, users", f"import {', '.join(names)}")
    edit(app, "    *home.routes,\n", f"    *home.routes,\n    *{name}.routes,\n")


def test_limits_are_set_as_the_readme_says(tmp_path: Path) -> None:
    """A body that is too large for another route."""
    project = bake(tmp_path)
    install(project)
    add_module(project, "Limits of a route")
    check(project, POLICIES)
    with serve(project) as service:
        body = bytes(5 << 20)
        assert httpx.post(f"{service.url}/bulk", content=body).json() == {"size": len(body)}
        assert httpx.post(f"{service.url}/users", content=body).status_code == 413


def test_background_task_is_added_as_the_readme_says(tmp_path: Path) -> None:
    """The client has its answer before the mail is sent, and the end waits for that."""
    project = bake(tmp_path)
    install(project)
    add_module(project, "After the answer")
    check(project, POLICIES)
    mails = project / "my_service/invitations.py"
    edit(
        mails,
        "    await asyncio.sleep(1)\n",
        '    await asyncio.sleep(1)\n    print("Sent", email)\n',
    )
    with serve(project, RUNNER, PYTHONUNBUFFERED="1") as service:
        email = {"email": "ada@example.com"}
        answer = httpx.post(f"{service.url}/invitations", json=email)
        assert (answer.status_code, answer.json()) == (202, email)
        assert "Sent" not in service.log.read_text()
        assert service.stop() == 0
        assert "Sent ada@example.com" in service.log.read_text()


def test_demos_are_deleted_as_the_readme_says(tmp_path: Path) -> None:
    """Lint and types included. The whole suite without them is run by test_release.py."""
    project = bake(tmp_path)
    delete_demos(project)
    install(project)
    check(project, "tests/test_home.py", POLICIES)
