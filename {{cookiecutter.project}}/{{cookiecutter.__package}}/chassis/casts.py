"""What a setting may be. A cast raises `Refused`, which tells what it accepts."""

import functools
import os
import re
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
Cast = Callable[[str], T]


class Refused(ValueError):
    """Its text goes on after "must be", and shows no value."""


def accepts(what: str) -> Callable[[Cast[T]], Cast[T]]:
    """Makes a cast raise `Refused` with `what` it accepts, whatever it fails with."""

    def decorate(cast: Cast[T]) -> Cast[T]:
        @functools.wraps(cast)
        def convert(value: str) -> T:
            try:
                return cast(value)
            except (ArithmeticError, LookupError, ValueError):
                raise Refused(what) from None

        return convert

    return decorate


def check(condition: object) -> None:
    if not condition:
        raise ValueError


@accepts("a whole number")
def number(value: str) -> int:
    """`int` would take spaces, signs and underscores as well."""
    check(value.isascii() and value.isdecimal())
    return int(value)


@accepts("true or false")
def flag(value: str) -> bool:
    return {"true": True, "false": False}[value.lower()]


@accepts("a port number, or 0 for any free port")
def port(value: str) -> int:
    check(number(value) <= 65535)
    return int(value)


@accepts("a whole number from 1 up")
def count(value: str) -> int:
    check(number(value) >= 1)
    return int(value)


@accepts("a number of seconds above 0")
def seconds(value: str) -> float:
    check(re.fullmatch(r"\d+\.?\d*|\.\d+", value, re.ASCII) and 0 < float(value) < float("inf"))
    return float(value)


@accepts("debug, info, warning, error or critical")
def level(value: str) -> str:
    check(value.lower() in {"debug", "info", "warning", "error", "critical"})
    return value.lower()


@accepts("the path of something that exists, or empty")
def path(value: str) -> str | None:
    check(not value or os.path.exists(value))
    return value or None


@accepts("the path of a folder, or empty")
def folder(value: str) -> str | None:
    check(not value or os.path.isdir(value))
    return value or None
