"""The fields of a query, of headers, or of a form, which texts give, and those of JSON."""

from collections.abc import Iterator
from copy import copy
from dataclasses import is_dataclass
from functools import cache
from inspect import Parameter
from typing import Any, NotRequired, Required, get_args, get_origin, get_type_hints, is_typeddict

import msgspec
from msgspec import inspect as types
from starlette.datastructures import UploadFile

OPTIONAL = {Required, NotRequired}
# What has parts of its own.
OBJECTS = (
    types.StructType,
    types.DataclassType,
    types.TypedDictType,
    types.NamedTupleType,
    types.DictType,
    types.CollectionType,
    types.TupleType,
    types.CustomType,
)


def read_default(parameter: Parameter, name: str) -> Any:
    if isinstance(parameter.default, list | set | dict):
        return msgspec.field(default_factory=lambda: copy(parameter.default), name=name)
    given = parameter.default is not parameter.empty
    return msgspec.field(default=parameter.default if given else msgspec.NODEFAULT, name=name)


def define(name: str, fields: list[Any]) -> type[msgspec.Struct] | None:
    if not fields:
        return None
    model = msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)
    if has_files(model):
        raise TypeError("a file comes from a form")
    return model


@cache
def find_lists(model: type[msgspec.Struct]) -> frozenset[str]:
    """The names, in a query or a form, of the fields that have several values."""
    info: Any = types.type_info(model)
    return frozenset(field.encode_name for field in info.fields if is_list(field.type))


def is_list(type_: Any) -> bool:
    if isinstance(type_, types.Metadata):
        return is_list(type_.type)
    if isinstance(type_, types.UnionType):
        return any(map(is_list, type_.types))
    return isinstance(type_, types.CollectionType | types.TupleType)


@cache
def read_controls(model: type[msgspec.Struct]) -> dict[tuple[str, Any], str | None]:
    """By a field's name, what browsers send that is no text of its type, and what it means.

    What is left empty is not given, None, where it need not be; a box that is checked is `on`.
    """
    meant: dict[tuple[str, Any], str | None] = {}
    info: Any = types.type_info(model)
    for field in info.fields:
        kinds = [*flatten(field.type)]
        if not field.required and not any(takes(each, "") for each in kinds):
            meant[field.encode_name, ""] = None
        if types.BoolType() in kinds and not any(takes(each, "on") for each in kinds):
            meant[field.encode_name, "on"] = "true"
    return meant


def takes(type_: Any, text: str) -> bool:
    if isinstance(type_, types.EnumType):
        return text in [each.value for each in type_.cls]
    if isinstance(type_, types.LiteralType):
        return text in type_.values
    return isinstance(type_, types.StrType | types.AnyType | types.BytesType)


def has_files(model: type[msgspec.Struct]) -> bool:
    """Of a form, a query or headers. Raises `TypeError` where no text can give a field."""
    files = False
    info: Any = types.type_info(model)
    for field in info.fields:
        for each in flatten(field.type):
            if isinstance(each, types.CustomType) and each.cls is UploadFile:
                files = True
            elif isinstance(each, OBJECTS):
                raise TypeError(f"`{field.encode_name}` is no text; a JSON body may hold it")
    return files


def flatten(type_: Any, nested: bool = False) -> Iterator[Any]:
    if isinstance(type_, types.Metadata):
        yield from flatten(type_.type, nested)
    elif isinstance(type_, types.UnionType):
        for each in type_.types:
            yield from flatten(each, nested)
    elif isinstance(type_, types.CollectionType) and not nested:
        yield from flatten(type_.item_type, True)
    else:
        yield type_


def read_fields(type_: Any) -> dict[str, tuple[Any, bool]] | None:
    """The type of each field by its name in JSON, and whether it is required; of no class None."""
    cls = get_origin(type_) or type_
    if isinstance(cls, type) and issubclass(cls, msgspec.Struct):
        return {f.encode_name: (f.type, f.required) for f in msgspec.structs.fields(type_)}
    if not is_dataclass(cls) and not is_typeddict(cls):
        return None
    hints = get_type_hints(cls, include_extras=True)
    info: Any = types.type_info(cls)
    bare = {n: get_args(h)[0] if get_origin(h) in OPTIONAL else h for n, h in hints.items()}
    return {f.encode_name: (bare[f.name], f.required) for f in info.fields}


def find_member(value: Any, union: list[Any]) -> Any:
    """Of which type a value is meant to be: the only one, or that whose tag it has; else None."""
    if len(union) == 1:
        return union[0]
    for each in union if isinstance(value, dict) else []:
        config = getattr(get_origin(each) or each, "__struct_config__", None)
        if config and config.tag is not None and value.get(config.tag_field) == config.tag:
            return each
    return None
