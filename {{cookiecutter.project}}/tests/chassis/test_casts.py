from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest

from {{ cookiecutter.__package }}.chassis import casts


@pytest.mark.parametrize(
    ("cast", "text", "value"),
    [
        (casts.flag, "True", True),
        (casts.port, "0", 0),
        (casts.port, "65535", 65535),
        (casts.count, "12", 12),
        (casts.seconds, "0.5", 0.5),
        (casts.seconds, "15", 15.0),
        (casts.level, "INFO", "info"),
        (casts.path, "", None),
        (casts.database_url, "postgres://a:b%40c@host:1/name", "postgres://a:b%40c@host:1/name"),
        (casts.udp_bind, "[::1]:8443", "[::1]:8443"),
        (casts.url, "http://[::1]:4318/v1", "http://[::1]:4318/v1"),
        (casts.url, "http://user:word@host/", "http://user:word@host/"),
        (casts.networks, "10.0.0.0/8, ::1", [ip_network("10.0.0.0/8"), ip_network("::1")]),
        (casts.networks, "unix:", ["unix:"]),
        (casts.root_path, "", ""),
        (casts.root_path, "/shop/v1.0", "/shop/v1.0"),
        (casts.host, "localhost", "localhost"),
        (casts.host, "[::1]", "[::1]"),
        (casts.host, "unix:/run/a b.sock", "unix:/run/a b.sock"),
        (casts.hosts, "Example.com., *.example.org", ["example.com", "*.example.org"]),
        (casts.origins, "https://a.example:8443,*", ["https://a.example:8443", "*"]),
    ],
)
def test_value_is_taken(cast: Callable[[str], Any], text: str, value: object) -> None:
    assert cast(text) == value


@pytest.mark.parametrize(
    ("cast", "text"),
    [
        (casts.flag, "maybe"),
        (casts.port, "http"),
        (casts.port, "65536"),
        (casts.port, "8_0"),
        (casts.port, " 80"),
        (casts.port, "-1"),
        (casts.port, "٣"),
        (casts.count, "0"),
        (casts.count, "+1"),
        (casts.seconds, "0"),
        (casts.seconds, "inf"),
        (casts.seconds, "nan"),
        (casts.seconds, "1_0"),
        (casts.seconds, "1e2"),
        (casts.level, "loud"),
        (casts.path, "/nowhere/cert.pem"),
        (casts.database_url, "mysql://secret@host/name"),
        (casts.database_url, "postgresql://user:secret#1@host/name"),
        (casts.database_url, "postgresql://user:secret/1@host/name"),
        (casts.udp_bind, "8443"),
        (casts.udp_bind, "localhost:8443"),
        (casts.url, "127.0.0.1:4318"),
        (casts.url, "http://a:b"),
        (casts.url, "http://a:b/c"),
        (casts.url, "http:///path"),
        (casts.upstream_urls, "http://only.one/"),
        (casts.networks, "*"),
        (casts.networks, "unix:/run/a.sock"),
        (casts.root_path, "shop"),
        (casts.root_path, "/shop/"),
        (casts.root_path, "/"),
        (casts.host, ""),
        (casts.host, "http://localhost"),
        (casts.host, "unix:relative.sock"),
        (casts.host, "localhost:8000"),
        (casts.hosts, ","),
        (casts.hosts, "example.com:8000"),
        (casts.hosts, "https://example.com"),
        (casts.origins, "app.example.com"),
        (casts.origins, "https://app.example.com/"),
        (casts.origins, "https://app.example.com:http"),
    ],
)
def test_other_value_is_refused(cast: Callable[[str], Any], text: str) -> None:
    """The error says what is accepted, and does not show the value, which may be a secret."""
    with pytest.raises(ValueError, match=" ") as raised:
        cast(text)
    assert "secret" not in str(raised.value)
