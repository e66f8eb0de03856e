"""Alembic's commands in a baked project: what they print, and where they find nothing to do."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.postgres import PROGRAMS, Postgres, run_postgres
from faults.service import copy
from migrating import add_migrations, alembic

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with run_postgres() as postgres:
        yield postgres


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    postgres.execute("CREATE DATABASE migrated")
    yield postgres.url("migrated")
    postgres.execute("DROP DATABASE migrated WITH (FORCE)")


def read_messages(log: str) -> list[str]:
    return [json.loads(line)["message"] for line in log.splitlines()]


def test_sql_is_written_without_a_database(project: Path, url: str) -> None:
    """What it writes brings another database to the newest revision"""
    written = alembic(project, "upgrade", "head", "--sql", url=NOWHERE)
    assert written.returncode == 0, written.stderr
    assert written.stdout.startswith("SET lock_timeout")
    done = subprocess.run(
        [PROGRAMS / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url],
        input=written.stdout,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert alembic(project, "current", url=url).stdout == "0001 (head)\n"


def test_sql_is_as_the_migration_has_it(project: Path, tmp_path: Path) -> None:
    changed = copy(project, tmp_path, {})
    statement = "UPDATE users SET name = 'x%' WHERE name LIKE 'a%'"
    add_migrations(changed, f"op.execute({statement!r})")
    assert statement in alembic(changed, "upgrade", "head", "--sql", url=NOWHERE).stdout


def test_each_revision_is_told(project: Path, tmp_path: Path, url: str) -> None:
    changed = copy(project, tmp_path, {})
    add_migrations(changed, "pass")
    done = alembic(changed, "upgrade", "head", url=url)
    assert done.returncode == 0, done.stderr
    told = [line for line in read_messages(done.stderr) if line.startswith("Running")]
    assert [line.partition(",")[0] for line in told] == [
        "Running upgrade  -> 0001",
        "Running upgrade 0001 -> 0002",
    ]


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ("op.execute('ALTER TABLE nothing ADD n int')", "UndefinedTableError: relation "),
        *(
            pytest.param(statement, line, marks=pytest.mark.slow)
            for statement, line in [
                ("op.execute('SELEC 1')", "PostgresSyntaxError: syntax error"),
                (
                    "op.alter_column('users', 'email', new_column_name='name')",
                    "DuplicateColumnError: ",
                ),
            ]
        ),
    ],
)
def test_failure_is_a_line(
    project: Path, tmp_path: Path, url: str, statement: str, line: str
) -> None:
    """And what came before it stays"""
    changed = copy(project, tmp_path, {})
    add_migrations(changed, statement)
    done = alembic(changed, "upgrade", "head", url=url)
    assert done.returncode != 0
    assert done.stdout.strip().startswith(f"FAILED: {line}")
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert alembic(project, "current", url=url).stdout == "0001 (head)\n"


def test_code_that_was_rolled_back_to_has_nothing_to_do(
    project: Path, tmp_path: Path, url: str
) -> None:
    """It goes on serving with the newer schema: a job that migrates must not fail"""
    newer = copy(project, tmp_path, {})
    add_migrations(newer, "op.execute('ALTER TABLE users ADD nickname text')")
    assert alembic(newer, "upgrade", "head", url=url).returncode == 0
    done = alembic(project, "upgrade", "head", url=url)
    assert done.returncode == 0, done.stderr
    newer_schema = "The schema is at 0002, which is newer: nothing to do; see docs/migrations.md"
    assert newer_schema in read_messages(done.stderr)
    assert alembic(project, "downgrade", "base", url=url).returncode != 0
    assert alembic(newer, "current", url=url).stdout == "0002 (head)\n"


def test_name_that_sorts_before_the_schema_is_no_older_one(
    project: Path, tmp_path: Path, url: str
) -> None:
    """Alembic draws one by lot where none is given"""
    assert alembic(project, "upgrade", "head", url=url).returncode == 0
    drawn = copy(project, tmp_path, {"my_service/tables.py": {'"0001"': '"0000f"'}})
    assert alembic(drawn, "revision", "--rev-id", "0000f", url=url).returncode == 0
    done = alembic(drawn, "upgrade", "head", url=url)
    assert done.returncode == 0, done.stderr
    assert alembic(drawn, "current", url=url).stdout == "0000f (head)\n"


AUDITS = """

audits = Table("audits", metadata, Column("id", sa.BigInteger, primary_key=True), schema="audit")
"""


def test_table_of_another_schema_is_found(project: Path, tmp_path: Path, url: str) -> None:
    """Else each migration that Alembic writes would make it anew"""
    changed = copy(project, tmp_path, {})
    tables = changed / "my_service/tables.py"
    tables.write_text(tables.read_text() + AUDITS)
    made = "op.execute('CREATE SCHEMA audit CREATE TABLE audits (id bigint PRIMARY KEY)')"
    add_migrations(changed, made)
    assert alembic(changed, "upgrade", "head", url=url).returncode == 0
    done = alembic(changed, "check", url=url)
    assert done.returncode == 0, done.stdout
