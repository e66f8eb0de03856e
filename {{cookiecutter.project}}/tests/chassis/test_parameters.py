"""`:name` in texts is as in `sqlalchemy.text`, but for quotes and casts."""

import pytest
from sqlalchemy import text
from sqlalchemy.dialects.postgresql.asyncpg import dialect

from {{ cookiecutter.__package }}.chassis.parameters import (
    changes_session,
    parse,
)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1",
        "SELECT :a, :b, :a",
        "SELECT :a + :bc_1, x::int, y ::text, '10:30', a[1:2], a[:n]",
        r"SELECT '\:a', x \:: y, '%s' % 3, '%(a)s'",
        "SELECT * FROM t WHERE a=:a AND b = ANY(:b)\nAND c <> :c;",
        "SELECT ':', ': x', a:b, :ü",
    ],
)
def test_text_is_read_as_sqlalchemy_reads_it(query: str) -> None:
    compiled = text(query).compile(dialect=dialect())  # type: ignore[no-untyped-call]
    assert parse(query) == (compiled.string, tuple(compiled.positiontup or ()))


@pytest.mark.parametrize(
    "literal",
    [
        "':b'",
        "'it''s :b'",
        r"E'\' :b'",
        '":b"',
        "$$ :b $$",
        "$x$ $$ :b $x$",
        "/* :b \n */",
        "-- :b\n",
    ],
)
def test_what_is_quoted_is_no_parameter(literal: str) -> None:
    assert parse(f"SELECT :a, {literal}, :c") == (f"SELECT $1, {literal}, $2", ("a", "c"))


def test_parameter_may_be_cast() -> None:
    assert parse("SELECT :a::int, :b::text[]") == ("SELECT $1::int, $2::text[]", ("a", "b"))


@pytest.mark.parametrize(
    ("sql", "changes"),
    [
        ("SET ROLE other", True),
        (" set search_path = x", True),
        ("/* tenant */ SET ROLE other", True),
        ("-- tenant\nSET ROLE other", True),
        ("SET LOCAL a.b = 1; SET a.b = 2", True),
        ("LISTEN news", True),
        ("CALL rename_tenant()", True),
        ('SELECT own."Set_Tenant" (1)', True),
        ("SELECT pg_advisory_lock(1)", True),
        ("SELECT set_config('a.b', '1', false)", True),
        ("SET LOCAL a.b = 1", False),
        ("SET TRANSACTION READ ONLY", False),
        ("UPDATE posts SET title = 'SET'", False),
        ("SELECT 1", False),
    ],
)
def test_change_of_the_session_is_seen(sql: str, changes: bool) -> None:
    assert changes_session(sql, frozenset({"set_tenant"})) == changes
