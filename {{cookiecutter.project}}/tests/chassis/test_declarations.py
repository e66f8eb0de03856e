"""What a signature declares beside path and query: headers, cookies, forms, bodies of any type."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import httpx
import msgspec
import pytest
from msgspec import UNSET, Meta, UnsetType
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from typing_extensions import TypeAliasType

from {{ cookiecutter.__package }}.chassis import errors
from {{ cookiecutter.__package }}.chassis.endpoint import endpoint
from {{ cookiecutter.__package }}.chassis.markers import (
    Cookie,
    Form,
    Header,
    Media,
    Query,
    find_markers,
    lift_markers,
)

Tenant = Annotated[int, Meta(ge=1), Header("X-Tenant")]


class Color(Enum):
    RED = "red"


class Login(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1)]
    remember: bool = False
    roles: list[str] = []


class Stock(msgspec.Struct):
    amounts: dict[int, int]
    name: str


class Upload(msgspec.Struct, forbid_unknown_fields=True):
    title: str
    file: UploadFile


class Profile(msgspec.Struct, forbid_unknown_fields=True):
    age: int | None = None
    born: date | None = None
    color: Color = Color.RED
    numbers: list[int] = []
    agree: bool = False
    name: str = "nobody"
    size: Literal["", "large"] = "large"
    note: Annotated[str, Meta(min_length=1)] | None = None


class Terms(msgspec.Struct):
    agree: bool
    year: int
    option: bool | Literal["on"] = False


class Order(msgspec.Struct, forbid_unknown_fields=True):
    prices: dict[str, list[Decimal]]
    discount: Decimal | UnsetType | None = UNSET


@dataclass
class Point:
    x: int


class Patch(msgspec.Struct, forbid_unknown_fields=True):
    name: str | UnsetType | None = UNSET


@endpoint()
async def read(
    request: Request[Any], tenant: Tenant, theme: Annotated[str, Cookie()] = "light"
) -> list[Any]:
    """Read"""
    return [tenant, theme]


@endpoint()
async def tag(request: Request[Any], tags: tuple[int, ...] = ()) -> list[int]:
    """Tag"""
    return [*tags]


@endpoint()
async def log_in(request: Request[Any], form: Annotated[Login, Form()]) -> Login:
    """Log in"""
    return form


@endpoint()
async def fill_in(request: Request[Any], form: Annotated[Profile, Form()]) -> Profile:
    """Fill in"""
    return form


@endpoint()
async def agree(request: Request[Any], form: Annotated[Terms, Form()]) -> list[Any]:
    """Agree"""
    return [form.agree, form.year, form.option]


@endpoint()
async def upload(request: Request[Any], form: Annotated[Upload, Form]) -> list[Any]:
    """Upload"""
    return [form.title, form.file.filename, len(await form.file.read())]


read_later: list[bytes] = []


@endpoint()
async def upload_and_go(
    request: Request[Any], form: Annotated[Upload, Form], stream: bool = False
) -> Response:
    """Upload, and read the file in a stream or a background task"""

    async def note() -> None:
        read_later.append(await form.file.read())

    async def produce() -> AsyncIterator[bytes]:
        yield await form.file.read()

    uploaded.append(form.file)
    if form.title == "fail":
        raise HTTPException(409)
    return StreamingResponse(produce()) if stream else Response(background=BackgroundTask(note))


uploaded: list[UploadFile] = []


@endpoint()
async def count(request: Request[Any], body: list[int]) -> int:
    """Count"""
    return len(body)


@endpoint()
async def perhaps(request: Request[Any], body: Login | None = None) -> str:
    """Perhaps"""
    return body.name if body else "nobody"


@endpoint()
async def patch(request: Request[Any], body: Patch) -> str:
    """Patch"""
    return "left as it is" if body.name is UNSET else repr(body.name)


@endpoint()
async def order(request: Request[Any], body: Order) -> str:
    """Order"""
    return str(sum(sum(each) for each in body.prices.values()))


@endpoint()
async def price(request: Request[Any], body: tuple[Decimal, ...]) -> None:
    """Price"""


@endpoint()
async def gather(request: Request[Any], body: set[Any]) -> None:
    """Gather"""


@endpoint()
async def distinguish(request: Request[Any], body: set[Decimal]) -> None:
    """Distinguish"""


@endpoint()
async def keep(request: Request[Any], body: Annotated[bytes, Media("image/*")]) -> int:
    """Keep"""
    return len(body)


@endpoint()
async def note(
    request: Request[Any],
    body: Annotated[str | None, Media("text/plain")] = None,
) -> str | None:
    """Note"""
    return body and body.upper()


@endpoint()
async def label(
    request: Request[Any], body: Annotated[str, Meta(max_length=3), Media("text/plain")]
) -> str:
    """Label"""
    return body.upper()


@endpoint()
async def read_optional(
    request: Request[Any],
    tenant: Tenant | None = None,
    theme: Annotated[str, Cookie()] | None = None,
    page: Annotated[int, Query("page-number")] | None = None,
) -> list[Any]:
    """Read, or not"""
    return [tenant, theme, page]


@endpoint()
async def answer_shared(request: Request[Any], form: Annotated[Login, Form()]) -> Response:
    """Answer the same to all"""
    return shared


@endpoint()
async def stock(request: Request[Any], body: Stock) -> None:
    """Stock"""


@endpoint()
async def log_in_optionally(
    request: Request[Any], form: Annotated[Login, Form] | None = None
) -> str | None:
    """Log in, or not"""
    return form.name if form else None


@endpoint()
async def keep_optionally(
    request: Request[Any], content: Annotated[bytes, Media("image/*")] | None = None
) -> int:
    """Keep, or not"""
    return len(content or b"")


shared = Response("ok")
functions = [log_in, upload, upload_and_go, count, perhaps, patch, order, keep, note, label]
functions += [answer_shared, stock]
functions += [log_in_optionally, keep_optionally, fill_in, agree, price, gather, distinguish]
app = Starlette(
    routes=[
        Route("/read", read),
        Route("/read_optional", read_optional),
        Route("/tags", tag),
        *(Route(f"/{each.__name__}", each, methods=["POST"]) for each in functions),
    ],
    exception_handlers=errors.handlers,
)


async def ask(path: str, method: str = "POST", **options: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, **options)


async def find_places(path: str, method: str = "POST", **options: Any) -> set[tuple[str, str]]:
    """Of what a 422 names: where it stands, and its name."""
    answer = await ask(path, method, **options)
    assert answer.status_code == 422, answer.text
    return {(each["location"], each["field"]) for each in answer.json()["errors"]}


async def test_response_of_a_form_may_be_sent_again() -> None:
    assert (await ask("/answer_shared", data={"name": "Ada"})).text == "ok"
    assert shared.background is None


async def test_number_as_a_key_is_no_violation() -> None:
    body = {"amounts": {"1": 2}, "name": 5}
    assert await find_places("/stock", json=body) == {("body", "name")}


async def test_header_and_cookie() -> None:
    headers = {"X-Tenant": "7", "Cookie": "theme=dark"}
    assert (await ask("/read", "GET", headers=headers)).json() == [7, "dark"]
    assert (await ask("/read", "GET", headers={"X-Tenant": "7"})).json() == [7, "light"]


@pytest.mark.parametrize("headers", [{}, {"X-Tenant": "0"}, {"X-Tenant": "1.0"}])
async def test_wrong_header_is_named(headers: dict[str, str]) -> None:
    assert await find_places("/read", "GET", headers=headers) == {("header", "X-Tenant")}


async def test_marker_of_an_optional_type_holds() -> None:
    """Else a header that only a proxy may set would come from the query string."""
    headers = {"X-Tenant": "7", "Cookie": "theme=dark"}
    answer = await ask("/read_optional?page-number=2", "GET", headers=headers)
    assert answer.json() == [7, "dark", 2]
    assert (await ask("/read_optional", "GET")).json() == [None, None, None]
    place = ("header", "X-Tenant")
    assert await find_places("/read_optional", "GET", headers={"X-Tenant": "0"}) == {place}
    assert await find_places("/read_optional?tenant=7", "GET") == {("query", "tenant")}


async def test_marker_of_an_optional_body_holds() -> None:
    assert (await ask("/log_in_optionally", data={"name": "Ada"})).json() == "Ada"
    assert (await ask("/log_in_optionally")).json() is None
    headers = {"Content-Type": "image/png"}
    assert (await ask("/keep_optionally", content=b"\xff", headers=headers)).json() == 1
    assert (await ask("/keep_optionally")).json() == 0


async def test_wrong_element_of_a_tuple_is_named() -> None:
    assert await find_places("/tags?tags=1&tags=2.0", "GET") == {("query", "tags[1]")}


async def test_form() -> None:
    data = {"name": "Ada", "remember": "true", "roles": ["a", "b"]}
    answer = await ask("/log_in", data=data)
    assert answer.json() == {"name": "Ada", "remember": True, "roles": ["a", "b"]}


@pytest.mark.parametrize(
    ("path", "field", "files"), [("/log_in", "name", None), ("/upload", "title", {"file": b"1"})]
)
async def test_field_of_a_form_has_no_limit_of_its_own(
    path: str, field: str, files: dict[str, bytes] | None
) -> None:
    """But for that of the body."""
    answer = await ask(path, data={field: "a" * (2 << 20)}, files=files)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "Ada", "remember": "perhaps"}, "remember"),
        ({"name": "Ada", "unknown": "1"}, "unknown"),
        ({"name": ["Ada", "Grace"]}, "name"),
    ],
)
async def test_wrong_field_of_a_form_is_named(data: dict[str, Any], field: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert await find_places("/log_in", data=data, headers=headers) == {("body", field)}


async def test_field_that_is_left_empty_is_not_given() -> None:
    """Where an empty text is none of its values."""
    empty = dict.fromkeys(["age", "born", "color", "numbers", "agree"], "")
    answer = await ask("/fill_in", data={**empty, "name": "", "size": ""})
    assert answer.json() == {
        **{"age": None, "born": None, "color": "red", "numbers": [], "agree": False},
        **{"name": "", "size": "", "note": None},
    }
    assert await find_places("/fill_in", data={"note": ""}) == {("body", "note")}
    places = {("body", "agree"), ("body", "year")}
    assert await find_places("/agree", data={"agree": "", "year": ""}) == places


async def test_box_that_is_checked_is_true() -> None:
    data = {"agree": "on", "year": "2000", "option": "on"}
    assert (await ask("/agree", data=data)).json() == [True, 2000, "on"]
    assert await find_places("/agree", data={**data, "year": "on"}) == {("body", "year")}


async def test_file_of_a_form() -> None:
    files = {"file": ("a.txt", b"text")}
    assert (await ask("/upload", data={"title": "A"}, files=files)).json() == ["A", "a.txt", 4]
    assert await find_places("/upload", files=files) == {("body", "title")}
    files = {"other": ("a.txt", b"text")}
    places = {("body", "title"), ("body", "file"), ("body", "other")}
    assert await find_places("/upload", files=files) == places


async def test_file_of_a_form_is_open_until_the_response_and_its_task_end() -> None:
    files = {"file": ("a.txt", b"text")}
    for path in ("/upload_and_go", "/upload_and_go?stream=true"):
        answer = await ask(path, data={"title": "A"}, files=files)
        assert answer.content == (b"text" if "stream" in path else b"")
    assert read_later == [b"text"]
    assert (await ask("/upload_and_go", data={"title": "fail"}, files=files)).status_code == 409
    assert [file.file.closed for file in uploaded] == [True] * 3


async def test_form_is_no_other_body() -> None:
    assert (await ask("/log_in", json={"name": "Ada"})).status_code == 415
    assert (await ask("/count", data={"name": "Ada"})).status_code == 415
    assert (await ask("/upload", data={"title": "A"})).status_code == 415


@pytest.mark.parametrize("content", ["[1.0]", "[1e0]", '["1"]', "[true]", "[null]"])
async def test_integer_of_a_body_is_digits_alone(content: str) -> None:
    """JSON Schema takes 1.0 for an integer; who sends it may mean a fraction."""
    headers = {"Content-Type": "application/json"}
    assert await find_places("/count", content=content, headers=headers) == {("body", "[0]")}


@pytest.mark.parametrize("value", ["NaN", "-sNaN1", "Infinity", "-inf", "\\u004eaN"])
async def test_decimal_of_a_body_is_finite(value: str) -> None:
    content = '{"prices": {"a": ["1.50"], "b": [2, "?"]}, "discount": "?"}'.replace("?", value)
    places = {("body", "prices.b[1]"), ("body", "discount")}
    headers = {"Content-Type": "application/json"}
    assert await find_places("/order", content=content, headers=headers) == places


async def test_decimal_of_a_body_is_exact() -> None:
    content = '{"prices": {"a": ["1.50"], "b": [2, 0.10]}}'
    headers = {"Content-Type": "application/json"}
    assert (await ask("/order", content=content, headers=headers)).json() == "3.60"


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [
        ("/price", ["1", "nan"], "[1]"),
        ("/distinguish", ["1", "nan"], "[1]"),
        ("/distinguish", ["1", "sNaN"], "[1]"),
        ("/gather", [1, [2]], ""),
        ("/gather", [{}], ""),
    ],
)
async def test_element_that_cannot_be_is_told(path: str, body: list[Any], place: str) -> None:
    assert await find_places(path, json=body) == {("body", place)}


async def test_body_may_be_left_out() -> None:
    assert (await ask("/perhaps")).json() == "nobody"
    assert (await ask("/perhaps", json=None)).json() == "nobody"
    assert (await ask("/perhaps", json={"name": "Ada"})).json() == "Ada"
    assert await find_places("/perhaps", json={}) == {("body", "name")}


async def test_null_is_not_what_is_left_out() -> None:
    assert (await ask("/patch", json={})).json() == "left as it is"
    assert (await ask("/patch", json={"name": None})).json() == "None"


async def test_body_of_another_media_type_is_passed_on() -> None:
    headers = {"Content-Type": "image/png"}
    assert (await ask("/keep", content=b"\xff\xfe", headers=headers)).json() == 2
    headers = {"Content-Type": "text/plain"}
    assert (await ask("/keep", content=b"\xff\xfe", headers=headers)).status_code == 415


@pytest.mark.parametrize("path", ["/note", "/label"])
async def test_text_is_given_as_such(path: str) -> None:
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    assert (await ask(path, content="née", headers=headers)).json() == "NÉE"
    assert (await ask(path, content=b"\xff", headers=headers)).status_code == 400


async def test_text_may_be_left_out() -> None:
    assert (await ask("/note")).json() is None


async def test_text_is_held_to_its_type() -> None:
    headers = {"Content-Type": "text/plain"}
    assert await find_places("/label", content="four", headers=headers) == {("body", "")}


def test_marker_of_an_alias_holds() -> None:
    """As in `type alias = Tenant`, of Python 3.12."""
    alias = TypeAliasType("alias", Tenant)
    for each in (alias, alias | None):
        assert find_markers(lift_markers(each), Header) == [Header("X-Tenant")]


async def unannotated(request: Request[Any], left) -> None:  # type: ignore[no-untyped-def]
    pass


async def without_a_result(request: Request[Any]):  # type: ignore[no-untyped-def]
    pass


async def two_bodies(request: Request[Any], body: Login, form: Annotated[Login, Form()]) -> None:
    pass


async def one_name(
    request: Request[Any], a: Annotated[str, Header("X")], b: Annotated[str, Header("X")]
) -> None:
    pass


async def two_places(request: Request[Any], a: Annotated[str, Header(), Cookie()]) -> None:
    pass


async def any_number(request: Request[Any], *numbers: int) -> None:
    pass


async def file_in_a_query(request: Request[Any], file: UploadFile) -> None:
    pass


async def file_in_json(request: Request[Any], body: Upload) -> None:
    pass


async def file_in_a_list(request: Request[Any], body: list[UploadFile]) -> None:
    pass


async def file_in_a_result(request: Request[Any]) -> Upload | None:
    pass


async def without_a_request() -> None:
    pass


async def generator(request: Request[Any]) -> AsyncIterator[int]:
    yield 1


def plain_generator(request: Request[Any]) -> Iterator[int]:
    yield 1


async def form_of_a_dataclass(request: Request[Any], form: Annotated[Point, Form()]) -> None:
    pass


async def form_of_two(request: Request[Any], form: Annotated[Login | Upload, Form()]) -> None:
    pass


async def list_in_a_cookie(request: Request[Any], a: Annotated[list[str], Cookie()]) -> None:
    pass


async def text_of_a_number(
    request: Request[Any], body: Annotated[int, Media("text/plain")]
) -> None:
    pass


async def numbers_as_text(request: Request[Any]) -> Annotated[list[int], Media("text/csv")]:
    return []


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (unannotated, "`left` must be annotated"),
        (without_a_result, "the result must be annotated"),
        (two_bodies, "`body` and `form` are two bodies"),
        (one_name, "Multiple fields rename to the same name"),
        (two_places, "`a` comes from two places"),
        (any_number, "cannot be given by its name"),
        (file_in_a_query, "a file comes from a form"),
        (file_in_json, "a file comes from a form"),
        (file_in_a_list, "a file comes from a form"),
        (file_in_a_result, "a file comes from a form"),
        (generator, "it yields"),
        (plain_generator, "it yields"),
        (without_a_request, "its first parameter must be the request"),
        (form_of_a_dataclass, "a form is one msgspec `Struct`"),
        (form_of_two, "a form is one msgspec `Struct`"),
        (list_in_a_cookie, "a cookie is one value, and no list"),
        (numbers_as_text, "a result of text/csv is `str` or `bytes`"),
        (text_of_a_number, "a body of text/plain is `str` or `bytes`"),
    ],
)
def test_declaration_that_cannot_work(function: Callable[..., Any], told: str) -> None:
    """Says which function it is."""
    with pytest.raises(TypeError, match=rf"{function.__name__}: .*{told}"):
        endpoint()(function)
