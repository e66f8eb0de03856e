"""What a setting may be. A cast raises `ValueError` that tells what it accepts."""

import functools
import os
import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TypeVar

from .database_url import parse

T = TypeVar("T")
Cast = Callable[[str], T]

URL = r"https?://([^/?#@\s]*@)?([\w.-]+|\[[\da-f:.]+\])(:\d+)?([/?#]\S*)?"


def accepts(what: str) -> Callable[[Cast[T]], Cast[T]]:
    """Makes a cast raise `ValueError` with `what` it accepts, whatever it fails with."""

    def decorate(cast: Cast[T]) -> Cast[T]:
        @functools.wraps(cast)
        def convert(value: str) -> T:
            try:
                return cast(value)
            except (LookupError, ValueError):
                raise ValueError(what) from None

        return convert

    return decorate


def check(condition: object) -> None:
    if not condition:
        raise ValueError


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


def database_url(value: str) -> str:
    """Its parameters are looked at by name, and the files that they name."""
    try:
        if value:
            parse(value)
        return value
    except ValueError as error:
        raise ValueError(f"postgresql://user:password@host:port/name, or empty: {error}") from None


@accepts("an IP address and a port, as 127.0.0.1:8443 or [::1]:8443, or empty")
def udp_bind(value: str) -> str:
    address, _, digits = value.rpartition(":")
    check(not value or (ip_address(address.strip("[]")) and port(digits)))
    return value


def items(value: str, pattern: str) -> list[str]:
    """What stands between commas. Raises `ValueError` where one of them is not as the pattern."""
    found = [item for part in value.split(",") if (item := part.strip())]
    check(all(re.fullmatch(pattern, item, re.ASCII | re.IGNORECASE) for item in found))
    return found


@accepts("an http:// or https:// URL, or empty")
def url(value: str) -> str:
    check(not value or items(value, URL) == [value])
    return value


@accepts("three or more http:// or https:// URLs, separated by commas")
def upstream_urls(value: str) -> list[str]:
    check(len(items(value, URL)) >= 3)
    return items(value, URL)


@accepts("IP addresses, networks as 10.0.0.0/8, or unix:, separated by commas, or empty")
def networks(value: str) -> list[IPv4Network | IPv6Network | str]:
    return [item if item == "unix:" else ip_network(item) for item in items(value, ".+")]


@accepts("the beginning of a path, as /shop, without a slash at its end, or empty")
def root_path(value: str) -> str:
    check(re.fullmatch(r"(/[\w.~-]+)*", value, re.ASCII))
    return value


@accepts("a host name, an IP address, or unix: and the absolute path of a socket")
def host(value: str) -> str:
    check(re.fullmatch(r"unix:/.+|[\w.-]+|\[?[\da-fA-F:.]+\]?", value, re.ASCII))
    return value


@accepts("host names without ports, as example.com or *.example.com, separated by commas, or *")
def hosts(value: str) -> list[str]:
    names = items(value.lower(), r"\*|(\*\.)?[\w.-]+|\[[\da-f:.]+\]")
    check(names)
    return [name.removesuffix(".") for name in names]


@accepts("origins, as https://app.example.com, separated by commas, or *, or empty")
def origins(value: str) -> list[str]:
    return items(value, r"\*|https?://([\w.-]+|\[[\da-f:.]+\])(:\d+)?")
