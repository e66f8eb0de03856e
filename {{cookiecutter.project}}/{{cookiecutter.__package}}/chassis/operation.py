"""One operation of the OpenAPI document, from what its function declares."""

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

import msgspec

from .body import is_json
from .components import can_be_written
from .errors import Problem, title
from .results import Result
from .signature import Operation

Schema = dict[str, Any]
Describe = Callable[[Any], Schema]


def types_of(operation: Operation) -> Iterator[Any]:
    """What has a schema."""
    for model in (operation.parameters, operation.headers, operation.cookies):
        if model:
            yield from (field.type for field in msgspec.structs.fields(model))
    yield from (result.type for result in operation.results)
    if operation.body:
        yield operation.body.type


def name_operations(described: Iterable[tuple[str, str, Operation]]) -> Iterator[str]:
    """For each path, method and operation the shortest id that no other has, or a number."""
    candidates = [find_names(*each) for each in described]
    taken = Counter(name for names in candidates for name in set(names))
    for names in candidates:
        numbered = (f"{names[-1]}_{number}" for number in count(1))
        own = next((name for name in names if taken[name] == 1), None)
        name = own or next(name for name in numbered if not taken[name])
        taken[name] += 1
        yield name


def find_names(path: str, method: str, operation: Operation) -> list[str]:
    function = operation.function
    module = function.__module__.rpartition(".")[2]
    longer = f"{module}_{function.__qualname__.replace('.', '_')}"
    last = f"{longer}_{method}"
    return [function.__name__, longer, last, last + re.sub(r"\W+", "_", path)]


def describe_operation(
    path: str, method: str, operation: Operation, problems: frozenset[int], schema_of: Describe
) -> Schema:
    """https://spec.openapis.org/oas/v3.1.1.html#operation-object, without its id."""
    function = operation.function
    summary, _, description = (inspect.getdoc(function) or function.__name__).partition("\n")
    if operation.query_body:
        description += "\nThe query string may give the body's fields instead."
    if operation.limits:
        limits = ", ".join(f"{name} {value}" for name, value in operation.limits.items())
        description += f"\nLimits of its own: {limits}."
    problems = problems.union(operation.problems)
    if operation.body:
        problems |= {415}
    if operation.security:
        problems |= {401, 403}
    refusals = [Result(each, Problem, "application/problem+json") for each in sorted(problems)]
    described: Schema = {
        "summary": summary,
        "tags": [function.__module__.rpartition(".")[2]],
        "parameters": list(describe_parameters(operation, path, schema_of)),
        "responses": describe_results([*operation.results, *refusals], method, schema_of),
    }
    if description.strip():
        described["description"] = description.strip()
    if operation.body:
        schema, types = schema_of(operation.body.type), operation.body.media_types
        described["requestBody"] = {
            "required": operation.body.default is msgspec.NODEFAULT,
            "content": {each: {"schema": as_sent(schema, each)} for each in types},
        }
    if operation.security:
        described["security"] = [
            {scheme.name: list(scheme.scopes)} if scheme else {} for scheme in operation.security
        ]
    return described


def describe_parameters(operation: Operation, path: str, schema_of: Describe) -> Iterator[Schema]:
    """https://spec.openapis.org/oas/v3.1.1.html#parameter-object"""
    models = {
        "query": operation.parameters,
        "header": operation.headers,
        "cookie": operation.cookies,
    }
    for place, model in models.items():
        for field in msgspec.structs.fields(model) if model else ():
            if place == "query" and field.encode_name in operation.host:
                continue
            in_path = place == "query" and "{" + field.encode_name + "}" in path
            yield {
                "name": field.encode_name,
                "in": "path" if in_path else place,
                "required": in_path or field.required,
                "schema": schema_of(field.type) | ({} if in_path else describe_default(field)),
            }


def describe_default(field: msgspec.structs.FieldInfo) -> Schema:
    value = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    if value is msgspec.NODEFAULT or value is msgspec.UNSET or not can_be_written(value):
        return {}
    return {"default": value}


def describe_results(results: Iterable[Result], method: str, schema_of: Describe) -> Schema:
    """https://spec.openapis.org/oas/v3.1.1.html#responses-object

    Many may have one status, whose content is then that of any.
    """
    responses: Schema = {}
    for status, type_, media_type, headers in results:
        if status is None:
            responses["default"] = {"description": "As the function answers"}
            continue
        response = responses.setdefault(str(status), {"description": title(status)})
        if media_type:
            content = response.setdefault("content", {})
            schema = as_sent(schema_of(type_), media_type)
            known = content.setdefault(media_type, {"schema": schema})
            known["schema"] = describe_either(known["schema"], schema)
        for name in headers:
            response.setdefault("headers", {})[name] = {"schema": {"type": "string"}}
        if "ETag" in headers and method == "get":
            responses.setdefault("304", {"description": title(304)})
    return responses


def as_sent(schema: Schema, media_type: str) -> Schema:
    """Bytes are in base64 within JSON alone."""
    return schema if is_json(media_type) or "contentEncoding" not in schema else {}


def describe_either(known: Schema, other: Schema) -> Schema:
    schemas = known["anyOf"] if known.keys() == {"anyOf"} else [known]
    return known if other in (known, *schemas) else {"anyOf": [*schemas, other]}
