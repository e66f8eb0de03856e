"""Bodies: JSON of any type, forms, and what is passed on as it comes."""

import sys
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import msgspec
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from .errors import Invalid, Violation
from .fields import find_lists, read_controls
from .parse import collect
from .violations import REFUSED, convert_texts, invalid, is_finite

FORM = ("application/x-www-form-urlencoded", "multipart/form-data")


class Body(NamedTuple):
    """What a function declares. `name` is its parameter's; what has a `default` may be absent."""

    name: str
    type: Any
    media_types: tuple[str, ...]
    default: Any = msgspec.NODEFAULT
    has_decimals: bool = False
    is_text: bool = False

    @property
    def is_form(self) -> bool:
        return self.media_types[0] in FORM

    @property
    def is_json(self) -> bool:
        return is_json(self.media_types[0])


def is_json(media_type: str) -> bool:
    """https://www.rfc-editor.org/rfc/rfc6839#section-3.1"""
    return media_type == "application/json" or media_type.endswith("+json")


async def parse_body(request: Request[Any], body: Body) -> Any:
    """Raises `Invalid`, or `HTTPException`: 400 where it is malformed, 415 for another type."""
    # A form is parsed as it comes: its files need not be in memory.
    optional = body.default is not msgspec.NODEFAULT
    content = await request.body() if optional or not body.is_form else b""
    if optional and not content:
        return body.default
    given = request.headers.get("content-type", "").lower().replace(" ", "")
    media_type, _, parameters = given.partition(";")
    expected = any(fnmatchcase(media_type, each) for each in body.media_types)
    if not expected:
        raise HTTPException(415, f"The body must be {' or '.join(body.media_types)}")
    if body.is_json and parameters.replace('"', "") not in {"", "charset=utf-8"}:
        raise HTTPException(415, "The body must be in UTF-8")
    if body.is_form:
        return await parse_form(request, body.type)
    if body.is_json:
        return parse_json(content, body)
    try:
        return msgspec.convert(content.decode() if body.is_text else content, body.type)
    except UnicodeDecodeError:
        raise HTTPException(400, "The body is not UTF-8") from None
    except msgspec.ValidationError as error:
        raise Invalid([Violation("body", "", str(error))]) from None


def parse_json(content: bytes, body: Body) -> Any:
    try:
        try:
            value = msgspec.json.decode(content, type=body.type)
            if not body.has_decimals or is_finite(value):
                return value
        except REFUSED:
            pass
        raise invalid(msgspec.json.decode(content), body.type, "body", strict=True)
    except msgspec.ValidationError as error:  # A number that no type holds.
        raise Invalid([Violation("body", "", str(error))]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise HTTPException(400, "The body is not JSON, or is nested too deeply") from None


async def parse_form(request: Request[Any], model: type[msgspec.Struct]) -> msgspec.Struct:
    """Of a file that was not chosen, browsers send an empty one without a name."""
    # Its parts have no limit of their own, but for their number: the body has one.
    form = await request.form(max_part_size=sys.maxsize)
    meant = read_controls(model)
    pairs = [
        (name, meant.get((name, value), value))
        for name, value in form.multi_items()
        if not isinstance(value, UploadFile) or value.filename or value.size
    ]
    pairs = [(name, value) for name, value in pairs if value is not None]
    return convert_texts(collect(pairs, find_lists(model), "body"), model, "body")
