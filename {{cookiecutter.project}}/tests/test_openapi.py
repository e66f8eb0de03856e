from typing import Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.requests import Request
from starlette.routing import Route

from {{ cookiecutter.__package }}.app import routes
from {{ cookiecutter.__package }}.openapi import SchemaGenerator


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    document: dict[str, Any] = (await client.get("/openapi.json")).json()
    return document


async def test_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()


async def test_every_route_has_its_entry(document: dict[str, Any]) -> None:
    documented = {
        (path, method.upper()) for path in document["paths"] for method in document["paths"][path]
    }
    served = {
        (route.path, method)
        for route in routes
        if isinstance(route, Route) and route.include_in_schema
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert documented == served


async def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    ids = [
        operation["operationId"]
        for operations in document["paths"].values()
        for operation in operations.values()
    ]
    assert len(ids) == len(set(ids))


async def test_operation_has_what_its_signature_says(document: dict[str, Any]) -> None:
    read = document["paths"]["/users/{user_id}"]["get"]
    assert read["summary"] == "Read a user"
    assert read["tags"] == ["users"]
    assert [(p["name"], p["in"], p["required"]) for p in read["parameters"]] == [
        ("user_id", "path", True)
    ]
    listed = document["paths"]["/users"]["get"]["parameters"][0]
    assert (listed["in"], listed["required"]) == ("query", False)
    assert listed["schema"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 10}
    create = document["paths"]["/users"]["post"]
    assert create["responses"].keys() >= {"201", "400", "409", "413", "415", "422"}
    assert "Location" in create["responses"]["201"]["headers"]


def test_route_without_endpoint_is_refused() -> None:
    async def undescribed(request: Request) -> None: ...

    with pytest.raises(KeyError):
        SchemaGenerator().get_schema([Route("/undescribed", undescribed)])
