"""Results with a status and headers of their own, and requests on a condition."""

import re
from collections.abc import Mapping
from copy import copy
from typing import Any, ClassVar, Generic, TypeVar
from urllib.parse import quote

import msgspec
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from .body import is_json
from .routes import find_root_path

T = TypeVar("T")

NO_BODY = {204, 205, 304}
SAFE = ":/%#?=@[]!$&'()*+,;"  # in a URI, which may be quoted already
ENTITY_TAG = re.compile(r'(W/)?"([^"]*)"')


class Answer(Response, Generic[T]):
    """A result of the type `T` with headers of its own.

    A subclass has another `status`, or `media_type`, and names in `header_names` what the schema
    tells of them. What is not JSON is `str` or `bytes`.
    """

    status: ClassVar[int] = 200
    header_names: ClassVar[tuple[str, ...]] = ()
    media_type: str | None = "application/json"

    def __init__(
        self,
        content: T,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        if self.status in NO_BODY:
            self.media_type = None
        super().__init__(content, self.status, headers, background=background)

    def render(self, content: Any) -> bytes:
        if self.status in NO_BODY:
            return b""
        other = self.media_type and not is_json(self.media_type)
        return bytes(super().render(content)) if other else msgspec.json.encode(content)


class Created(Answer[T]):
    """`location` is the path of what was made, quoted or not."""

    status = 201
    header_names = ("Location",)

    def __init__(
        self,
        content: T,
        location: str,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        location = quote(location, SAFE)
        super().__init__(content, {"Location": location, **(headers or {})}, background)


class Accepted(Answer[T]):
    """What will be done later."""

    status = 202


class Tagged(Answer[T]):
    """With a strong `etag`, without its quotes, by which clients ask for changes alone."""

    header_names = ("ETag",)

    def __init__(
        self,
        content: T,
        etag: str,
        headers: Mapping[str, str] | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        super().__init__(content, {"ETag": f'"{etag}"', **(headers or {})}, background)


def require_match(if_match: str | None, etag: str) -> None:
    """Raises `HTTPException` unless the header If-Match names the `etag`: 428 or 412.

    https://www.rfc-editor.org/rfc/rfc9110#section-13.1.1
    """
    if if_match is None:
        raise HTTPException(428, "If-Match must name the version that is to be changed")
    tags = [tag for weak, tag in ENTITY_TAG.findall(if_match) if not weak]
    if if_match.strip() != "*" and etag not in tags:
        raise HTTPException(412, "It has changed meanwhile")


def finish(request: Request[Any], response: Response) -> Response:
    """The response as this request must have it.

    The client knows the service below `root_path`, and may have what it asks for.
    https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2
    """
    headers = response.headers
    if isinstance(response, Created) and headers["location"].startswith("/"):
        headers["location"] = find_root_path(request.scope) + headers["location"]
    if "etag" in headers and response.status_code == 200 and request.method in {"GET", "HEAD"}:
        asked = ",".join(request.headers.getlist("if-none-match"))
        tags = {tag for _, tag in ENTITY_TAG.findall(asked)}
        if asked.strip() == "*" or tags & {tag for _, tag in ENTITY_TAG.findall(headers["etag"])}:
            unchanged = Response(status_code=304, background=response.background)
            kept = [each for each in response.raw_headers if not each[0].startswith(b"content-")]
            unchanged.raw_headers = kept
            return unchanged
    return response


def close_after(request: Request[Any], response: Response) -> Response:
    """The response, after which the files of the request's form are closed, and after its task."""
    response = copy(response)  # It may be sent again.
    background = response.background

    async def close() -> None:
        try:
            if background:
                await background()
        finally:
            await request.close()

    response.background = BackgroundTask(close)
    return response
