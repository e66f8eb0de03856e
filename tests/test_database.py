"""The service's database: by the suite of `databases` itself, and in the forms of the providers."""

import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from baking import environment, run
from faults.postgres import run_postgres

pytestmark = pytest.mark.slow

IMPORT = "from databases import Database, DatabaseURL"
OWN = "from databases import DatabaseURL\nfrom my_service.chassis.database import Database"
# They name SQLite, which the service does not have; nor does the library without its extra.
FAIL = [
    "test_should_maintain_ref_when_cache_param",
    "test_should_not_maintain_ref_when_no_cache_param",
    "test_should_remove_ref_on_disconnect",
]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library's own tests, from its source distribution, and the driver that they need."""
    folder = tmp_path_factory.mktemp("databases")
    pip = ["uv", "tool", "run", "pip", "download", "--quiet", "--no-deps", "--no-binary=databases"]
    subprocess.run([*pip, "databases==0.9.0"], cwd=folder, env=environment(), check=True)
    with tarfile.open(folder / "databases-0.9.0.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    driver = ["uv", "pip", "install", "--quiet", "--target", "driver", "psycopg[binary]"]
    command = [*driver, "--python", sys.executable]
    subprocess.run(command, cwd=folder, env=environment(), check=True)
    return folder


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with run_postgres() as postgres:
        yield postgres.url()


@pytest.mark.parametrize("own", [True, False], ids=["the service's", "the library's"])
def test_suite(project: Path, suite: Path, url: str, own: bool) -> None:
    """Of `databases`, with the service's class in the place of the library's, and with that."""
    text = (suite / "databases-0.9.0/tests/test_databases.py").read_text()
    assert IMPORT in text
    tests = suite / f"test_suite_{own}.py".lower()
    tests.write_text(text.replace(IMPORT, OWN) if own else text)
    paths = os.pathsep.join([str(suite / "driver"), str(project)])
    command = [str(project / ".venv/bin/python"), "-m", "pytest", "-q", "-p", "no:anyio"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", f"--rootdir={suite}", str(tests)],
        cwd=suite,
        env=environment(TEST_DATABASE_URLS=url, PYTHONPATH=paths),
        capture_output=True,
        text=True,
        timeout=300,
    )
    failed = re.findall(r"^FAILED \S+::(\w+)", done.stdout, re.MULTILINE)
    assert sorted(failed) == FAIL, done.stdout
    assert "56 passed, 1 skipped" in done.stdout


def test_forms_of_providers(project: Path) -> None:
    """The project's own test, which is skipped where there is no PostgreSQL that speaks TLS."""
    if not Path("/usr/lib/postgresql").is_dir() and os.environ.get("CI") != "true":
        pytest.skip("PostgreSQL is not installed: Debian's package postgresql")
    report = run(project, "pytest", "-q", "tests/chassis/test_providers.py")
    assert " passed" in report
    assert " skipped" not in report
