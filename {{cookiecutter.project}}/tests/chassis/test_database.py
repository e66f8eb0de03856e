"""What `databases` documents, as the service has it."""

import asyncio
import enum
import uuid
from copy import copy
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import ArgumentError

from {{ cookiecutter.__package }}.chassis.connect import UnreadableValue
from {{ cookiecutter.__package }}.chassis.database import Database

NUMBERS = "SELECT n FROM generate_series(1, :last) AS n"
WHO = "SELECT pg_backend_pid()"

metadata = sa.MetaData()
notes = sa.Table(
    "notes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("text", sa.String),
    sa.Column("data", sa.JSON),
)


class Color(enum.Enum):
    RED = "red"


async def test_row_is_read_by_name_attribute_and_index(database: Database) -> None:
    row: Any = await database.fetch_one("SELECT :a::int AS one, 'b' AS two", {"a": 1})
    assert (row["one"], row.one, row[0], *row) == (1, 1, 1, 1, "b")
    assert dict(row) == {**row._mapping} == {"one": 1, "two": "b"}
    with pytest.raises(AttributeError):
        _ = row.three


async def test_fetch_one_of_no_row_is_none(database: Database) -> None:
    assert await database.fetch_one("SELECT 1 WHERE false") is None
    assert await database.fetch_val("SELECT 1 WHERE false") is None


async def test_fetch_all_keeps_the_order(database: Database) -> None:
    rows = await database.fetch_all(NUMBERS, {"last": 3})
    assert [row["n"] for row in rows] == [1, 2, 3]


async def test_fetch_val_takes_a_column(database: Database) -> None:
    assert await database.fetch_val("SELECT 1 AS one, 2 AS two", column="two") == 2


@pytest.mark.parametrize("values", [None, {}, {"b": 1}, {"a": 1, "b": 2}])
async def test_other_values_than_the_text_names_are_refused(
    database: Database, values: dict[str, Any] | None
) -> None:
    with pytest.raises(ArgumentError):
        await database.fetch_one("SELECT :a::int", values)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("CAST(:value AS jsonb)", {"a": [1, None, {"b": "ü"}]}),
        (":value::json", ["a", 1.5, True]),
        (":value::jsonb", "text"),
        (":value::jsonb[]", [{"a": 1}, {}]),
        (":value::uuid", uuid.UUID(int=7)),
        (":value::numeric", Decimal("0.700000000000000001")),
        (":value::int[]", [1, None, 3]),
        (":value::timestamptz", datetime(2026, 1, 2, 3, 4, 5, 6, UTC)),
        (":value::date", date(2026, 1, 2)),
        (":value::bytea", b"\0\1"),
    ],
)
async def test_value_comes_back_as_it_was(
    database: Database, expression: str, value: object
) -> None:
    found = await database.fetch_val(f"SELECT {expression}", {"value": value})
    assert found == value
    async with database.transaction():
        assert await database.fetch_val(f"SELECT {expression}", {"value": value}) == value


async def test_member_of_an_enum_is_its_value(database: Database) -> None:
    assert await database.fetch_val("SELECT :c::text", {"c": Color.RED}) == "red"
    for several in ([Color.RED, None], (Color.RED, None), {Color.RED}):
        assert await database.fetch_val("SELECT (:c::text[])[1]", {"c": several}) == "red"


@pytest.mark.parametrize(
    "literal", ["'0044-03-15 BC'::date", "'20000-01-01'::timestamptz", "'24:00'::time"]
)
async def test_value_that_python_cannot_hold_is_told(database: Database, literal: str) -> None:
    query = f"SELECT {literal} UNION ALL SELECT NULL"
    with pytest.raises(UnreadableValue, match="Python cannot hold"):
        await database.fetch_all(query)
    async with database.connection():
        with pytest.raises(UnreadableValue):
            await database.fetch_all(query)
    assert await database.fetch_val("SELECT 1") == 1


@pytest.mark.parametrize(("sign", "value"), [("", datetime.max), ("-", datetime.min)])
async def test_infinity_is_the_last_or_first_moment_of_python(
    database: Database, sign: str, value: datetime
) -> None:
    """Either way: what is read and written back is still infinite."""
    assert await database.fetch_val(f"SELECT '{sign}infinity'::timestamptz") == value
    finite = "SELECT isfinite(CAST(:value AS timestamptz))"
    assert not await database.fetch_val(finite, {"value": value})


async def test_composite_may_hold_json(database: Database) -> None:
    row = await database.fetch_val("""SELECT (1, '{"a": 1}'::jsonb)""")
    assert row[1] == {"a": 1}


async def test_iterate_leaves_the_task_free_to_send_other_queries(database: Database) -> None:
    async with asyncio.timeout(2):
        async for row in database.iterate(NUMBERS, {"last": 120}):
            assert await database.fetch_val("SELECT :n::int", {"n": row.n}) == row.n
        async with database.transaction():
            async for row in database.iterate(NUMBERS, {"last": 120}):
                assert await database.fetch_val("SELECT :n::int", {"n": row.n}) == row.n


async def test_loop_that_is_left_gives_its_connection_back(database: Database) -> None:
    for _ in range(20):
        async for _ in database.iterate(NUMBERS, {"last": 99}):
            break
    await asyncio.sleep(0.2)
    assert len(database.pool.places.idle) == len(database.pool.connections)


