"""The OpenAPI 3.1 schema, from the route table and the signatures of its endpoints."""

from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from importlib.metadata import metadata
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.schemas import BaseSchemaGenerator, EndpointInfo

from .endpoint import Operation, operations
from .errors import Problem, title

# What any request can meet, whatever its endpoint, and what any body can.
PROBLEMS = {400, 408, 413, 422, 500, 503, 504}
BODY_PROBLEMS = {415}

Schema = dict[str, Any]


class SchemaGenerator(BaseSchemaGenerator):
    """Its title, version and description are those of the installed `distribution`."""

    def __init__(self, distribution: str) -> None:
        self.project = metadata(distribution)

    def get_schema(self, routes: list[BaseRoute]) -> Schema:
        """https://spec.openapis.org/oas/v3.1.1.html

        A route whose function is no `@endpoint` is left out.
        """
        described = [
            (info, operations[info.func])
            for info in self.get_endpoints(routes)
            if info.func in operations
        ]
        types = [Problem, *(type_ for _, operation in described for type_ in types_of(operation))]
        schemas, components = msgspec.json.schema_components(
            types, ref_template="#/components/schemas/{name}"
        )
        paths: dict[str, Schema] = {}
        for info, operation in described:
            paths.setdefault(info.path, {})[info.http_method] = describe_operation(
                info, operation, lambda type_: schemas[types.index(type_)]
            )
        return {
            "openapi": "3.1.1",
            "info": {
                "title": self.project["Name"],
                "version": self.project["Version"],
                "description": self.project["Summary"],
            },
            "paths": paths,
            "components": {"schemas": components},
        }


def types_of(operation: Operation) -> list[Any]:
    parameters = [field.type for field in msgspec.structs.fields(operation.parameters)]
    return [*parameters, operation.result, *([operation.body] if operation.body else [])]


def describe_operation(
    info: EndpointInfo, operation: Operation, schema_of: Callable[[Any], Schema]
) -> Schema:
    """https://spec.openapis.org/oas/v3.1.1.html#operation-object"""
    success: Schema = {
        "description": HTTPStatus(operation.status).phrase,
        "content": {"application/json": {"schema": schema_of(operation.result)}},
    }
    if operation.status == 201:
        success["headers"] = {"Location": {"schema": {"type": "string"}}}
    problems = PROBLEMS.union(operation.problems, BODY_PROBLEMS if operation.body else ())
    description: Schema = {
        "operationId": info.func.__name__,
        "summary": info.func.__doc__,
        "tags": [info.func.__module__.rpartition(".")[2]],
        "parameters": [
            describe_parameter(field, schema_of(field.type), info.path)
            for field in msgspec.structs.fields(operation.parameters)
        ],
        "responses": {
            str(operation.status): success,
            **{
                str(status): {
                    "description": title(status),
                    "content": {"application/problem+json": {"schema": schema_of(Problem)}},
                }
                for status in sorted(problems)
            },
        },
    }
    if operation.body:
        content = {"application/json": {"schema": schema_of(operation.body)}}
        description["requestBody"] = {"required": True, "content": content}
    if operation.query_body:
        description["description"] = "The query string may give the body's fields instead."
    return description


def describe_parameter(field: msgspec.structs.FieldInfo, schema: Schema, path: str) -> Schema:
    """https://spec.openapis.org/oas/v3.1.1.html#parameter-object"""
    default = {} if field.required or field.default is None else {"default": field.default}
    return {
        "name": field.name,
        "in": "path" if "{" + field.name + "}" in path else "query",
        "required": field.required,
        "schema": schema | default,
    }


def build_routes(distribution: str) -> list[Route]:
    @cache
    def encode_schema(app: Starlette) -> bytes:
        return msgspec.json.encode(SchemaGenerator(distribution).get_schema(app.routes))

    async def read_openapi(request: Request[Any]) -> Response:
        return Response(encode_schema(request.app), media_type="application/json")

    return [Route("/openapi.json", read_openapi, include_in_schema=False)]
