"""What a client may send beside a body: the types of single values, and where they stand."""

import re
from collections.abc import Container, Iterable
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from msgspec import Meta
from starlette.requests import Request

from .errors import Invalid, Violation
from .fields import find_lists
from .violations import convert_texts

Id = Annotated[int, Meta(ge=1, le=2**63 - 1, examples=[1])]
Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1, examples=[5])]
# A description is what is said where the pattern does not match.
# PostgreSQL's text holds no NUL.
NO_NUL = Meta(pattern=r"^[^\x00]*$", description="text without NUL")
Text = Annotated[str, Meta(max_length=200), NO_NUL]
Name = Annotated[str, Meta(min_length=1, max_length=200, examples=["Ada"]), NO_NUL]
# `$` alone would allow a newline at the end.
Email = Annotated[
    str,
    Meta(
        max_length=254,
        # \s and \w would mean more here than in the browsers that read the schema.
        pattern=r"^[^@\x00-\x20\x7f-\xa0]+@[^@\x00-\x20\x7f-\xa0]+\.[^@\x00-\x20\x7f-\xa0]+(?!\n)$",
        description="an e-mail address",
        examples=["ada@example.com"],
    ),
]
Limit = Annotated[int, Meta(ge=1, le=100)]
# With a zone: only then is it a date-time of RFC 3339, as the schema says.
Timestamp = Annotated[datetime, Meta(tz=True)]

CONVERTED = {int, float, UUID}  # by Starlette's convertors


def parse_parameters(
    request: Request[Any], model: type[msgspec.Struct], query: dict[str, Any]
) -> dict[str, Any]:
    """The path and query parameters by name. Raises `Invalid`."""
    if not query and not model.__struct_fields__:
        return {}
    known = model.__struct_encode_fields__
    path = {  # It is the signature that says what it is, and which ones of a host it takes.
        name: str(value) if type(value) in CONVERTED else value
        for name, value in request.path_params.items()
        if name in known
    }
    if query.keys() & path:
        raise Invalid([Violation("query", name, "Is not known") for name in query.keys() & path])
    return msgspec.structs.asdict(convert_texts(query | path, model, "query", path))


def parse_query(query_string: bytes, lists: Container[str]) -> dict[str, Any]:
    """https://url.spec.whatwg.org/#urlencoded-parsing, but UTF-8 only, and each name once.

    Those in `lists` may be repeated.
    """
    if not query_string:
        return {}
    try:
        pairs = parse_qsl(query_string.decode(), keep_blank_values=True, errors="strict")
    except ValueError:
        raise Invalid([Violation("query", "", "Is not percent-encoded UTF-8")]) from None
    return collect(pairs, lists, "query")


def collect(
    pairs: Iterable[tuple[str, Any]], lists: Container[str], location: str
) -> dict[str, Any]:
    """Each value by its name, in a list where it may be repeated. Raises `Invalid`."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in lists:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise Invalid([Violation(location, name[:100], "Is given more than once")])
        else:
            values[name] = value
    return values


def parse_headers(request: Request[Any], model: type[msgspec.Struct]) -> dict[str, Any]:
    """A list is split at its commas: https://www.rfc-editor.org/rfc/rfc9110#section-5.3"""
    lists = find_lists(model)
    values: dict[str, Any] = {}
    for name in model.__struct_encode_fields__:
        if lines := request.headers.getlist(name):
            joined = ", ".join(lines)
            values[name] = re.split(r"\s*,\s*", joined) if name in lists else joined
    return msgspec.structs.asdict(convert_texts(values, model, "header"))


def parse_cookies(request: Request[Any], model: type[msgspec.Struct]) -> dict[str, Any]:
    names = model.__struct_encode_fields__
    values = {name: value for name, value in request.cookies.items() if name in names}
    return msgspec.structs.asdict(convert_texts(values, model, "cookie"))
