"""What a setting may be that says where something is. A cast raises as those of `casts.py` do."""

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from .casts import Refused, accepts, check, port
from .database_url import parse

UNIX = "unix:"
Trusted = list[IPv4Network | IPv6Network | str]

URL = r"https?://([^/?#@\s]*@)?([\w.-]+|\[[\da-f:.]+\])(:\d+)?([/?#]\S*)?"


def database_url(value: str) -> str:
    """Its parameters are looked at by name, and the files that they name."""
    try:
        if value:
            parse(value)
        return value
    except ValueError as error:
        raise Refused(f"postgresql://user:password@host:port/name, or empty: {error}") from None


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


def urls(value: str) -> list[str]:
    found = items(value, URL)
    check(all(urlsplit(item).port != 0 for item in found))  # It raises where one is over 65535.
    return found


@accepts("an http:// or https:// URL, or empty")
def url(value: str) -> str:
    check(not value or urls(value) == [value])
    return value


@accepts("three or more http:// or https:// URLs, separated by commas")
def upstream_urls(value: str) -> list[str]:
    found = urls(value)
    check(len(found) >= 3)
    return found


@accepts("IP addresses, networks as 10.0.0.0/8, or unix:, separated by commas, or empty")
def networks(value: str) -> Trusted:
    return [item if item == UNIX else ip_network(item) for item in items(value, ".+")]


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
    names = items(value.lower(), r"\*|(\*\.)?\w[\w-]*(\.\w[\w-]*)*\.?|\[[\da-f:.]+\]")
    check(names)
    return [name.removesuffix(".") for name in names]


@accepts("origins, as https://app.example.com, separated by commas, or *, or empty")
def origins(value: str) -> list[str]:
    found = items(value.lower(), r"\*|https?://([\w.-]+|\[[\da-f:.]+\])(:\d+)?")
    # As browsers send them.
    return [re.sub(r"(http:.+):80$|(https:.+):443$", r"\1\2", origin) for origin in found]
