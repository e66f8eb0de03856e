import httpx
import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from {{ cookiecutter.__package }}.chassis.request_id import (
    RequestId,
    request_id,
)


async def tell(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers the id that the application sees; with an error at /error."""
    status = 404 if scope["path"] == "/error" else 200
    await JSONResponse(request_id.get(), status)(scope, receive, send)


async def get(path: str, *headers: tuple[bytes, bytes]) -> httpx.Response:
    transport = httpx.ASGITransport(RequestId(tell))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path, headers=list(headers))


async def test_plain_id_is_taken_over() -> None:
    response = await get("/", (b"X-Request-ID", b"abc-1.2_3"))
    assert response.headers["x-request-id"] == response.json() == "abc-1.2_3"
    assert request_id.get() is None


async def test_id_is_made() -> None:
    """Only an error tells it: whoever asks about the answer can name it."""
    good, bad = await get("/"), await get("/error")
    assert len(good.json()) == len(bad.json()) == 32
    assert "x-request-id" not in good.headers
    assert bad.headers["x-request-id"] == bad.json() != good.json()


@pytest.mark.parametrize("given", ["a" * 65, "a b", 'a"b', "é", ""])
async def test_other_id_is_replaced(given: str) -> None:
    response = await get("/error", (b"X-Request-ID", given.encode()))
    assert len(response.headers["x-request-id"]) == 32
