"""What a client may send: the types of single values, and the parsing of whole requests."""

from collections.abc import Container, Iterator
from itertools import islice
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta
from starlette.exceptions import HTTPException
from starlette.requests import Request

from .errors import Invalid, Violation

Model = TypeVar("Model", bound=msgspec.Struct)

Id = Annotated[int, Meta(ge=1, le=2**63 - 1, examples=[1])]
Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1, examples=[5])]
# PostgreSQL's text holds no NUL.
Text = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$")]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$", examples=["Ada"])]
# `$` alone would allow a newline at the end.
Email = Annotated[
    str,
    Meta(
        max_length=254,
        # \s and \w would mean more here than in the browsers that read the schema.
        pattern=r"^[^@\x00-\x20\x7f-\xa0]+@[^@\x00-\x20\x7f-\xa0]+\.[^@\x00-\x20\x7f-\xa0]+(?!\n)$",
        examples=["ada@example.com"],
    ),
]
Limit = Annotated[int, Meta(ge=1, le=100)]

MOST_VIOLATIONS = 10
JSON = {"application/json", "application/json;charset=utf-8"}


def parse_parameters(request: Request[Any], model: type[msgspec.Struct]) -> dict[str, Any]:
    """The path and query parameters by name. Raises `Invalid`."""
    path = request.path_params
    query = parse_query(request.scope["query_string"])
    if not query and not model.__struct_fields__:
        return {}
    if query.keys() & path:
        raise Invalid([Violation("query", name, "Is not known") for name in query.keys() & path])
    return msgspec.structs.asdict(validate(query | path, model, "query", path))


def parse_query(query_string: bytes) -> dict[str, str]:
    """https://url.spec.whatwg.org/#urlencoded-parsing, but UTF-8 only, and each name once."""
    if not query_string:
        return {}
    try:
        pairs = parse_qsl(query_string.decode(), keep_blank_values=True, errors="strict")
    except ValueError:
        raise Invalid([Violation("query", "", "Is not percent-encoded UTF-8")]) from None
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise Invalid([Violation("query", name[:100], "Is given more than once")])
        values[name] = value
    return values


async def parse_body(request: Request[Any], model: type[Model]) -> Model:
    """The JSON body.

    Raises `Invalid`, or `HTTPException`: 400 where it is not JSON, 415 where it is not said to be.
    """
    content = await request.body()
    if request.headers.get("content-type", "").lower().replace(" ", "") not in JSON:
        raise HTTPException(415, "The body must be application/json, in UTF-8")
    try:
        try:
            return msgspec.json.decode(content, type=model)
        except msgspec.ValidationError as error:
            values = msgspec.json.decode(content)
            if not isinstance(values, dict):
                raise Invalid([Violation("body", "", str(error))]) from None
            return validate(values, model, "body")
    except msgspec.ValidationError as error:  # A number that no type holds.
        raise Invalid([Violation("body", "", str(error))]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise HTTPException(400, "The body is not JSON, or is nested too deeply") from None


def validate(
    values: dict[str, Any], model: type[Model], location: str, path: Container[str] = ()
) -> Model:
    """`values` as a `model`; raises `Invalid` with each wrong one: msgspec stops at the first.

    They come from the `location`, `body` or `query`, except those named in `path`. Outside a body
    texts may stand for numbers.
    """
    strict = location == "body"
    try:
        converted = msgspec.convert(values, model, strict=strict)
        if strict or all(is_exact(getattr(converted, name), values[name]) for name in values):
            return converted
    except msgspec.ValidationError:
        pass
    found = islice(find_violations(values, model, strict), MOST_VIOLATIONS)
    raise Invalid([Violation("path" if n in path else location, n, detail) for n, detail in found])


def is_exact(value: object, text: str) -> bool:
    """Whether an integer is written as one: msgspec takes 1.0 and 1e0, and rounds large ones."""
    return type(value) is not int or str(value) == text


def find_violations(
    values: dict[str, Any], model: type[msgspec.Struct], strict: bool
) -> Iterator[tuple[str, str]]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(model)}
    for name, field in fields.items():
        if name in values:
            try:
                value = msgspec.convert(values[name], field.type, strict=strict)
                if not strict and not is_exact(value, values[name]):
                    yield name, "Expected `int`, in digits alone"
            except msgspec.ValidationError as error:
                yield name, str(error)
        elif field.required:
            yield name, "Is required"
    for name in values:
        if name not in fields:
            yield name[:100], "Is not known"
