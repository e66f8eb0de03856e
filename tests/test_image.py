"""The image: built from the Dockerfile as it is, by buildah, and run as Kubernetes would run it.

Its two base images are stand-ins: a small Debian with its Python, and this machine's uv.
"""

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from baking import bake, environment
from faults.conftest import figure
from faults.postgres import Postgres, run_postgres
from serving import free_port, wait_until_ready
from test_container import CONTENT, NETWORK

pytestmark = pytest.mark.slow

__all__ = ["figure"]
PROGRAMS = ["buildah", "mmdebstrap", "unshare"]
# A process namespace too, so that the service is process 1, whose signals are special.
ISOLATE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec"]
ENTER = """
    root=$1; shift
    mount --bind "$root" "$root"
    mount --rbind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    mount -o remount,bind,ro "$root"
    exec chroot "$root" "$@"
"""
DROP = "--clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs".split()


@dataclass
class Engine:
    folder: Path

    def run(self, *arguments: str | Path) -> str:
        places = [f"--root={self.folder}/store", f"--runroot={self.folder}/run"]
        done = subprocess.run(
            ["buildah", *places, "--storage-driver=vfs", *arguments],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return str(done.stdout.strip())

    def make_bases(self, dockerfile: str) -> None:
        """Under the names that the Dockerfile has."""
        [python] = set(re.findall(r"^FROM (\S+)", dockerfile, re.M))
        [uv] = re.findall(r"--from=(\S+/uv:\S+)", dockerfile)
        base = self.folder / "base.tar"
        options = ["--quiet", "--variant=essential"]
        packages = "python3-minimal,libpython3-stdlib,ca-certificates,libstdc++6"
        suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
        subprocess.run(["mmdebstrap", *options, f"--include={packages}", suite, base], check=True)
        container = self.run("from", "scratch")
        self.run("add", container, base, "/")
        (Path(self.run("mount", container)) / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        for name, value in os.environ.items():  # What the package index is reached with.
            if NETWORK.fullmatch(name):
                self.run("config", "--env", f"{name}={value}", container)
                if Path(value).is_file():
                    self.run("copy", container, value, value)
        self.run("commit", container, f"docker.io/library/{python}")
        container = self.run("from", "scratch")
        self.run("copy", container, str(shutil.which("uv")), "/uv")
        self.run("commit", container, uv)


@dataclass
class Image:
    root: Path
    config: dict[str, Any]
    layers: list[int]

    def command(self, command: Sequence[str], **variables: str) -> list[str]:
        """What runs one of the image: read-only, as its user, without any capability."""
        user, _, group = self.config["User"].partition(":")
        given = [*self.config["Env"], *(f"{name}={value}" for name, value in variables.items())]
        inside = ["env", "-i", "-C", self.config["WorkingDir"], *given, *command]
        drop = ["setpriv", f"--reuid={user}", f"--regid={group}", *DROP]
        return [*ISOLATE, ENTER, "sh", str(self.root), *drop, *inside]

    def execute(self, command: Sequence[str], **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(command, **variables), capture_output=True, text=True, timeout=60
        )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Skipped where it cannot be built; with CI=true missing programs are a failure."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"not installed: {', '.join(missing)}")
    assert missing == []
    if os.geteuid() != 0:
        pytest.skip("only root can build and enter an image without an engine that runs")
    project = bake(tmp_path_factory.mktemp("image"))
    (project / ".env").write_text("DATABASE_URL=postgresql://secret@nowhere/name\n")
    with tempfile.TemporaryDirectory(prefix="buildah-") as name:
        engine, folder = Engine(Path(name)), Path(name) / "pushed"
        folder.parent.chmod(0o755)
        engine.make_bases((project / "Dockerfile").read_text())
        build = ["build", "--isolation=chroot", "--format=docker", "--pull-never", "--layers=false"]
        engine.run(*build, "--tag=my-service", project)
        engine.run("push", "--disable-compression", "my-service", f"dir:{folder}")
        manifest = json.loads((folder / "manifest.json").read_text())
        digest = manifest["config"]["digest"].partition(":")[2]
        container = engine.run("from", "--pull-never", "localhost/my-service")
        yield Image(
            Path(engine.run("mount", container)),
            json.loads((folder / digest).read_text())["config"],
            [layer["size"] for layer in manifest["layers"]],
        )


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with run_postgres() as postgres:
        yield postgres


def test_layers(image: Image, figure: Callable[[str, str], None]) -> None:
    """One upon the base image's: the virtual environment and the project"""
    _, own = image.layers
    figure("the image, without its base", f"1 layer of {own / 1e6:.0f} MB")
    assert own < 100e6


def test_content(image: Image) -> None:
    """The image of the last stage, with nothing of the first, and no secret"""
    assert not list(image.root.glob("usr/local/bin/uv*"))
    assert not list(image.root.glob("var/cache/uv"))
    assert {path.name for path in (image.root / "app").iterdir()} == CONTENT


def test_run(image: Image, postgres: Postgres, tmp_path: Path) -> None:
    """Migrated, it serves, is healthy, can write nowhere, has no capability, and ends"""
    allowed = image.execute(["true"])
    if allowed.returncode:
        pytest.skip(f"this machine does not allow to enter it: {allowed.stderr.strip()}")
    port = free_port()
    variables = {"DATABASE_URL": postgres.url(), "HOST": "127.0.0.1", "PORT": str(port)}
    migrated = image.execute(["alembic", "upgrade", "head"], **variables)
    assert migrated.returncode == 0, migrated.stderr
    assert image.execute(["touch", "/app/x"]).returncode != 0
    assert image.execute(["touch", "/tmp/x"]).returncode != 0
    log = tmp_path / "log"
    with log.open("wb") as output:
        outside = subprocess.Popen(
            image.command(image.config["Cmd"], **variables), stdout=output, stderr=output
        )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", outside, log, "/readyz")
        (service,) = psutil.Process(outside.pid).children()
        status = Path(f"/proc/{service.pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines())
        assert fields["Uid"].split() == ["10001"] * 4
        assert fields["NSpid"].split()[-1] == "1"
        assert {fields[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
        assert fields["NoNewPrivs"] == "1"
        assert httpx.get(f"http://127.0.0.1:{port}/users").json() == {"users": []}
        health = image.config["Healthcheck"]["Test"]
        assert health[0] == "CMD"
        healthy = image.execute(health[1:], **variables)
        assert healthy.returncode == 0, healthy.stderr
        service.send_signal(signal.SIGTERM)
        assert outside.wait(40) == 0, log.read_text()
        assert image.execute(health[1:], **variables).returncode == 1
    finally:
        outside.kill()
        outside.wait()
