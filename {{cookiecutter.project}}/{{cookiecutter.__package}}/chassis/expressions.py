"""SQLAlchemy's expressions as asyncpg takes them, and the rows that they give."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import asyncpg
from databases.interfaces import Record
from sqlalchemy import types
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.sql.elements import BindParameter, TextClause
from sqlalchemy.sql.expression import ReturnsRows

from .connect import Json
from .parameters import bind, parse

# Values for json and jsonb stay objects, for the connection's own codec.
driver: Any = asyncpg_dialect
dialect: Any = driver(dbapi=driver.import_dbapi(), json_serializer=Json)

Processor = Callable[[Any], Any] | None
FLOAT8, NUMERIC = 701, 1700  # PostgreSQL's numbers for its types
# SQL, its values, and the columns of its rows where they are known.
Compiled = tuple[str, Sequence[Any], Sequence[Any] | None]
# What SQLAlchemy takes a value for that is given without a type; PostgreSQL knows better.
GUESSED = {types.NullType, types.String, types.Integer, types.BigInteger, types.Boolean}
GUESSED |= {types.Double, types.Float, types.Numeric, types.LargeBinary, types.Uuid}
GUESSED |= {types.DateTime, types.Date, types.Time, types.Interval}


def bind_processor(type_: types.TypeEngine[Any]) -> Processor:
    return type_.dialect_impl(dialect).bind_processor(dialect)


def result_processor(type_: types.TypeEngine[Any]) -> Processor:
    oid = FLOAT8 if isinstance(type_, types.Float) else NUMERIC  # Numbers alone depend on it.
    return type_.dialect_impl(dialect).result_processor(dialect, oid)


def is_plain(query: TextClause) -> bool:
    """Whether none of its parameters is a list, or has a type that must be told."""
    parameters: Any = query.get_children()
    return not any(each.expanding or type(each.type) not in GUESSED for each in parameters)


def compile_text(query: TextClause) -> Compiled:
    names = parse(query.text)[1]
    values = {}
    for parameter in query.get_children():
        assert isinstance(parameter, BindParameter)
        process = bind_processor(parameter.type)
        if parameter.key in names and not parameter.required:
            value = parameter.effective_value
            values[parameter.key] = process(value) if process else value
    return (*bind(query.text, values), None)


def compile_query(query: Any, values: Mapping[str, Any] | None = None) -> Compiled:
    """Of a text, or of an expression. Raises `ArgumentError` as `bind` does."""
    if isinstance(query, str):
        return (*bind(query, values), None)
    if values:
        query = query.values(**values)
    if isinstance(query, TextClause) and is_plain(query):
        return compile_text(query)
    compiled: Any = query.compile(dialect=dialect)
    if not hasattr(compiled, "construct_expanded_state"):  # DDL
        return str(compiled), (), None
    state = compiled.construct_expanded_state()
    for column in compiled.prefetch:
        default = column.default if compiled.isinsert else column.onupdate
        state.parameters[column.key] = default.arg if default.is_scalar else default.arg(None)
    arguments = []
    for name in state.positiontup:
        if not (process := state.processors.get(name)) and name in compiled.binds:
            process = bind_processor(compiled.binds[name].type)
        value = state.parameters[name]
        arguments.append(process(value) if process else value)
    columns = [*query.exported_columns] if isinstance(query, ReturnsRows) else []
    return state.statement, arguments, columns


class Result:
    """What the rows of one query have in common."""

    def __init__(self, row: asyncpg.Record, columns: Sequence[Any]) -> None:
        names = [*row.keys()]
        if len(columns) != len(names):  # A text is among them, which says nothing of its type.
            by_name = {column.name: column for column in columns}
            columns = [by_name.get(name) for name in names]
        self.names = names
        self.processors = [
            None if column is None else result_processor(column.type) for column in columns
        ]
        self.index: dict[Any, int] = {name: i for i, name in enumerate(names)}
        self.index |= {column: i for i, column in enumerate(columns) if column is not None}

    def read(self, row: asyncpg.Record) -> "ExpressionRow":
        return ExpressionRow(
            self,
            [p(value) if p else value for p, value in zip(self.processors, row, strict=True)],
        )


class ExpressionRow(Record):
    """A row of an expression: read by name, attribute, index, or column."""

    def __init__(self, result: Result, row: Sequence[Any]) -> None:
        # Not by names that a column may have.
        self.__result, self.__row = result, row

    @property
    def _mapping(self) -> dict[str, Any]:
        return dict(zip(self.__result.names, self.__row, strict=True))

    def keys(self) -> Sequence[str]:
        return self.__result.names

    def values(self) -> Sequence[Any]:
        return self.__row

    def __contains__(self, key: object) -> bool:
        return key in self.__result.index

    def __getitem__(self, key: Any) -> Any:
        return self.__row[key if isinstance(key, int | slice) else self.__result.index[key]]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # of Python's protocols
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __iter__(self) -> Iterator[Any]:
        return iter(self.__row)

    def __len__(self) -> int:
        return len(self.__row)
