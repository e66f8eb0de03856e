"""A password file, which is read for each connection."""

import os
from pathlib import Path

import asyncpg
import pytest

from {{ cookiecutter.__package }}.chassis.connector import (
    Connector,
    find_password,
)
from {{ cookiecutter.__package }}.chassis.database import Database
from {{ cookiecutter.__package }}.chassis.database_errors import find_answer
from {{ cookiecutter.__package }}.chassis.database_url import connect_options

ASKED = ("db.example", "5432", "shop", "service")


@pytest.mark.parametrize(
    ("text", "password"),
    [
        ("*:*:*:*:secret", "secret"),
        ("db.example:5432:shop:service:secret\n", "secret"),
        ("other:*:*:*:no\n\n# db.example:5432:shop:service:no\n*:5432:*:service:secret", "secret"),
        (r"*:*:*:*:a\:b\\c", r"a:b\c"),
        ("*:*:*:*:a:b", "a:b"),
        (r"\*:*:*:*:first", "first"),
        ("*:*:*:*:first\n*:*:*:*:second", "first"),
        ("*:*:*:*:", ""),
        ("*:*:*:*:pässwörd\r\n", "pässwörd"),
        ("*:*:*:secret", None),
        ("*:*:*:other:secret", None),
        ("", None),
    ],
)
def test_first_line_that_matches(tmp_path: Path, text: str, password: str | None) -> None:
    (tmp_path / "pass").write_bytes(text.encode())
    assert find_password(str(tmp_path / "pass"), *ASKED) == password


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("postgresql://service@db.example/shop", ASKED),
        ("postgresql://service@one,two:6543/shop", ("one", "5432", "shop", "service")),
        ("postgresql://service@/shop?host=/run/sock", ("localhost", "5432", "shop", "service")),
        ("postgresql://service@/shop", ("localhost", "5432", "shop", "service")),
    ],
)
def test_host_is_asked_for(tmp_path: Path, url: str, asked: tuple[str, ...]) -> None:
    (tmp_path / "pass").write_text(":".join([*asked, "secret"]))
    (tmp_path / "pass").chmod(0o600)
    separator = "&" if "?" in url else "?"
    options = connect_options(f"{url}{separator}passfile={tmp_path}/pass")
    connector = Connector(options)
    assert connector.read_password(connector.options | connector.addresses[0]) == "secret"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what belongs to root")
def test_file_of_root_may_be_read_by_a_group(tmp_path: Path) -> None:
    """As a Secret is mounted for one that is not root"""
    file = tmp_path / "pass"
    file.touch(0o440)
    url = f"postgresql://service@db.example/shop?passfile={file}"
    assert connect_options(url)["passfile"] == str(file)
    os.chown(file, 10001, 10001)
    with pytest.raises(ValueError, match="passfile"):
        connect_options(url)


async def test_file_that_has_gone_is_503(tmp_path: Path) -> None:
    file = tmp_path / "pass"
    file.touch(0o600)
    async with Database(f"postgresql://nobody@127.0.0.1:1/none?passfile={file}") as database:
        file.unlink()
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError) as raised:
            await database.fetch_val("SELECT 1")
    answer = find_answer(raised.value)
    assert answer
    assert answer.status == 503
