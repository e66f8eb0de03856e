"""The JSON schemas of types, and the components that they share."""

from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any

import msgspec
from starlette.datastructures import UploadFile

DECIMAL = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def describe_file(type_: type) -> dict[str, Any]:
    if type_ is UploadFile:
        return {"type": "string", "format": "binary"}
    raise NotImplementedError


def refuse_file(type_: type) -> dict[str, Any]:
    describe_file(type_)
    raise TypeError("a file comes from a form")


def describe_types(
    annotations: Iterable[Any],
    describe_other: Callable[[type], dict[str, Any]] = describe_file,
    twin: Any = None,
) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    """The JSON schema of each, and the components that they share.

    Raises `TypeError` where msgspec has one name for two: a generic of two types of one name.
    """
    types = [*annotations]
    try:
        schemas, components = msgspec.json.schema_components(
            types, schema_hook=describe_other, ref_template="#/components/schemas/{name}"
        )
    except KeyError as error:  # The name is the last one's, the first is missed.
        if twin:
            raise TypeError(f"the schema has one name for {twin} and {error.args[0]}") from None
        return describe_types(types[::-1], describe_other, error.args[0])
    correct([*schemas, components])
    return schemas, components


def correct(schema: Any) -> None:
    """Says what a decimal is, which JSON Schema has no format for: by itself it would be any text.

    Leaves out a default that JSON cannot write, as infinity.
    """
    if isinstance(schema, dict):
        if schema.get("format") == "decimal":
            schema["pattern"] = DECIMAL
        if not can_be_written(schema.get("default")):
            del schema["default"]
        schema = [*schema.values()]
    for each in schema if isinstance(schema, list) else ():
        correct(each)


def can_be_written(default: Any) -> bool:
    return not isinstance(default, float) or isfinite(default)
