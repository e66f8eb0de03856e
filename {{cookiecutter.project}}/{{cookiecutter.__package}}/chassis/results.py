"""What the annotation of a result says of the answers."""

from collections.abc import Iterator
from functools import reduce
from operator import or_
from types import NoneType
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

from starlette.responses import Response

from .answers import NO_BODY, Answer
from .body import is_json
from .markers import Media, find_markers, options

SENT_AS_IT_IS = (str, bytes, memoryview, NoneType)


class Result(NamedTuple):
    """`status` is None where a `Response` says it; without a `media_type` there is no body."""

    status: int | None
    type: Any = None
    media_type: str = ""
    headers: tuple[str, ...] = ()


def read_results(annotation: Any) -> Iterator[Result]:
    """None alone is 204, beside other types it is null."""
    typed = []
    for each in options(annotation):
        [type_, *_] = options(each)  # without what `Annotated` adds
        cls = get_origin(type_) or type_
        if not isinstance(cls, type) or not issubclass(cls, Response):
            typed.append(each)
        elif issubclass(cls, Answer):
            media_type = "" if cls.status in NO_BODY else cls.media_type or ""
            yield Result(cls.status, find_content(type_), media_type, cls.header_names)
        else:
            media_types = find_media_types(each) or find_media_types(annotation)
            yield from (Result(200, Any, media_type) for media_type in media_types)
            yield Result(None)
    if typed == [NoneType]:
        yield Result(204)
    elif typed:
        [media_type, *_] = [*find_media_types(annotation), "application/json"]
        if not is_json(media_type) and not all(map(is_sent_as_it_is, typed)):
            raise TypeError(f"a result of {media_type} is `str` or `bytes`")
        whole = annotation if len(typed) == len(options(annotation)) else reduce(or_, typed)
        yield Result(200, whole, media_type)


def is_sent_as_it_is(type_: Any) -> bool:
    """By a `Response` of Starlette's, as far as the type tells."""
    [bare, *_] = options(type_)
    cls = get_origin(bare) or bare
    return not isinstance(cls, type) or cls is Any or issubclass(cls, SENT_AS_IT_IS)


def find_media_types(annotation: Any) -> list[str]:
    return [type_ for media in find_markers(annotation, Media) for type_ in media.types]


def find_content(answer: Any) -> Any:
    """What an `Answer` is of: `Answer[User]`, or a class that inherits from it."""
    for base in (answer, *getattr(get_origin(answer) or answer, "__orig_bases__", ())):
        if get_args(base) and not isinstance(get_args(base)[0], TypeVar):
            return get_args(base)[0]
    return Any
