"""The image: its Dockerfile is run step by step without a container engine, then what it makes.

An engine gives each stage a root of its own. Here it is a folder, at the same path for all stages,
as a virtual environment knows its own; its base image is this Python.
"""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from baking import TEMPLATE, bake, environment, run
from faults.postgres import PROGRAMS, Postgres, run_postgres
from serving import free_port, wait_until_ready

pytestmark = pytest.mark.slow

# What an engine hands on too, for the package index to be reached.
NETWORK = re.compile(r"\w+_proxy|SSL_CERT_\w+|UV_\w*INDEX\w*", re.I)
# Of the folder that the service is in.
CONTENT = {
    *(".venv", "README.md", "hypercorn.conf.py", "migrations", "my_service"),
    *("pyproject.toml", "uv.lock"),
}


@dataclass
class Image:
    """A stage: its root, and what its instructions say. `command` and `health` are as for exec."""

    root: Path
    variables: dict[str, str]
    folder: Path
    user: int | None = None
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def place(self, path: str) -> Path:
        return self.root / path.lstrip("/") if path.startswith("/") else self.folder / path

    def execute(self, command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
        with self.start(command, **variables) as process:
            output, _ = process.communicate(timeout=600)
        return subprocess.CompletedProcess(command, process.returncode, output)

    def start(
        self, command: list[str], output: Any = subprocess.PIPE, **variables: str
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.variables | variables,
            # Only root can become another.
            user=self.user if os.geteuid() == 0 else None,
            extra_groups=[] if os.geteuid() == 0 and self.user else None,
            umask=0o022,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )


def read_instructions(dockerfile: Path) -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.M).replace("\\\n", "")
    lines = [line.partition(" ") for line in text.splitlines() if line.strip()]
    return [(name, value.strip()) for name, _, value in lines]


def is_ignored(path: Path, patterns: list[str]) -> bool:
    """https://docs.docker.com/build/concepts/context/#dockerignore-files"""
    ignored = False
    for pattern in patterns:
        bare = pattern.removeprefix("!")
        if any(part.match(bare) for part in [path, *path.parents]):
            ignored = not pattern.startswith("!")
    return ignored


def make_context(project: Path, folder: Path) -> Path:
    """What an engine takes of the project, of an owner whose umask is strict."""
    lines = (project / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    for path in project.rglob("*"):
        relative = path.relative_to(project)
        if path.is_file() and not is_ignored(relative, patterns):
            (folder / relative).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(path, folder / relative)
            (folder / relative).chmod(0o600)
    return folder


def find_python() -> Path:
    """One that the image's user may run too: not one in another's home."""
    user, groups = (10001, list[int]()) if os.geteuid() == 0 else (None, None)
    for candidate in (Path(sys.executable).resolve(), Path("/usr/bin/python3").resolve()):
        try:
            subprocess.run([candidate, "-c", ""], user=user, extra_groups=groups, check=True)
        except (PermissionError, FileNotFoundError):
            continue
        return candidate
    raise AssertionError("Every Python here is in a home: install Debian's python3")


def start_stage(folder: Path) -> Image:
    """python:3.x-slim, as far as it matters"""
    root = folder / "root"
    programs = root / "usr/local/bin"
    programs.mkdir(parents=True)
    for name in ("python", "python3"):
        (programs / name).symlink_to(find_python())
    inherited = {name: value for name, value in os.environ.items() if NETWORK.fullmatch(name)}
    return Image(root, inherited | {"PATH": f"{programs}:/usr/bin:/bin"}, root)


def copy(image: Image, value: str, stages: dict[str, Path]) -> None:
    options, words = split_options(value)
    *patterns, target = words
    source = stages[options.get("from", "context")]
    place = image.place(target)
    for pattern in patterns:
        relative = pattern.strip("/.")
        paths = list(source.glob(relative)) if relative else [source]
        assert paths or "[" in pattern, f"{pattern} is not there"
        for found in paths:
            if found.is_dir():
                shutil.copytree(found, place, symlinks=True, dirs_exist_ok=True)
            else:
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, place, follow_symlinks=False)


def split_options(value: str) -> tuple[dict[str, str], list[str]]:
    options, words = {}, value.split()
    while words[0].startswith("--"):
        name, _, text = words.pop(0)[2:].partition("=")
        options[name] = text
    return options, words


