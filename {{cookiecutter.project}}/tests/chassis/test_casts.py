from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest

from {{ cookiecutter.__package }}.chassis import addresses, casts


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
        (casts.folder, "/", "/"),
        (casts.folder, "", None),
        (
            addresses.database_url,
            "postgres://a:b%40c@host:1/name",
            "postgres://a:b%40c@host:1/name",
        ),
        (addresses.udp_bind, "[::1]:8443", "[::1]:8443"),
        (addresses.url, "http://[::1]:4318/v1", "http://[::1]:4318/v1"),
        (addresses.url, "http://user:word@host/", "http://user:word@host/"),
        (addresses.networks, "10.0.0.0/8, ::1", [ip_network("10.0.0.0/8"), ip_network("::1")]),
        (addresses.networks, "unix:", ["unix:"]),
        (addresses.root_path, "", ""),
        (addresses.root_path, "/shop/v1.0", "/shop/v1.0"),
        (addresses.host, "localhost", "localhost"),
        (addresses.host, "[::1]", "[::1]"),
        (addresses.host, "unix:/run/a b.sock", "unix:/run/a b.sock"),
        (addresses.hosts, "Example.com., *.example.org", ["example.com", "*.example.org"]),
        (addresses.origins, "https://a.example:8443,*", ["https://a.example:8443", "*"]),
        (addresses.origins, "https://A.Example:443", ["https://a.example"]),
        (addresses.origins, "http://[::1]:80,http://a:443", ["http://[::1]", "http://a:443"]),
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
        (casts.folder, "/nowhere"),
        (addresses.database_url, "mysql://secret@host/name"),
        (addresses.database_url, "postgresql://user:secret#1@host/name"),
        (addresses.database_url, "postgresql://user:secret/1@host/name"),
        (addresses.udp_bind, "8443"),
        (addresses.udp_bind, "localhost:8443"),
        (addresses.url, "127.0.0.1:4318"),
        (addresses.url, "http://a:b"),
        (addresses.url, "http://a:b/c"),
        (addresses.url, "http:///path"),
        (addresses.upstream_urls, "http://only.one/"),
        (addresses.upstream_urls, "http://a/,http://b/,http://c:65536/"),
        (addresses.url, "http://a:0"),
        (addresses.networks, "*"),
        (addresses.networks, "unix:/run/a.sock"),
        (addresses.root_path, "shop"),
        (addresses.root_path, "/shop/"),
        (addresses.root_path, "/"),
        (addresses.host, ""),
        (addresses.host, "http://localhost"),
        (addresses.host, "unix:relative.sock"),
        (addresses.host, "localhost:8000"),
        (addresses.hosts, ","),
        (addresses.hosts, "example.com:8000"),
        (addresses.hosts, "https://example.com"),
        (addresses.hosts, ".example.com"),
        (addresses.hosts, "."),
        (addresses.hosts, "example..com"),
        (addresses.hosts, "-example.com"),
        (addresses.origins, "app.example.com"),
        (addresses.origins, "https://app.example.com/"),
        (addresses.origins, "https://app.example.com:http"),
    ],
)
def test_other_value_is_refused(cast: Callable[[str], Any], text: str) -> None:
    """The error says what is accepted, and does not show the value, which may be a secret."""
    with pytest.raises(ValueError, match=" ") as raised:
        cast(text)
    assert "secret" not in str(raised.value)
