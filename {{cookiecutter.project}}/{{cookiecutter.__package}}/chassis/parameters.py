"""Texts with `:name` as asyncpg takes them."""

import re
from collections.abc import Container, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any

from sqlalchemy.exc import ArgumentError

# As `sqlalchemy.text`, which also sees parameters in quotes and comments where the colon is not
# escaped, `\:`, and none in `:name::type`.
TOKENS = re.compile(
    r"""(?<!\w)[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
      | --[^\n]* | /\*.*?\*/ | (?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$
      | (?<![:\w\\]):(?P<name>\w+)(?!\w|:(?!:))""",
    re.VERBOSE | re.DOTALL,
)
SCALARS = {int, str}  # the most usual, which nothing need be looked for in
ESCAPED = re.compile(r"\\(:\w*)(?![:\w])")

# What outlives a query; a connection is reset after it, as asyncpg's own pool does after each.
SESSION = re.compile(
    r"""(?:^|;)(?:\s|--[^\n]*\n|/\*.*?\*/)*
        (?:SET(?!\s+(?:LOCAL|TRANSACTION|CONSTRAINTS)\b)|LISTEN|PREPARE|DECLARE|DO|CALL)\b
      | set_config | advisory_lock""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
CALL = re.compile(r'(\w+)"?\s*\(')


@lru_cache(1000)
def changes_session(sql: str, functions: Container[str]) -> bool:
    """Whether it may: by itself, or in one of the `functions`, whose names are in lower case."""
    called = any(name.lower() in functions for name in CALL.findall(sql)) if functions else False
    return called or bool(SESSION.search(sql))


@lru_cache(1000)
def parse(text: str) -> tuple[str, tuple[str, ...]]:
    """SQL with `$1` for the first `:name`, and so on; and the names in their order."""
    numbers: dict[str, int] = {}

    def replace(token: re.Match[str]) -> str:
        if not (name := token["name"]):
            return token[0]
        return f"${numbers.setdefault(name, len(numbers) + 1)}"

    return ESCAPED.sub(r"\1", TOKENS.sub(replace, text)), tuple(numbers)


def convert_members(value: Any) -> Any:
    """Members of enums as their values, in what is sent as an array too."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list | tuple | set | frozenset) and any(
        isinstance(each, Enum) for each in value
    ):
        return [convert_members(each) for each in value]
    return value


def bind(text: str, values: Mapping[str, Any] | None) -> tuple[str, Sequence[Any]]:
    """The SQL and its values, each by `convert_members`.

    Raises `ArgumentError` where they are not those that the text names.
    """
    sql, names = parse(text)
    if not values:
        found: Sequence[Any] = ()
    else:
        try:
            found = [
                v if type(v := values[name]) in SCALARS else convert_members(v) for name in names
            ]
        except KeyError:
            found = ()
    if len(names) != len(found) or len(names) != len(values or ()):
        raise ArgumentError(f"The query takes {[*names]}, not {[*(values or ())]}")
    return sql, found
