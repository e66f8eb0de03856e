"""Where a parameter comes from and what a body is, in the `Annotated` of a signature."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin


@dataclass(frozen=True)
class Query:
    """In `Annotated`: a parameter of the query string that has another name there."""

    name: str = ""


@dataclass(frozen=True)
class Header:
    """In `Annotated`: a header; without a name the parameter's, with dashes."""

    name: str = ""


@dataclass(frozen=True)
class Cookie:
    """In `Annotated`: a cookie; without a name the parameter's."""

    name: str = ""


@dataclass(frozen=True)
class Form:
    """In `Annotated`: a body that is a form, and a `Struct` with its fields."""


class Media:
    """In `Annotated`: the media types of a body, or that of a result, other than JSON's."""

    def __init__(self, *types: str) -> None:
        self.types = types


def find_markers(annotation: Any, *kinds: Any) -> list[Any]:
    """`Form` may stand for `Form()`."""
    metadata = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    markers = [each() if each in (Query, Header, Cookie, Form) else each for each in metadata]
    return [each for each in markers if isinstance(each, kinds)]


def lift_markers(annotation: Any) -> Any:
    """With those of a union's members around the whole: `Tenant | None` is where `Tenant` is."""
    if not get_args(annotation):  # `type Tenant = …`
        annotation = getattr(annotation, "__value__", annotation)
    members = options(annotation)
    for each in members if len(members) > 1 else ():
        for marker in find_markers(lift_markers(each), Query, Header, Cookie, Form, Media):
            annotation = Annotated[annotation, marker]
    return annotation


def options(annotation: Any) -> Sequence[Any]:
    """The members of a union, or the one type; without what `Annotated` adds."""
    base = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return get_args(base) if get_origin(base) in {Union, UnionType} else [base]
