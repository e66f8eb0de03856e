"""The OpenAPI document that the running service gives."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from baking import run
from openapi_spec_validator import OpenAPIV31SpecValidator
from serving import Service

# What people and tools read about the service is not in the document.
PAGES = {"/docs", "/docs/start.js", "/docs/assets/{name}", "/redoc", "/redoc/start.js"}
UNDOCUMENTED = {"/openapi.json", *PAGES}
ROUTES = """
import json
from my_service.app import routes
print(json.dumps([(route.path, sorted(route.methods - {"HEAD"})) for route in routes]))
"""


@pytest.fixture(scope="module")
def document(service: Service) -> Any:
    return httpx.get(f"{service.url}/openapi.json").raise_for_status().json()


def test_document_is_valid(document: Any) -> None:
    """https://spec.openapis.org/oas/v3.1.1.html, with each schema by JSON Schema 2020-12."""
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_document_has_every_route(project: Path, document: Any) -> None:
    """A route that is not in the document is one that this test names."""
    routes = json.loads(run(project, "python", "-c", ROUTES))
    described = {
        (path, method.upper()) for path, methods in document["paths"].items() for method in methods
    }
    served = {(path, method) for path, methods in routes for method in methods}
    assert {(path, method) for path, method in served if path not in UNDOCUMENTED} == described
    assert UNDOCUMENTED <= {path for path, _ in served}