def run_step(image: Image, value: str) -> None:
    """Raises `AssertionError` with the output where the command fails."""
    options, _ = split_options(value)
    mount = image.root / "nowhere"
    if options:
        kind, target = re.fullmatch(r"type=(\w+),target=(\S+)", options["mount"]).groups()  # type: ignore[union-attr]
        assert kind == "cache"
        mount = image.place(target)
        mount.parent.mkdir(parents=True, exist_ok=True)
        cache = subprocess.run(["uv", "cache", "dir"], capture_output=True, text=True, check=True)
        mount.symlink_to(cache.stdout.strip())
    command = re.sub(r"^--\S+ ", "", value).strip()
    done = image.execute(["/bin/sh", "-c", command], HOME=str(image.root / "root"))
    mount.unlink(missing_ok=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}"


def build(project: Path, folder: Path) -> Image:
    """The last stage of the project's Dockerfile."""
    uv = folder / "uv"
    uv.mkdir()
    (uv / "uv").symlink_to(str(shutil.which("uv")))
    stages = {"context": make_context(project, folder / "context")}
    current, image = "", None
    for name, value in read_instructions(project / "Dockerfile"):
        if name == "FROM":
            if image:
                stages[current] = image.root.rename(folder / current)
            base, _, current = value.partition(" AS ")
            assert re.fullmatch(r"python:3\.\d+-slim", base)
            image = start_stage(folder)
            continue
        assert image
        match name:
            case "WORKDIR":
                image.folder = image.place(value)
                image.folder.mkdir(parents=True)
            case "ENV":
                for pair in shlex.split(value):
                    key, _, text = pair.partition("=")
                    text = Template(re.sub(r"(^|:)/", rf"\1{image.root}/", text)).substitute(
                        image.variables
                    )
                    image.variables[key] = text
            case "COPY":
                from_ = split_options(value)[0].get("from", "")
                if from_.startswith("ghcr.io/astral-sh/uv:"):
                    stages[from_] = uv
                copy(image, value, stages)
            case "RUN":
                run_step(image, value)
            case "USER":
                image.user = int(value.partition(":")[0])
            case "CMD":
                image.command = json.loads(value)
            case "HEALTHCHECK":
                image.health = json.loads(value.partition(" CMD ")[2])
            case "EXPOSE":
                pass
            case _:
                raise AssertionError(f"{name} is not known here")
    assert image
    return image


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with run_postgres() as postgres:
        yield postgres


