import json
import re
from decimal import Decimal
from functools import wraps
from math import inf
from typing import Annotated, Any, Generic, TypeVar

import httpx
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Host, Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from {{ cookiecutter.__package }}.chassis.endpoint import (
    Answer,
    Created,
    Tagged,
    endpoint,
)
from {{ cookiecutter.__package }}.chassis.errors import handlers
from {{ cookiecutter.__package }}.chassis.markers import Media
from {{ cookiecutter.__package }}.chassis.openapi import (
    build_document,
    build_routes,
    read_operations,
)
from {{ cookiecutter.__package }}.chassis.parse import Id, Limit

from .fixtures import check_response

DISTRIBUTION = "{{ cookiecutter.__package }}"


class Pet(msgspec.Struct):
    name: str
    ages: tuple[int, ...] = ()


@endpoint(404)
async def read_pet(request: Request[Any], pet_id: Id) -> Pet:
    """Read a pet"""
    return Pet("Rex")


@endpoint()
async def list_pets(
    request: Request[Any], limit: Limit = 10, tags: tuple[str, ...] = ()
) -> list[Pet]:
    """List pets"""
    return []


@endpoint(409)
async def create_pet(request: Request[Any], body: Pet) -> Created[Pet]:
    """Create a pet"""
    return Created(body, "/pets/1")


class Range(msgspec.Struct):
    least: float = 0.0
    most: float = inf


@endpoint()
async def find(request: Request[Any], body: Range, most: float = inf) -> None:
    """Find what is in a range"""


@endpoint()
async def read_price(request: Request[Any], most: Decimal | None = None) -> Decimal:
    """Read a price"""
    return most or Decimal("1.50")


@endpoint()
async def read_shop(request: Request[Any], tenant: str) -> str:
    """Read a shop"""
    return tenant


async def undescribed(request: Request[Any]) -> Response:
    return Response()


ROUTES: list[BaseRoute] = [
    Route("/pets", list_pets),
    Route("/pets", create_pet, methods=["POST"]),
    Route("/plain", undescribed),
    Host("shop.example.com", Router([Mount("/shop", routes=[Route("/price", read_price)])])),
    Route("/pets", list_pets, methods=["PURGE"]),
    Mount("/v1", routes=[Route("/pets/{pet_id}", read_pet), Route("/plain", undescribed)]),
]


class Guard:
    problems = (401,)

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


T = TypeVar("T")


class Page(msgspec.Struct, Generic[T]):
    items: list[T]


Twin: Any = msgspec.defstruct("Pet", [("age", int)], module="twins")


@endpoint()
async def list_page(request: Request[Any]) -> Page[Pet]:
    """List a page"""
    return Page([])


@endpoint()
async def list_twins(request: Request[Any]) -> Page[Twin]:
    """List a page of others"""
    return Page([])


class Cat(msgspec.Struct):
    lives: int = 9


class Rejected(Answer[T]):
    status = 422


class Linked(Answer[T]):
    header_names = ("Link",)


class Controller:
    @endpoint()
    async def read(self, request: Request[Any], name: str) -> str:
        """Read"""
        return name


def pass_on(function: Any) -> Any:
    @wraps(function)
    async def call(*given: Any) -> Any:
        return await function(*given)

    return call


def answer_with(annotation: Any, *results: Any) -> Any:
    """An endpoint with the annotation, which answers that of the results which it is asked for."""

    async def answer(request: Request[Any], number: int = 0) -> Any:
        return results[number]

    answer.__annotations__["return"] = annotation
    return endpoint()(answer)


def name_endpoint(name: str) -> Any:
    async def read(request: Request[Any]) -> None:
        """Read"""

    read.__name__ = read.__qualname__ = name
    return endpoint()(read)


def describe_routes(routes: list[BaseRoute] = ROUTES) -> dict[str, Any]:
    document = build_document(Starlette(routes=routes), DISTRIBUTION)
    OpenAPIV31SpecValidator(document).validate()
    return document


def test_operation_has_what_its_signature_says() -> None:
    paths = describe_routes()["paths"]
    read = paths["/v1/pets/{pet_id}"]["get"]
    assert read["summary"] == "Read a pet"
    assert read["tags"] == ["test_openapi"]
    assert [(p["name"], p["in"], p["required"]) for p in read["parameters"]] == [
        ("pet_id", "path", True)
    ]
    listed = paths["/pets"]["get"]["parameters"][0]
    assert (listed["in"], listed["required"]) == ("query", False)
    assert listed["schema"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 10}
    create = paths["/pets"]["post"]
    assert create["responses"].keys() >= {"201", "400", "409", "415", "422"}
    assert "Location" in create["responses"]["201"]["headers"]


