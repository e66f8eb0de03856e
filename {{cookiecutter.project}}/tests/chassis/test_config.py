import json
import subprocess
import sys
from decimal import Decimal
from http import HTTPMethod
from pathlib import Path
from typing import Any

import pytest
import trustme

from {{ cookiecutter.__package }}.chassis import casts, config


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / ".env"
    file.write_text("PORT=1\nLOG_LEVEL=loud\nHOST=\n")
    return file


def test_environment_comes_before_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config.Settings(file.parent, str(file))
    assert settings.read("PORT", casts.port, "8000") == 1
    monkeypatch.setenv("PORT", "2")
    assert config.Settings(file.parent, str(file)).read("PORT", casts.port, "8000") == 2


def test_default_holds_where_a_setting_is_empty_or_missing(file: Path) -> None:
    settings = config.Settings(file.parent, str(file))
    assert settings.read("HOST", str, "127.0.0.1") == "127.0.0.1"
    assert settings.read("NOWHERE", casts.count, "3") == 3


def test_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    """`.env` need not be."""
    assert config.Settings(tmp_path, "").read("NOWHERE", casts.count, "3") == 3
    with pytest.raises(SystemExit, match="ENV_FILE must name a file"):
        config.Settings(tmp_path, str(tmp_path / "none"))


def test_byte_order_mark_is_not_part_of_the_first_name(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=1\n", encoding="utf-8-sig")
    assert config.Settings(tmp_path, None).read("PORT", casts.port, "8000") == 1


def test_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=1\n", encoding="utf-16")
    with pytest.raises(SystemExit, match="cannot be read: it is not UTF-8"):
        config.Settings(tmp_path, None)


def test_folder_named_as_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    with pytest.raises(SystemExit, match=r"\.env cannot be read: Is a directory"):
        config.Settings(tmp_path, None)


@pytest.mark.parametrize(
    "line",
    [
        "PORT=1",
        "export PORT=1",
        "  PORT = 1  ",
        "PORT='1'",
        'export  PORT="1"',
        "# a\r\n\r\nPORT=1\r",
    ],
)
def test_line_may_be_written_as_shells_and_editors_do(tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"{line}\n", newline="")
    assert config.Settings(tmp_path, None).read("PORT", casts.port, "8000") == 1


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=8001 # the port", "8001"),
        ("A=8001\t#", "8001"),
        ("A= # none", ""),
        ('A="info" # why', "info"),
        ("A='info' # it's why", "info"),
        ('A="a # b" # "c"', "a # b"),
    ],
)
def test_comment_after_a_value_is_no_part_of_it(tmp_path: Path, line: str, value: str) -> None:
    (tmp_path / ".env").write_text(f"{line}\n")
    assert config.read_file(tmp_path / ".env") == {"A": value}


@pytest.mark.parametrize("value", ["user:a#b", "#b", "it's", "ends'", '"'])
def test_hash_or_quote_within_a_value_is_part_of_it(tmp_path: Path, value: str) -> None:
    (tmp_path / ".env").write_text(f"A={value}\n")
    assert config.read_file(tmp_path / ".env") == {"A": value}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (r'"-----BEGIN\nKEY"', "-----BEGIN\nKEY"),
        (r'"a \"b\" \\ \d"', r'a "b" \ \d'),
        (r"'a\nb'", r"a\nb"),
        (r"a\nb", r"a\nb"),
    ],
)
def test_backslash_is_for_what_double_quotes_cannot_hold(
    tmp_path: Path, written: str, value: str
) -> None:
    (tmp_path / ".env").write_text(f"A={written}\n")
    assert config.read_file(tmp_path / ".env") == {"A": value}


@pytest.mark.parametrize("line", ["PORT 8000", "PORT: 8000", "8000", "=8000", "MY-PORT=8000"])
def test_line_that_sets_nothing_is_told_by_its_number(tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"# Settings\n\n{line}\n")
    with pytest.raises(SystemExit) as raised:
        config.Settings(tmp_path, None)
    assert str(raised.value) == f"{tmp_path}/.env, line 3 is not NAME=value"


