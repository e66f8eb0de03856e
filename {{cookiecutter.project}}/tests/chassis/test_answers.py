from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from {{ cookiecutter.__package }}.chassis import errors
from {{ cookiecutter.__package }}.chassis.answers import (
    Accepted,
    Answer,
    Created,
    T,
    Tagged,
    require_match,
)
from {{ cookiecutter.__package }}.chassis.endpoint import endpoint

done: list[str] = []


class Pair(msgspec.Struct):
    first: int = 1


class Teapot(Answer[T]):
    status = 418


class Table(Answer[str]):
    media_type = "text/csv"


class Patch(Answer[Pair]):
    media_type = "application/merge-patch+json"


class Gone(Answer[None]):
    status = 204


@endpoint()
async def delete(request: Request[Any]) -> None:
    """Delete"""


@endpoint()
async def delete_told(request: Request[Any]) -> Gone:
    """Delete, and tell when"""
    return Gone(None, {"X-Deleted": "now"})


@endpoint()
async def create_named(request: Request[Any]) -> Created[Pair]:
    """Create what has a name"""
    return Created(Pair(), "/pairs/日本 a\n%20b?c=d")


@endpoint()
async def create(request: Request[Any]) -> Created[Pair]:
    """Create"""
    return Created(Pair(), "/pairs/1", {"Link": "</pairs>"})


@endpoint()
async def accept(request: Request[Any]) -> Accepted[Pair]:
    """Accept"""
    return Accepted(Pair(), background=BackgroundTask(done.append, "later"))


@endpoint()
async def brew(request: Request[Any]) -> Teapot[Pair]:
    """Brew"""
    answer = Teapot(Pair())
    answer.set_cookie("first", "1")
    answer.set_cookie("second", "2")
    return answer


@endpoint()
async def read(request: Request[Any]) -> Tagged[Pair]:
    """Read what has a version"""
    answer = Tagged(Pair(), "v1", {"Cache-Control": "max-age=5"})
    answer.set_cookie("first", "1")
    answer.set_cookie("second", "2")
    return answer


@endpoint()
async def tabulate(request: Request[Any]) -> Table:
    """Tabulate"""
    return Table('a,"b"', {"Content-Disposition": "attachment"})


@endpoint()
async def propose(request: Request[Any]) -> Patch:
    """Propose"""
    return Patch(Pair())


@endpoint()
async def pass_through(request: Request[Any], kind: str) -> Pair:
    """Answer with a response, whatever is annotated"""
    kinds: dict[str, Any] = {
        "text": PlainTextResponse("text", 203),
        "redirect": RedirectResponse("/"),
        "tagged": Response("text", headers={"ETag": 'W/"v1"'}),
    }
    return kinds.get(kind, Pair())  # type: ignore[no-any-return]


@endpoint()
async def find(request: Request[Any], known: bool) -> Pair | None:
    """Find, or not"""
    return Pair() if known else None


@endpoint()
async def put(request: Request[Any], known: bool) -> Created[Pair] | None:
    """Create, or change"""
    return None if known else Created(Pair(), "/pairs/1")


pairs = [
    Route("/delete", delete, methods=["DELETE"]),
    Route("/delete-told", delete_told, methods=["DELETE"]),
    Route("/create", create, methods=["POST"]),
    Route("/create-named", create_named, methods=["POST"]),
    Route("/accept", accept, methods=["POST"]),
    Route("/brew", brew),
    Route("/read", read, methods=["GET", "POST"]),
    Route("/response", pass_through),
    Route("/find", find),
    Route("/tabulate", tabulate),
    Route("/propose", propose),
    Route("/put", put, methods=["PUT"]),
]
app = Starlette(routes=[*pairs, Mount("/below", routes=pairs)], exception_handlers=errors.handlers)


@pytest.fixture
def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def test_none_is_answered_by_204_without_a_body(client: httpx.AsyncClient) -> None:
    response = await client.delete("/delete")
    assert (response.status_code, response.content) == (204, b"")
    assert "content-type" not in response.headers


async def test_204_may_have_headers(client: httpx.AsyncClient) -> None:
    response = await client.delete("/delete-told")
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["x-deleted"] == "now"
    assert "content-type" not in response.headers