@pytest.mark.parametrize(
    ("templates", "names"),
    [
        (["/pets/{pet_id}", "/pets/{pet_id}/"], ["_pets_pet_id__1", "_pets_pet_id__2"]),
        (["/pets.csv", "/pets/csv", "/pets/txt"], ["_pets_csv_1", "_pets_csv_2", "_pets_txt"]),
    ],
)
def test_paths_that_read_alike_have_numbers(templates: list[str], names: list[str]) -> None:
    paths = describe_routes([Route(path, read_pet) for path in templates])["paths"]
    ids = [paths[path]["get"]["operationId"] for path in templates]
    assert ids == [f"test_openapi_read_pet_get{name}" for name in names]


def test_number_that_is_a_name_is_passed_over() -> None:
    name = "test_openapi_read_pet_get_pets_csv_1"
    routes = [Route("/pets.csv", read_pet), Route("/pets/csv", read_pet)]
    paths = describe_routes([*routes, Route("/", name_endpoint(name))])["paths"]
    ids = [paths[path]["get"]["operationId"] for path in ("/pets.csv", "/pets/csv", "/")]
    assert ids == [f"{name[:-1]}2", f"{name[:-1]}3", name]


@pytest.mark.parametrize("function", [Controller().read, pass_on(Controller().read)])
def test_method_of_an_object_is_described(function: Any) -> None:
    """Within a decorator too"""
    paths = describe_routes([Route("/read", function)])["paths"]
    [parameter] = paths["/read"]["get"]["parameters"]
    assert (parameter["name"], parameter["in"]) == ("name", "query")


def test_method_of_an_object_that_does_not_fit_its_route_ends_the_start() -> None:
    with pytest.raises(TypeError, match=r"Controller\.read, at GET /\{other\}: `other` must be"):
        read_operations([Route("/{other}", Controller().read)])


def find_schemas(annotation: Any, status: str) -> Any:
    """By media type, of what answers so."""
    paths = describe_routes([Route("/", answer_with(annotation))])["paths"]
    content = paths["/"]["get"]["responses"][status]["content"]
    return {media_type: each["schema"] for media_type, each in content.items()}


CAT, PET, PROBLEM = ({"$ref": f"#/components/schemas/{name}"} for name in ("Cat", "Pet", "Problem"))


@pytest.mark.parametrize(
    ("annotation", "status", "schema"),
    [
        (Tagged[Cat] | Pet, "200", {"anyOf": [CAT, PET]}),
        (Created[Cat] | Created[Pet], "201", {"anyOf": [CAT, PET]}),
        (Tagged[Cat] | Linked[int] | Pet, "200", {"anyOf": [CAT, {"type": "integer"}, PET]}),
    ],
)
def test_results_of_one_status_are_all_described(
    annotation: Any, status: str, schema: dict[str, Any]
) -> None:
    assert find_schemas(annotation, status) == {"application/json": schema}


@pytest.mark.parametrize("type_", [Cat, Cat | None])
def test_type_of_two_results_of_one_status_is_described_once(type_: Any) -> None:
    assert find_schemas(Tagged[type_] | Linked[type_], "200") == find_schemas(Tagged[type_], "200")


def test_headers_of_results_of_one_status_are_all_described() -> None:
    routes: list[BaseRoute] = [Route("/", answer_with(Tagged[Cat] | Linked[Pet]))]
    responses = describe_routes(routes)["paths"]["/"]["get"]["responses"]
    assert responses["200"]["headers"].keys() == {"ETag", "Link"}


def test_result_with_the_status_of_a_problem_is_beside_it() -> None:
    assert find_schemas(Rejected[Cat] | Pet, "422") == {
        "application/json": CAT,
        "application/problem+json": PROBLEM,
    }


async def test_answer_that_is_one_of_many_is_described() -> None:
    results = Tagged(Cat(), "v1"), Pet("Rex"), Rejected(Cat())
    app = Starlette(
        routes=[Route("/", answer_with(Tagged[Cat] | Pet | Rejected[Cat], *results))],
        exception_handlers=handlers,
    )
    document = build_document(app, DISTRIBUTION)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for number, status in [("0", 200), ("1", 200), ("2", 422), ("none", 422)]:
            response = await client.get("/", params={"number": number})
            assert response.status_code == status
            check_response(app, document, response)


def test_route_of_one_host_may_be_nowhere() -> None:
    paths = describe_routes()["paths"]
    assert "404" in paths["/shop/price"]["get"]["responses"]
    assert "404" not in paths["/pets"]["get"]["responses"]


def test_parameter_of_a_host_is_not_described() -> None:
    hosted = Host("{tenant}.example.com", Router([Route("/shop", read_shop)]))
    paths = describe_routes([hosted, Route("/shops", read_shop)])["paths"]
    assert paths["/shop"]["get"]["parameters"] == []
    assert paths["/shops"]["get"]["parameters"][0]["name"] == "tenant"


