import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from {{ cookiecutter.__package }} import settings

PROJECT = Path(__file__).parents[1]
NAMES = re.findall(r'^[A-Z_]+ = read\(\s*"([A-Z_]+)"', Path(settings.__file__).read_text(), re.M)


def read_settings(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Imports the settings in a process of its own, in `folder`."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "import {{ cookiecutter.__package }}.settings as s; print(s.PORT, s.DEMOS)",
        ],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)} | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "65536"),
        ("WEB_CONCURRENCY", "0"),
        ("TLS_CERTFILE", "/nowhere/cert.pem"),
        ("QUIC_BIND", "8443"),
        ("QUIC_BIND", "localhost:8443"),
        ("FORWARDED_ALLOW_IPS", "*"),
        ("ALLOWED_HOSTS", "example.com:8000"),
        ("CORS_ORIGINS", "app.example.com"),
        ("CORS_ORIGINS", "https://app.example.com/"),
        ("LOG_LEVEL", "loud"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318"),
        ("DATABASE_URL", "mysql://secret@host/name"),
        ("DATABASE_URL", "postgresql://user:secret#1@host/name"),
        ("DATABASE_URL", "postgresql://user:secret/1@host/name"),
        ("DATABASE_POOL_SIZE", "many"),
        ("UPSTREAM_URLS", "http://only.one/"),
        ("DEMOS", "maybe"),
    ],
)
def test_wrong_value_ends_the_start_with_one_line(tmp_path: Path, name: str, value: str) -> None:
    """The line names the setting, and does not show the value, which may be a secret."""
    done = read_settings(tmp_path, **{name: value})
    assert done.returncode == 1
    assert re.fullmatch(rf"{name} must be .+; see \.env\.example\n", done.stderr)
    assert "secret" not in done.stderr


def test_certificate_needs_its_key(tmp_path: Path) -> None:
    done = read_settings(tmp_path, TLS_CERTFILE=__file__)
    assert done.returncode == 1
    assert done.stderr.startswith("TLS_CERTFILE and TLS_KEYFILE must be set together")


def test_without_any_database_the_start_says_what_to_set() -> None:
    """-S leaves out the installed packages, the embedded server among them."""
    site_packages = Path(pytest.__file__).parents[1]
    program = f"""
import sys
sys.path.append({str(site_packages)!r})
import importlib.util
import starlette.config
sys.path.pop()
import {{ cookiecutter.__package }}.settings
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "DATABASE_URL": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("DATABASE_URL must be set")


def test_environment_comes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=1\nDEMOS=false\n")
    assert read_settings(tmp_path).stdout == "1 False\n"
    assert read_settings(tmp_path, PORT="2").stdout == "2 False\n"


def test_demos_are_off_by_default_on_a_database_of_ones_own(tmp_path: Path) -> None:
    assert read_settings(tmp_path).stdout == "8000 True\n"
    own = read_settings(tmp_path, DATABASE_URL="postgresql://user@host/name")
    assert own.stdout == "8000 False\n"


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_documented(name: str) -> None:
    assert re.search(rf"^{name}=", (PROJECT / ".env.example").read_text(), re.M)
    assert f"`{name}`" in (PROJECT / "README.md").read_text()


def test_example_has_only_settings_and_their_defaults(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes((PROJECT / ".env.example").read_bytes())
    assert read_settings(tmp_path).stdout == read_settings(tmp_path / "..").stdout
    written = re.findall(r"^(\w+)=", (PROJECT / ".env.example").read_text(), re.M)
    assert sorted(written) == sorted(NAMES)
