"""Whether values are of a type, and each wrong one by its place: msgspec stops at the first."""

from collections.abc import Container, Iterator
from datetime import datetime, time, timedelta
from decimal import Decimal
from itertools import islice, product, starmap
from math import isfinite
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec

from .errors import Invalid, Violation
from .fields import find_member, read_fields

Model = TypeVar("Model", bound=msgspec.Struct)

MOST_VIOLATIONS = 10
# What is looked into when something is wrong. Each level converts what is below it again.
MOST_LEVELS = 5
MOST_ELEMENTS = 1000
REFUSED = (msgspec.ValidationError, TypeError)  # a set's, of what has no hash, as Decimal("sNaN")


def convert_texts(
    values: dict[str, Any], model: type[Model], location: str, path: Container[str] = ()
) -> Model:
    """Texts, or lists of them, as a `model`; raises `Invalid`.

    They come from the `location`, except those named in `path`.
    """
    try:
        converted = msgspec.convert(values, model, strict=False)
        names = zip(model.__struct_fields__, model.__struct_encode_fields__, strict=True)
        for field, name in names:
            if name in values and not is_exact(getattr(converted, field), values[name]):
                break
        else:
            return converted
    except REFUSED:
        pass
    raise invalid(values, model, location, path, strict=False)


def invalid(
    value: Any, type_: Any, location: str, path: Container[str] = (), *, strict: bool
) -> Invalid:
    found = islice(find_violations(value, type_, strict), MOST_VIOLATIONS)
    return Invalid([Violation("path" if p in path else location, p, d) for p, d in found])


def is_exact(value: object, given: object) -> bool:
    """Whether a text was the way to write a value.

    msgspec takes 1.0 and 1e0 for an integer, rounds large ones, and takes nan, and 5 for a time.
    """
    if type(value) is int:
        return str(value) == given
    if isinstance(value, float | Decimal):  # `isfinite` would raise at a decimal's sNaN.
        return value.is_finite() if isinstance(value, Decimal) else isfinite(value)
    if isinstance(value, list | tuple) and isinstance(given, list):
        return all(map(is_exact, value, given))
    if isinstance(value, set | frozenset) and isinstance(given, list):
        others = [each for each in value if type(each) is not int]
        # Which text gave which is not known.
        pairs = [*product(others, given[:1]), *product(others[:1], given)]
        return all(starmap(is_exact, pairs)) if others else set(given) <= set(map(str, value))
    if isinstance(value, datetime | time | timedelta) and isinstance(given, str):
        return not given.lstrip("+-").replace(".", "").isdecimal()
    return True


def is_finite(value: Any) -> bool:
    """Whether no decimal in it is what JSON has no number for; msgspec takes one as a text."""
    parts = [msgspec.to_builtins(value, builtin_types=(Decimal,))]
    for part in parts:  # which grow
        if isinstance(part, dict | list | tuple):
            parts += part.values() if isinstance(part, dict) else part
        elif isinstance(part, Decimal) and not part.is_finite():
            return False
    return True


def find_violations(
    value: Any, type_: Any, strict: bool, place: str = "", levels: int = MOST_LEVELS
) -> Iterator[tuple[str, str]]:
    """The place of each, as `items[0].name`, and what is wrong there."""
    fault = find_fault(value, type_, strict)
    texts = isinstance(value, dict) and not strict  # Each may be convertible, and inexact.
    if levels and (fault or texts):
        inner = find_inner(value, type_, strict, place, levels - 1)
        for violation in inner:
            fault = ""
            yield violation
    if fault:
        detail, _, below = fault.partition(" - at `$")
        if "matching regex" in detail:
            detail = next((f"Expected {text}" for text in find_descriptions(type_)), detail)
        yield (place + below.rstrip("`")).removeprefix("."), detail


def find_descriptions(type_: Any) -> Iterator[str]:
    """Of a type, or of a union's, by its `Meta`: plainer than the pattern itself."""
    for each in get_args(type_):
        if isinstance(each, msgspec.Meta):
            yield from [each.description] if each.description else []
        else:
            yield from find_descriptions(each)


def find_fault(value: Any, type_: Any, strict: bool) -> str:
    """What msgspec says, or empty."""
    try:
        converted = msgspec.convert(value, type_, strict=strict, str_keys=strict)
    except REFUSED as error:
        return str(error)
    if is_finite(converted) if strict else is_exact(converted, value):
        return ""
    exact = "in digits alone" if type(converted) is int else "a finite number"
    exact = "and no number" if isinstance(converted, datetime | time | timedelta) else exact
    return f"Expected `{type(converted).__name__}`, {exact}"


def find_inner(
    value: Any, type_: Any, strict: bool, place: str, levels: int
) -> Iterator[tuple[str, str]]:
    if get_origin(type_) is Annotated:
        type_ = get_args(type_)[0]
    arguments = [each for each in get_args(type_) if each not in (NoneType, msgspec.UnsetType)]
    if type(value) is list and (... in arguments or get_origin(type_) in {list, set, frozenset}):
        for number, each in enumerate(value[:MOST_ELEMENTS]):
            yield from find_violations(each, arguments[0], strict, f"{place}[{number}]", levels)
    elif isinstance(value, dict) and get_origin(type_) is dict:
        for name, each in islice(value.items(), MOST_ELEMENTS):
            inner = f"{place}.{name[:100]}".removeprefix(".")
            yield from find_violations(each, arguments[1], strict, inner, levels)
    elif isinstance(value, dict) and (fields := read_fields(type_)) is not None:
        for name, (field, required) in fields.items():
            inner = f"{place}.{name}".removeprefix(".")
            if name in value:
                yield from find_violations(value[name], field, strict, inner, levels)
            elif required:
                yield inner, "Is required"
        config = getattr(get_origin(type_) or type_, "__struct_config__", None)
        if config and config.forbid_unknown_fields:
            for name in [n for n in value if n not in fields and n != config.tag_field]:
                yield f"{place}.{name[:100]}".removeprefix("."), "Is not known"
    elif get_origin(type_) in {Union, UnionType} and (member := find_member(value, arguments)):
        yield from find_inner(value, member, strict, place, levels)