@pytest.mark.parametrize("name", ["DATABSE_URL", "database_url", "DATABASE_URLS"])
def test_name_that_nearly_is_a_setting_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / ".env").write_text(f"{name}=secret\n")
    settings = config.Settings(tmp_path, None)
    settings.read("DATABASE_URL", str, "")
    with pytest.raises(SystemExit, match=rf"has {name}; is DATABASE_URL meant\?$"):
        settings.check_names()


def test_short_name_with_letters_swapped_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PROT=9\n")
    settings = config.Settings(tmp_path, None)
    settings.read("PORT", str, "")
    with pytest.raises(SystemExit, match=r"has PROT; is PORT meant\?$"):
        settings.check_names()


def test_names_of_other_programs_may_stand_in_the_file(tmp_path: Path) -> None:
    names = """POSTGRES_PASSWORD POSTGRES_PORT POSTGRES_HOST TEST_DATABASE_URL COMPOSE_FILE
               COMPOSE_PROJECT_NAME HOSTNAME PATH LOG_FORMAT SENTRY_DSN HTTP_PORT DB_HOST POST"""
    (tmp_path / ".env").write_text("".join(f"{name}=x\n" for name in names.split()))
    settings = config.Settings(tmp_path, None)
    for name in ("DATABASE_URL", "HOST", "PORT", "ROOT_PATH", "LOG_LEVEL", "ALLOWED_HOSTS"):
        settings.read(name, str, "")
    settings.check_names()


def test_wrong_value_ends_the_start_with_one_line(file: Path) -> None:
    with pytest.raises(SystemExit) as raised:
        config.Settings(file.parent, str(file)).read("LOG_LEVEL", casts.level, "info")
    line = "LOG_LEVEL must be debug, info, warning, error or critical; see .env.example"
    assert str(raised.value) == line


@pytest.mark.parametrize(
    ("cast", "accepted"),
    [
        (int, "what int takes"),
        (Decimal, "what Decimal takes"),
        (json.loads, "what loads takes"),
        (HTTPMethod, "what HTTPMethod takes"),
        (casts.number, "a whole number"),
    ],
)
def test_cast_of_any_kind_shows_no_value(file: Path, cast: Any, accepted: str) -> None:
    with pytest.raises(SystemExit) as raised:
        config.Settings(file.parent, str(file)).read("LOG_LEVEL", cast, "")
    assert str(raised.value) == f"LOG_LEVEL must be {accepted}; see .env.example"


@pytest.mark.parametrize(("given", "value"), [("false", False), ("TRUE", True)])
def test_bool_reads_words(file: Path, given: str, value: bool) -> None:
    settings = config.Settings(file.parent, str(file))
    assert settings.read("SEND_MAILS", bool, given) is value
    with pytest.raises(SystemExit, match="SEND_MAILS must be true or false"):
        settings.read("SEND_MAILS", bool, "no")


def test_line_is_the_same_without_docstrings(file: Path) -> None:
    """As `python -OO` leaves them out."""
    program = f"""if True:
        import pathlib
        from {{ cookiecutter.__package }}.chassis import casts, config
        config.Settings(pathlib.Path(), {str(file)!r}).read("LOG_LEVEL", casts.level, "info")
    """
    done = subprocess.run([sys.executable, "-OO", "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("LOG_LEVEL must be debug, info")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    issued = trustme.CA().issue_cert("localhost")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.private_key_pem.write_to_path(key)
    issued.cert_chain_pems[0].write_to_path(cert)
    return str(cert), str(key)


def test_certificate_with_its_key_is_taken(certificate: tuple[str, str]) -> None:
    config.check_certificate(*certificate)
    config.check_certificate(None, None)


def test_certificate_needs_its_key(certificate: tuple[str, str], file: Path) -> None:
    cert, key = certificate
    for one, other in [(cert, None), (None, key), (key, cert), (str(file), key), (cert, str(file))]:
        with pytest.raises(SystemExit) as raised:
            config.check_certificate(one, other)
        assert str(raised.value).startswith("TLS_CERTFILE and TLS_KEYFILE must be ")
        assert "\n" not in str(raised.value)