async def test_created_has_other_headers_besides(client: httpx.AsyncClient) -> None:
    response = await client.post("/create")
    assert (response.status_code, response.headers["link"]) == (201, "</pairs>")


async def test_location_is_quoted_once(client: httpx.AsyncClient) -> None:
    response = await client.post("/create-named")
    assert response.headers["location"] == "/pairs/%E6%97%A5%E6%9C%AC%20a%0A%20b?c=d"


@pytest.mark.parametrize("path", ["/create", "/below/create"])
async def test_location_begins_with_the_root_path(path: str) -> None:
    """What a proxy takes from the path; a mount within the service is no part of it."""
    transport = httpx.ASGITransport(app, root_path="/shop")
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.post(f"/shop{path}")
    assert response.headers["location"] == "/shop/pairs/1"


async def test_answer_is_of_its_media_type(client: httpx.AsyncClient) -> None:
    table, patch = await client.get("/tabulate"), await client.get("/propose")
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert table.text == 'a,"b"'
    assert patch.headers["content-type"] == "application/merge-patch+json"
    assert patch.json() == {"first": 1}


async def test_background_task_runs(client: httpx.AsyncClient) -> None:
    assert (await client.post("/accept")).status_code == 202
    assert done == ["later"]


async def test_answer_has_any_status_and_cookies(client: httpx.AsyncClient) -> None:
    response = await client.get("/brew")
    assert (response.status_code, response.json()) == (418, {"first": 1})
    assert len(response.headers.get_list("set-cookie")) == 2


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("tags", ['"v1"', 'W/"v1"', '"v0", "v1"', "*"])
async def test_what_the_client_has_is_304(
    client: httpx.AsyncClient, method: str, tags: str
) -> None:
    response = await client.request(method, "/read", headers={"If-None-Match": tags})
    assert (response.status_code, response.content) == (304, b"")
    assert (response.headers["etag"], response.headers["cache-control"]) == ('"v1"', "max-age=5")
    assert len(response.headers.get_list("set-cookie")) == 2
    assert "content-type" not in response.headers


@pytest.mark.parametrize("tags", ['"v2"', "v1", "", '"v1'])
async def test_what_the_client_has_not_is_200(client: httpx.AsyncClient, tags: str) -> None:
    response = await client.get("/read", headers={"If-None-Match": tags})
    assert (response.status_code, response.json()) == (200, {"first": 1})


async def test_only_reading_is_answered_by_304(client: httpx.AsyncClient) -> None:
    assert (await client.post("/read", headers={"If-None-Match": '"v1"'})).status_code == 200


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [("text", 203, "text"), ("redirect", 307, ""), ("none", 200, '{"first":1}')],
)
async def test_response_passes_through(
    client: httpx.AsyncClient, kind: str, status: int, text: str
) -> None:
    response = await client.get("/response", params={"kind": kind})
    assert (response.status_code, response.text) == (status, text)


async def test_response_with_an_etag_is_conditional(client: httpx.AsyncClient) -> None:
    headers = {"If-None-Match": '"v1"'}
    response = await client.get("/response?kind=tagged", headers=headers)
    assert response.status_code == 304


async def test_none_beside_a_type_is_null(client: httpx.AsyncClient) -> None:
    assert (await client.get("/find?known=true")).json() == {"first": 1}
    response = await client.get("/find?known=false")
    assert (response.status_code, response.content) == (200, b"null")


async def test_none_beside_an_answer_is_204(client: httpx.AsyncClient) -> None:
    assert (await client.put("/put?known=false")).status_code == 201
    assert (await client.put("/put?known=true")).status_code == 204


@pytest.mark.parametrize(
    ("if_match", "status"), [(None, 428), ('"v0"', 412), ('W/"v1"', 412), ("v1", 412)]
)
def test_change_needs_the_version(if_match: str | None, status: int) -> None:
    """A weak tag never matches: https://www.rfc-editor.org/rfc/rfc9110#section-8.8.3.2"""
    with pytest.raises(HTTPException) as raised:
        require_match(if_match, "v1")
    assert raised.value.status_code == status


@pytest.mark.parametrize("if_match", ['"v1"', '"v0", "v1"', "*"])
def test_change_of_the_version_is_allowed(if_match: str) -> None:
    require_match(if_match, "v1")