@contextmanager
def make_folder() -> Iterator[Path]:
    """One that every user may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def lock(project: Path) -> None:
    subprocess.run(["uv", "lock", "--quiet"], cwd=project, env=environment(), check=True)


@pytest.fixture(scope="module", params=[False, True], ids=["without lock file", "with lock file"])
def image(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Image]:
    project = bake(tmp_path_factory.mktemp("container"))
    (project / ".env").write_text("DATABASE_URL=postgresql://secret@nowhere/name\n")
    if request.param:
        lock(project)
    with make_folder() as folder:
        yield build(project, folder)


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    text = (bake(tmp_path_factory.mktemp("compose")) / "compose.yaml").read_text()
    filled = re.sub(r"\$\{\w+:-(\w*)\}", r"\1", text)
    loaded: dict[str, Any] = yaml.safe_load(filled)
    return loaded


def test_lint(project: Path) -> None:
    done = subprocess.run(["hadolint", project / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_service(image: Image, compose: dict[str, Any], postgres: Postgres) -> None:
    """Migrated as the compose file says, it is ready, healthy, runs as its own user and ends"""
    assert image.variables["HOST"] == "0.0.0.0"
    url = postgres.url(f"image_{os.urandom(4).hex()}")
    postgres.execute(f"CREATE DATABASE {urlsplit(url).path[1:]}")
    port = free_port()
    variables = {
        "DATABASE_URL": url,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "WEB_CONCURRENCY": "2",
    }
    migrated = image.execute(compose["services"]["migrate"]["command"], **variables)
    assert migrated.returncode == 0, migrated.stdout
    log = image.root.parent / "log"
    with log.open("w") as output, image.start(image.command, output, **variables) as process:
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process, log, "/readyz")  # type: ignore[arg-type]
            user = image.user if os.geteuid() == 0 else os.geteuid()
            assert os.stat(f"/proc/{process.pid}").st_uid == user
            assert httpx.get(f"http://127.0.0.1:{port}/users").json() == {"users": []}
            healthy = image.execute(image.health, **variables)
            assert healthy.returncode == 0, healthy.stdout
        finally:
            process.terminate()
            exit_code = process.wait(30)
    assert exit_code == 0, log.read_text()
    assert image.execute(image.health, **variables).returncode == 1


def test_content(image: Image) -> None:
    """The last stage has the dependencies and the project, and nothing to build with"""
    tools = [path.name for path in image.root.rglob("*") if re.match(r"uvx?$|\.cache$", path.name)]
    assert tools == []
    site_packages = next(image.root.glob("app/.venv/lib/*/site-packages"))
    installed = {path.name.split("-")[0].lower() for path in site_packages.glob("*.dist-info")}
    pyproject = tomllib.loads((image.root / "app/pyproject.toml").read_text())
    development = {
        re.split("[=<>]", requirement)[0].replace("-", "_")
        for requirement in pyproject["dependency-groups"]["dev"]
    }
    assert {"my_service", "starlette", "hypercorn"} <= installed
    assert not installed & development
    assert {path.name for path in (image.root / "app").iterdir()} == CONTENT


def test_bytecode(image: Image) -> None:
    """Every module is compiled: the process cannot write what it would compile"""
    modules = [
        module
        for folder in ("my_service", "migrations", ".venv/lib")
        for module in (image.root / "app" / folder).rglob("*.py")
    ]
    assert len(modules) > 500
    left = [m for m in modules if not Path(importlib.util.cache_from_source(str(m))).exists()]
    assert left == []


def test_outdated_lock_ends_the_build(tmp_path: Path) -> None:
    project = bake(tmp_path)
    lock(project)
    pyproject = project / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('"httpx[http2]', '"idna", "httpx[http2]'))
    with make_folder() as folder, pytest.raises(AssertionError, match="needs to be updated"):
        build(project, folder)


def test_compose(project: Path, compose: dict[str, Any]) -> None:
    """The database is kept, the migration follows it, and the service the migration"""
    database, migrate, service = (
        compose["services"][name] for name in ("database", "migrate", "service")
    )
    assert migrate["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert service["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert migrate["restart"] == "no"
    assert migrate["image"] == service["image"] == "my-service"
    volume, _, target = database["volumes"][0].partition(":")
    # From version 18 on: the data are in a folder of the version below it.
    assert (volume, target) == ("database", "/var/lib/postgresql")
    assert volume in compose["volumes"]
    assert database["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]
    url = urlsplit(service["environment"]["DATABASE_URL"])
    made = database["environment"]
    assert (url.hostname, url.username, url.path) == (
        "database",
        made["POSTGRES_USER"],
        f"/{made['POSTGRES_DB']}",
    )
    # In the URL an ordinary password would have to be percent-encoded.
    assert (url.password, service["environment"]["PGPASSWORD"]) == (None, made["POSTGRES_PASSWORD"])
    grace = float(service["stop_grace_period"].removesuffix("s"))
    program = "from my_service.__main__ import DRAIN_TIMEOUT; print(DRAIN_TIMEOUT)"
    assert grace > float(run(project, "python", "-c", program)) + 1
    assert service["ports"] == ["127.0.0.1:8000:8000"]


def test_versions(project: Path) -> None:
    """One version of uv and of PostgreSQL, wherever they are named"""
    dockerfile = (project / "Dockerfile").read_text()
    development = (TEMPLATE / "pyproject.toml").read_text()
    uv = re.findall(r"astral-sh/uv:(\S+)", dockerfile)
    assert uv == re.findall(r'"uv==(\S+)"', development)
    assert len(set(re.findall(r"^FROM (python:\S+)", dockerfile, re.M))) == 1
    embedded = subprocess.run(
        [str(PROGRAMS / "postgres"), "--version"], capture_output=True, text=True
    )
    served = re.findall(r"image: postgres:(\d+)$", (project / "compose.yaml").read_text(), re.M)
    assert served == re.findall(r" (\d+)\.", embedded.stdout)