@pytest.mark.parametrize(
    "route",
    [
        Route("/pets", list_pets, middleware=[Middleware(Guard)]),
        Mount("/v1", routes=[Route("/pets", list_pets)], middleware=[Middleware(Guard)]),
        Mount("/v1", Starlette(False, [Route("/pets", list_pets)], [Middleware(Guard)], handlers)),
    ],
)
def test_problems_of_middleware_around_a_route_are_described(route: BaseRoute) -> None:
    paths = describe_routes([route, Route("/open", list_pets)])["paths"]
    [guarded] = [path for path in paths if "401" in paths[path]["get"]["responses"]]
    assert guarded.endswith("/pets")


def test_application_that_answers_errors_in_its_own_way_is_left_out() -> None:
    pets = [Route("/pets", list_pets)]
    plain = Mount("/plain", Starlette(routes=pets), middleware=[Middleware(Guard)])
    known = Mount("/known", Starlette(routes=pets, exception_handlers=handlers))
    assert describe_routes([Mount("/v1", routes=[plain, known])])["paths"].keys() == {
        "/v1/known/pets"
    }


def test_generics_of_two_types_of_one_name_end_the_start() -> None:
    """Where each alone is well."""
    routes = [Route("/pets", list_page), Route("/twins", list_twins)]
    for route in routes:
        read_operations([route])
    with pytest.raises(TypeError, match=r"Page\[\S+test_openapi\.Pet\] and \S+Page\[twins\.Pet\]"):
        read_operations(routes)


def test_decimal_is_no_other_text() -> None:
    described = describe_routes()["paths"]["/shop/price"]["get"]
    answered = described["responses"]["200"]["content"]["application/json"]["schema"]
    [asked] = [each for each in described["parameters"][0]["schema"]["anyOf"] if "pattern" in each]
    for pattern in (answered["pattern"], asked["pattern"]):
        for text in ["1", "-1.50", ".5", "5.", "1E+5"]:
            assert re.search(pattern, text)
        for text in ["", ".", "NaN", "1_0", "1e", "Infinity"]:
            assert not re.search(pattern, text)


def test_route_that_is_no_endpoint_is_left_out() -> None:
    assert describe_routes()["paths"].keys() == {"/pets", "/shop/price", "/v1/pets/{pet_id}"}


def test_document_is_plain_json() -> None:
    """Where a default is a tuple too."""
    document = describe_routes()
    assert document["components"]["schemas"]["Pet"]["properties"]["ages"]["default"] == []
    tags = document["paths"]["/pets"]["get"]["parameters"][1]
    assert tags["schema"]["default"] == []


@pytest.mark.parametrize(
    ("status", "media_type", "told"),
    [
        (409, "application/problem+json", "GET /pets answers 409, which its @endpoint must name"),
        (200, "text/plain", "GET /pets answers 200 of another type: text/plain"),
    ],
)
def test_answer_that_is_not_described_is_told(status: int, media_type: str, told: str) -> None:
    app = Starlette(routes=[Route("/pets", list_pets)])
    request = httpx.Request("GET", "http://test/pets")
    response = httpx.Response(status, headers={"Content-Type": media_type}, request=request)
    with pytest.raises(AssertionError, match=told):
        check_response(app, build_document(app, DISTRIBUTION), response)


def test_path_of_two_hosts_is_described_once() -> None:
    router = Router([Route("/pets", list_pets)])
    hosts = [Host("eu.example.com", router), Host("us.example.com", router)]
    paths = build_document(Starlette(routes=hosts), DISTRIBUTION)["paths"]
    assert [*paths] == ["/pets"]
    assert paths["/pets"]["get"]["operationId"] == "list_pets"


def test_default_that_json_cannot_write_is_left_out() -> None:
    app = Starlette(routes=[Route("/range", find, methods=["POST"])])
    document = build_document(app, DISTRIBUTION)
    OpenAPIV31SpecValidator(document).validate()
    [most] = document["paths"]["/range"]["post"]["parameters"]
    assert most["schema"] == {"type": "number"}
    assert document["components"]["schemas"]["Range"]["properties"] == {
        "least": {"type": "number", "default": 0.0},
        "most": {"type": "number"},
    }


def test_method_that_openapi_does_not_know_is_left_out() -> None:
    assert describe_routes()["paths"]["/pets"].keys() == {"get", "post"}


def test_bytes_are_in_base64_within_json_alone() -> None:
    assert find_schemas(Annotated[bytes, Media("image/png")], "200") == {"image/png": {}}
    assert find_schemas(bytes, "200")["application/json"]["contentEncoding"] == "base64"


async def test_document_below_a_mount_has_its_prefix_once() -> None:
    app = Starlette(routes=[Mount("/api", routes=[*ROUTES, *build_routes(DISTRIBUTION)])])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        document = (await client.get("/api/openapi.json")).json()
    assert "servers" not in document
    assert all(path.startswith("/api/") for path in document["paths"])


async def test_document_is_served() -> None:
    app = Starlette(routes=[*ROUTES, *build_routes(DISTRIBUTION)])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    assert json.loads(response.content) == describe_routes()