async def test_connection_is_the_same_in_its_block(database: Database) -> None:
    async with database.connection() as connection:
        pids = {await database.fetch_val(WHO), await connection.fetch_val(WHO)}
        pids.add(await connection.raw_connection.fetchval(WHO))
        assert len(pids) == 1


async def test_children_have_connections_of_their_own(database: Database) -> None:
    """What a child wrote stays where its parent rolls back: pass the connection on."""
    await database.execute("CREATE TABLE children (n int)")
    insert = "INSERT INTO children VALUES (1)"
    try:
        async with database.transaction(force_rollback=True):
            await database.execute(insert)
            await asyncio.gather(database.execute(insert), database.execute(insert))
        assert await database.fetch_val("SELECT count(*) FROM children") == 2
    finally:
        await database.execute("DROP TABLE children")


async def test_execute_many_is_all_or_nothing(database: Database) -> None:
    await database.execute("CREATE TABLE many (n int CHECK (n < 9))")
    try:
        await database.execute_many("INSERT INTO many VALUES (:n)", [{"n": 1}, {"n": 2}])
        with pytest.raises(asyncpg.CheckViolationError):
            await database.execute_many("INSERT INTO many VALUES (:n)", [{"n": 3}, {"n": 9}])
        assert await database.fetch_val("SELECT count(*) FROM many") == 2
    finally:
        await database.execute("DROP TABLE many")


async def test_expressions_of_sqlalchemy(database: Database) -> None:
    async with database.transaction(force_rollback=True):
        await database.execute(sa.schema.CreateTable(notes))
        id_ = await database.execute(notes.insert(), {"text": "a", "data": {"b": None}})
        await database.execute_many(notes.insert(), [{"text": "c"}, {"text": "d"}])
        row: Any = await database.fetch_one(notes.select().where(notes.c.id.in_([id_])))
        assert (row.text, row[notes.c.data], row["id"]) == ("a", {"b": None}, id_)
        assert dict(row._mapping) == {"id": id_, "text": "a", "data": {"b": None}}
        query = sa.select(notes.c.text, sa.text("1 AS one"), sa.func.upper(notes.c.text))
        assert [[*row] for row in await database.fetch_all(query.limit(1))] == [["a", 1, "A"]]
        assert [row.text async for row in database.iterate(notes.select())] == ["a", "c", "d"]


async def test_expressions_fill_in_the_defaults_of_columns(database: Database) -> None:
    """Of insert and update, for each of several rows; a given None is one."""
    items = sa.Table(
        "items",
        sa.MetaData(),
        sa.Column("id", sa.Uuid, default=uuid.uuid4, primary_key=True),
        sa.Column("text", sa.String, default="new"),
        sa.Column("changed", sa.Integer, default=0, onupdate=lambda: 1),
    )
    async with database.transaction(force_rollback=True):
        await database.execute(sa.schema.CreateTable(items))
        await database.execute(items.insert().values([{"text": "a"}, {"text": None}]))
        await database.execute_many(items.insert(), [{"changed": 2}, {"changed": 3}])
        await database.execute(items.update().where(items.c.text == "a"), {"text": "b"})
        rows = await database.fetch_all(items.select())
    assert len({row["id"] for row in rows}) == 4
    found = {(row["text"], row["changed"]) for row in rows}
    assert found == {("b", 1), (None, 0), ("new", 2), ("new", 3)}


async def test_row_of_an_expression_has_nothing_but_its_columns(database: Database) -> None:
    query = sa.select(*(sa.literal(i).label(name) for i, name in enumerate(["result", "row", "x"])))
    row: Any = await database.fetch_one(query)
    assert (row.result, row.row, [*row.values()]) == (0, 1, [0, 1, 2])
    assert "x" in row
    assert "y" not in row
    assert copy(row).x == 2


@pytest.mark.parametrize(
    ("type_", "value", "read"),
    [
        (postgresql.INT4RANGE, postgresql.Range(1, 5), postgresql.Range(1, 5)),
        (postgresql.INT4RANGE, asyncpg.Range(1, 5), postgresql.Range(1, 5)),
        (postgresql.INT4RANGE, None, None),
        (postgresql.BIT(3), "101", "101"),
    ],
)
async def test_types_of_postgresql(
    database: Database, type_: Any, value: object, read: object
) -> None:
    query = sa.select(sa.cast(sa.bindparam("value", value, type_), type_))
    row = await database.fetch_one(query)
    assert row is not None
    assert row[0] == read


async def test_parameters_of_a_text_may_have_types(database: Database) -> None:
    text = sa.text("SELECT :data ->> 'a'").bindparams(
        sa.bindparam("data", {"a": "b"}, postgresql.JSONB)
    )
    assert await database.fetch_val(text) == "b"
    text = sa.text("SELECT 2 IN :ids").bindparams(sa.bindparam("ids", [1, 2], expanding=True))
    assert await database.fetch_val(text) is True


async def test_wrong_option_of_a_transaction_is_told(database: Database) -> None:
    with pytest.raises(ValueError, match="isolation is expected"):
        await database.transaction(isolation="none").start()
    assert await database.fetch_val("SELECT 1") == 1
