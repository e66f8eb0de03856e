import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from {{ cookiecutter.__package }} import settings

PROJECT = Path(__file__).parents[1]
EXAMPLE = (PROJECT / ".env.example").read_text()
NAMES = sorted(name for name in vars(settings) if name.isupper() and name != "PROJECT")
SHOW = "from {{ cookiecutter.__package }} import settings as s; print(s.PORT)"


def read_settings(folder: Path, program: str = SHOW, **environment: str) -> tuple[str, str]:
    """What a process of its own, in `folder`, prints, and its errors."""
    environment = {"PYTHONPATH": str(PROJECT), "ENV_FILE": ""} | environment
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={"PATH": os.environ["PATH"]} | environment,
        capture_output=True,
        text=True,
    )
    return done.stdout, done.stderr


def test_wrong_value_ends_the_start_with_one_line(tmp_path: Path) -> None:
    _, errors = read_settings(tmp_path, PORT="http")
    assert errors == "PORT must be a port number, or 0 for any free port; see .env.example\n"


def test_assets_must_be_in_a_folder(tmp_path: Path) -> None:
    _, errors = read_settings(tmp_path, DOCS_ASSETS=__file__)
    assert errors == "DOCS_ASSETS must be the path of a folder, or empty; see .env.example\n"


def test_certificate_needs_its_key(tmp_path: Path) -> None:
    _, errors = read_settings(tmp_path, TLS_CERTFILE=__file__)
    assert errors.startswith("TLS_CERTFILE and TLS_KEYFILE must be set together")


def test_closed_streams_are_taken_by_nothing_else() -> None:
    settings = "{{ cookiecutter.__package }}.settings"
    program = f"import os, {settings}; os._exit(os.dup(2))"
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    done = subprocess.run([*closed, sys.executable, "-c", program], cwd=PROJECT)
    assert done.returncode == 3


def test_without_any_database_the_start_says_what_to_set(tmp_path: Path) -> None:
    """-S leaves out the installed packages, the embedded server among them."""
    site_packages = Path(pytest.__file__).parents[1]
    program = f"""if True:
        import sys
        sys.path.append({str(site_packages)!r})
        import databases
        sys.path.pop()
        import {{ cookiecutter.__package }}.settings
    """
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "ENV_FILE": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("DATABASE_URL must be set")


def test_file_is_that_beside_the_package_or_of_env_file(tmp_path: Path) -> None:
    """Whatever the folder is in which the service is started."""
    package, project, elsewhere = settings.__package__, tmp_path / "project", tmp_path / "elsewhere"
    shutil.copytree(PROJECT / package, project / package)
    elsewhere.mkdir()
    (project / ".env").write_text("PORT=1\n")
    (elsewhere / ".env").write_text("PORT=2\n")
    unset = "import os; del os.environ['ENV_FILE']; "
    path = str(project)
    assert read_settings(elsewhere, unset + SHOW, PYTHONPATH=path) == ("1\n", "")
    assert read_settings(elsewhere, PYTHONPATH=path, ENV_FILE=".env") == ("2\n", "")
    assert read_settings(elsewhere, PYTHONPATH=path) == ("8000\n", "")


def test_misspelt_name_in_the_file_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("REQUEST_TIMOUT=1\n")
    _, errors = read_settings(tmp_path, ENV_FILE="file")
    assert errors == f"{tmp_path}/file has REQUEST_TIMOUT; is REQUEST_TIMEOUT meant?\n"


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_documented(name: str) -> None:
    assert re.search(rf"^{name}=", EXAMPLE, re.M)
    assert f"`{name}`" in (PROJECT / "README.md").read_text()


def test_example_has_only_settings_and_their_defaults(tmp_path: Path) -> None:
    show = SHOW.replace("s.PORT", f"[getattr(s, name) for name in {NAMES}]")
    (tmp_path / "file").write_text(EXAMPLE)
    assert read_settings(tmp_path, show, ENV_FILE="file") == read_settings(tmp_path, show)
    written = re.findall(r"^(\w+)=", EXAMPLE, re.M)
    assert sorted(written) == sorted(NAMES)
