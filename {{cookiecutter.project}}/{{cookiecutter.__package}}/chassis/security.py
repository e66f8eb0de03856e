"""Who asks: schemes of the OpenAPI schema, checked before anything else of a request is read.

No identity provider is chosen: a function of the owner's finds the user of given credentials.
"""

from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from .errors import answer


@dataclass(frozen=True)
class Scheme:
    """`name` is the scheme's in the schema; `description` replaces what the schema says of it.

    `find_user(request, credentials)` returns what `request.user` is to be, or None where it does
    not accept the credentials. Without one it is Starlette's `AuthenticationMiddleware` that finds
    users. Each of `scopes` must be among `user.scopes`, or those of `request.auth`.
    https://spec.openapis.org/oas/v3.1.1.html#security-scheme-object
    """

    name: str
    find_user: Callable[[Request[Any], str], Awaitable[Any]] | None = None
    description: Mapping[str, Any] | None = None
    scopes: tuple[str, ...] = ()

    kind: ClassVar[str] = "Bearer"

    def requiring(self, *scopes: str) -> Self:
        return replace(self, scopes=scopes)

    def describe(self) -> Mapping[str, Any]:
        return self.description or {"type": "http", "scheme": self.kind.lower()}

    def read_credentials(self, request: Request[Any]) -> str | None:
        """https://www.rfc-editor.org/rfc/rfc9110#section-11.4"""
        kind, _, credentials = request.headers.get("authorization", "").partition(" ")
        return credentials.strip() if kind.lower() == self.kind.lower() else None

    def refuse(self, status: int, detail: str, error: str = "") -> HTTPException:
        """https://www.rfc-editor.org/rfc/rfc6750#section-3"""
        return HTTPException(status, detail, {"WWW-Authenticate": self.challenge + error})

    @property
    def challenge(self) -> str:
        return self.kind

    def on_error(self, connection: HTTPConnection[Any], error: Exception) -> Response:
        """For Starlette's `AuthenticationMiddleware`, which would answer 400 and plain text."""
        return answer(self.refuse(401, str(error)))


class Bearer(Scheme):
    """https://www.rfc-editor.org/rfc/rfc6750"""


class Basic(Scheme):
    """The credentials are `name:password`. https://www.rfc-editor.org/rfc/rfc7617"""

    kind = "Basic"

    @property
    def challenge(self) -> str:
        return f'Basic realm="{self.name}", charset="UTF-8"'

    def read_credentials(self, request: Request[Any]) -> str | None:
        try:
            given = super().read_credentials(request) or ""
            return b64decode(given, validate=True).decode()
        except ValueError:
            return None


@dataclass(frozen=True)
class ApiKey(Scheme):
    """A `header`, or a `cookie`, whose name this is."""

    header: str = "X-API-Key"
    cookie: str = ""

    kind = "ApiKey"

    def describe(self) -> Mapping[str, Any]:
        place = "cookie" if self.cookie else "header"
        given = {"type": "apiKey", "in": place, "name": self.cookie or self.header}
        return self.description or given

    def read_credentials(self, request: Request[Any]) -> str | None:
        values = request.cookies if self.cookie else request.headers
        return values.get(self.cookie or self.header)


async def authenticate(request: Request[Any], schemes: Sequence[Scheme | None]) -> None:
    """Sets the user by the first scheme that the client uses; None allows a client without one.

    Raises `HTTPException` 401 or 403.
    """
    for scheme in filter(None, schemes):
        if scheme.find_user:
            credentials = scheme.read_credentials(request)
            if not credentials:
                continue
            user = await scheme.find_user(request, credentials)
            if user is None:
                error = ' error="invalid_token"' if scheme.kind == "Bearer" else ""
                raise scheme.refuse(401, "The credentials are not accepted", error)
            request.scope["user"] = user
            granted = getattr(user, "scopes", ())
        else:
            user = request.scope.get("user")
            if not getattr(user, "is_authenticated", False):
                continue
            granted = request.auth.scopes
        if not set(scheme.scopes) <= set(granted):
            insufficient = f' error="insufficient_scope", scope="{" ".join(scheme.scopes)}"'
            raise scheme.refuse(403, "The user may not do this", insufficient)
        return
    if None not in schemes:
        challenges = ", ".join(scheme.challenge for scheme in schemes if scheme)
        raise HTTPException(401, "Credentials are missing", {"WWW-Authenticate": challenges})
    request.scope.setdefault("user", None)
