"""What the signature of a function declares: its parameters, its body, its results.

It is read once, when the function is decorated. What cannot work is a `TypeError` that names it.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import NoneType
from typing import Any, get_type_hints

import msgspec

from .body import FORM, Body, is_json
from .components import describe_types, refuse_file
from .fields import define, find_lists, has_files, read_default
from .markers import Cookie, Form, Header, Media, Query, find_markers, lift_markers, options
from .results import Result, find_media_types, read_results
from .security import Scheme


@dataclass(frozen=True)
class Operation:
    """What a function declares, for the parser and for the schema.

    `parameters` has those of the path and of the query string, in which `lists` may be repeated.
    """

    function: Callable[..., Any]
    parameters: type[msgspec.Struct]
    lists: frozenset[str]
    headers: type[msgspec.Struct] | None
    cookies: type[msgspec.Struct] | None
    body: Body | None
    results: tuple[Result, ...]
    problems: tuple[int, ...]
    query_body: bool
    security: tuple[Scheme | None, ...]
    limits: Mapping[str, Any] = field(default_factory=dict)  # of the route
    host: frozenset[str] = frozenset()  # the parameters that come from it

    @property
    def media_type(self) -> str:
        """Of a result that is no `Response`."""
        return next((r.media_type for r in self.results[::-1] if r.media_type), "application/json")


NOTHING = msgspec.defstruct("Nothing", [], forbid_unknown_fields=True)


def read_signature(
    function: Callable[..., Any],
    problems: tuple[int, ...],
    query_body: bool,
    security: tuple[Scheme | None, ...],
) -> Operation:
    """Raises `TypeError`, `NameError` or `ValueError` where it cannot work."""
    hints = get_type_hints(function, include_extras=True)
    parameters = [*inspect.signature(function).parameters.values()]
    own = parameters[2 if parameters and parameters[0].name == "self" else 1 :]
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError("it yields; what it yields is a `StreamingResponse` to return")
    if not parameters:
        raise TypeError("its first parameter must be the request")
    missing = [f"`{each.name}`" for each in own if each.name not in hints]
    if missing or "return" not in hints:
        raise TypeError(f"{', '.join(missing) or 'the result'} must be annotated")
    fields: dict[Any, list[Any]] = {Query: [], Header: [], Cookie: []}
    body = None
    for parameter in own:
        name, annotation = parameter.name, lift_markers(hints[parameter.name])
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise TypeError(f"`{parameter}` cannot be given by its name")
        if name == "body" or find_markers(annotation, Form, Media):
            if body:
                raise TypeError(f"`{body.name}` and `{name}` are two bodies")
            body = read_body(parameter, annotation)
            continue
        marker, *others = find_markers(annotation, Query, Header, Cookie) or [Query()]
        if others:
            raise TypeError(f"`{name}` comes from two places")
        given = marker.name or (name.replace("_", "-") if type(marker) is Header else name)
        fields[type(marker)].append((name, annotation, read_default(parameter, given)))
    if query_body and not (body and hasattr(body.type, "__struct_fields__")):
        raise TypeError("query_body needs a `Struct` as JSON body")
    query, headers, cookies = (define(function.__name__, each) for each in fields.values())
    if cookies and find_lists(cookies):
        raise TypeError("a cookie is one value, and no list")
    query = query or NOTHING
    lists = find_lists(query) | (find_lists(body.type) if query_body and body else set())
    results = tuple(read_results(hints["return"]))
    # Raises where a type has no schema.
    json = [body.type] if body and not body.is_form else []
    describe_types([*(each.type for each in results), *json], refuse_file)
    return Operation(
        function, query, lists, headers, cookies, body, results, problems, query_body, security
    )


def read_body(parameter: inspect.Parameter, annotation: Any) -> Body:
    types = [options(each)[0] for each in options(annotation) if each is not NoneType]
    default = msgspec.NODEFAULT if parameter.default is parameter.empty else parameter.default
    if find_markers(annotation, Form):
        if not find_spec("python_multipart"):
            raise TypeError("a form needs the extra `forms`: uv sync --extra forms")
        model, *others = types
        if others or not hasattr(model, "__struct_fields__"):
            raise TypeError("a form is one msgspec `Struct`")
        return Body(parameter.name, model, FORM[1:] if has_files(model) else FORM, default)
    media_types = tuple(find_media_types(annotation)) or ("application/json",)
    if not is_json(media_types[0]) and types not in ([str], [bytes]):
        raise TypeError(f"a body of {media_types[0]} is `str` or `bytes`")
    has_decimals = "'decimal'" in repr(describe_types([annotation], refuse_file))
    return Body(parameter.name, annotation, media_types, default, has_decimals, types == [str])
