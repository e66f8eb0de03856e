"""What a DATABASE_URL means to asyncpg, and what is refused."""

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from {{ cookiecutter.__package }}.chassis.database_url import (
    DatabaseURL,
    connect_options,
    parse,
)

URL = "postgresql://user:p4ss@host/db"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:p%40%23@h:6543/d", {"user": "u", "password": "p@#", "port": [6543]}),
        ("postgresql+asyncpg://u@h/d", {"host": ["h"], "port": [5432], "database": "d"}),
        ("postgresql://u:p:q@h/d", {"password": "p:q"}),
        ("postgresql://a:1,[::1]:2,c/d", {"host": ["a", "::1", "c"], "port": [1, 2, 5432]}),
        ("postgresql:///d?host=a,b&port=1,2&user=u", {"host": ["a", "b"], "port": [1, 2]}),
        ("postgresql:///d?host=::1,[::2]:7&port=5,6", {"host": ["::1", "::2"], "port": [5, 7]}),
        ("postgresql://u@/d?host=/cloudsql/p:r:i", {"host": ["/cloudsql/p:r:i"]}),
        ("postgresql://u@%2Fcloudsql%2Fp:r:i/d", {"host": ["/cloudsql/p:r:i"]}),
        ("postgresql://u@%2Ftmp%2Fx/d", {"host": ["/tmp/x"]}),  # noqa: S108
        ("postgresql://h/?dbname=d", {"database": "d"}),
        (f"{URL}?connect_timeout=10", {"timeout": 10}),
        (f"{URL}?connect_timeout=0&keepalives_idle=30&supa=base-pooler.x&connection_limit=1", {}),
        (f"{URL}?target_session_attrs=read-write", {"target_session_attrs": "read-write"}),
        (f"{URL}?statement_cache_size=0", {"statement_cache_size": 0}),
        (f"{URL}?prepared_statement_cache_size=9", {"statement_cache_size": 9}),
        (f"{URL}?pgbouncer=true", {"pooler": True}),
        (f"{URL}?schema=s", {"server_settings": {"search_path": "s"}}),
        (f"{URL}?options=-c%20a.b%3D1", {"server_settings": {"options": "-c a.b=1"}}),
        (f"{URL}?application_name=n", {"server_settings": {"application_name": "n"}}),
        (f"{URL}?sslmode=require", {"dsn": "postgresql:///?sslmode=require"}),
        (f"{URL}?ssl=require", {"dsn": "postgresql:///?sslmode=require"}),
        (f"{URL}?sslmode=no-verify", {"dsn": "postgresql:///?sslmode=require"}),
        (f"{URL}?ssl=false", {"dsn": "postgresql:///?sslmode=disable"}),
        (f"{URL}?sslmode=require&", {"dsn": "postgresql:///?sslmode=require"}),
        (f"{URL}?sslmode=disable&sslmode=require", {"dsn": "postgresql:///?sslmode=require"}),
        (f"{URL}?sslmode=require&ssl=false", {"dsn": "postgresql:///?sslmode=require"}),
        (f"{URL}?ssl=false&sslmode=require", {"dsn": "postgresql:///?sslmode=require"}),
        (f"{URL}?channel_binding=prefer&gssencmode=disable&client_encoding=UTF8", {}),
    ],
)
def test_what_has_an_equivalent_is_translated(url: str, expected: dict[str, Any]) -> None:
    found = parse(url)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    "query",
    [
        "sslmode=verify-full",
        "sslrootcert=system",
        "sslmode=require&sslrootcert=system",
        "sslmode=require&channel_binding=require",
        "ssl=true",
    ],
)
def test_trust_in_the_system_verifies_the_host(query: str) -> None:
    context = parse(f"{URL}?{query}")["ssl"]
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_versions_of_tls_hold_with_trust_in_the_system() -> None:
    versions = "ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.3"
    context = parse(f"{URL}?sslmode=verify-full&{versions}")["ssl"]
    assert context.minimum_version is context.maximum_version is ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("mysql://user:p4ss@host/db", "postgresql://"),
        ("postgresql://user:p4ss@host/", "no database"),
        ("postgresql://user:p4ss@host:x/db", "port"),
        ("postgresql://user:p4ss@host:70000/db", "port"),
        ("postgresql://user:p4ss@a..b/db", "host"),
        (f"postgresql://user:p4ss@{'a' * 64}.com/db", "host"),
        ("postgresql://user:p4ss@::1/db", r"\[::1\]"),
        ("postgresql://user:p4ss@/db?host=a,b&port=1,2,3", "port"),
        ("postgresql://user:p4ss@/db?host=a,b,c&port=1,2", "port"),
        ("postgresql://user:p4ss@x@host/db", "percent-encoded"),
        ("postgresql://user:p4ss/x@host/db", "percent-encoded"),
        ("postgresql://user:p4ss#x@host/db", "percent-encoded"),
        ("postgresql://user:p4ss?x@host/db", "percent-encoded"),
        ("postgresql://user:p4ss?x=y@host/db", "percent-encoded"),
        ("postgresql://user:p4ss[x@host/db", "percent-encoded"),
        (f"{URL}?sslmode=strong", "sslmode"),
        (f"{URL}?sslmode=verify-ca", "sslrootcert"),
        (f"{URL}?ssl_min_protocol_version=TLSv9", "ssl_min_protocol_version"),
        (f"{URL}?target_session_attrs=best", "target_session_attrs"),
        (f"{URL}?connect_timeout=soon", "connect_timeout"),
        (f"{URL}?statement_timeout=soon", "statement_timeout"),
        (f"{URL}?sslrootcert=/no/ca.pem", "sslrootcert"),
        (f"{URL}?sslcert=/no/cert.pem", "sslcert"),
        (f"{URL}?sslcrl=/no/crl.pem", "sslcrl"),
        (f"{URL}?passfile=/no/pass", "passfile"),
        (f"{URL}?require_auth=scram-sha-256", "require_auth"),
        (f"{URL}?requirepeer=postgres", "requirepeer"),
        (f"{URL}?gssencmode=require", "gssencmode"),
        (f"{URL}?sslcrldir=/crls", "sslcrldir"),
        (f"{URL}?client_encoding=latin1", "client_encoding"),
        (f"{URL}?hostaddr=10.0.0.1", "hostaddr"),
        (f"{URL}?replication=database", "replication"),
        (f"{URL}?nonsense=p4ss", "nonsense"),
    ],
)
def test_the_rest_is_refused_in_one_line_without_the_password(url: str, named: str) -> None:
    with pytest.raises(ValueError, match=named) as raised:
        parse(url)
    assert "\n" not in str(raised.value)
    assert "p4ss" not in str(raised.value)


@pytest.mark.parametrize(
    ("variables", "url", "expected"),
    [
        ({"PGSSLMODE": "require"}, URL, {"dsn": "postgresql:///?sslmode=require"}),
        ({"PGSSLMODE": "x"}, f"{URL}?ssl=false", {"dsn": "postgresql:///?sslmode=disable"}),
        ({"PGSSLROOTCERT": "/no/ca.pem"}, URL, {"dsn": "postgresql:///?"}),
        ({"PGPORT": "6543"}, "postgresql:///d", {"port": [6543]}),
        ({"PGHOST": "a,b", "PGPORT": "1,2"}, "postgresql:///d", {"host": ["a", "b"]}),
        ({"PGTARGETSESSIONATTRS": "primary"}, URL, {"target_session_attrs": "primary"}),
    ],
)
def test_environment_says_what_the_url_does_not(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, expected: dict[str, Any]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = parse(url)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"PGSSLMODE": "strong"}, "sslmode must be one of .*; the environment adds PGSSLMODE$"),
        ({"PGTARGETSESSIONATTRS": "best"}, "PGTARGETSESSIONATTRS"),
        ({"SSLKEYLOGFILE": "/no/keys"}, "SSLKEYLOGFILE"),
        ({"PGSSLMODE": ""}, "PGSSLMODE"),
        ({"PGSSLCERT": "/no/cert"}, "PGSSLCERT"),
        ({"PGSSLMINPROTOCOLVERSION": "x"}, "PGSSLMINPROTOCOLVERSION"),
        ({"PGGSSLIB": "x"}, "PGGSSLIB"),
        ({"PGSSLMODE": "require", "PGSSLROOTCERT": "/no/ca"}, "sslrootcert names no file.* adds"),
    ],
)
def test_what_is_wrong_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], named: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=named):
        parse(URL)


@pytest.mark.parametrize(("name", "value"), [("PGPORT", "x"), ("PGHOST", "a:x")])
def test_wrong_address_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name):
        parse("postgresql:///d")


def test_files_are_looked_at(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "broken.pem").write_text("nothing")
    (tmp_path / "pass").write_text("*:*:*:*:secret")
    (tmp_path / "pass").chmod(0o644)
    assert "ca.pem" in parse(f"{URL}?sslmode=verify-ca&sslrootcert={tmp_path}/ca.pem")["dsn"]
    with pytest.raises(ValueError, match="sslrootcert"):
        parse(f"{URL}?sslrootcert={tmp_path}/broken.pem")
    with pytest.raises(ValueError, match="sslcert"):
        parse(f"{URL}?sslcert={tmp_path}/ca.pem&sslkey={tmp_path}/broken.pem")
    with pytest.raises(ValueError, match="passfile"):
        parse(f"{URL}?passfile={tmp_path}/pass")


@pytest.fixture
def service_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "services"
    file.write_text(
        "[shop]\n# of libpq\nhost=a\nport=6543\ndbname=shop\nuser=u\npassword=p4ss%:x\n"
        "sslmode=require\n[other]\nhost=b\n[wrong]\nport=x\ndbname=d\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    return file


def test_service_says_what_the_url_does_not(service_file: Path) -> None:
    for url in (
        "postgresql://?service=shop",
        f"postgresql:///?service=shop&servicefile={service_file}",
    ):
        assert parse(url) == {
            "pooler": False,
            "user": "u",
            "password": "p4ss%:x",
            "database": "shop",
            "host": ["a"],
            "port": [6543],
            "statement_timeout": None,
            "server_settings": {},
            "dsn": "postgresql:///?sslmode=require",
        }
    found = parse("postgresql://me@b:1/d?service=shop&sslmode=disable")
    assert found["user"] == "me"
    assert (found["host"], found["port"], found["database"]) == (["b"], [1], "d")
    assert found["dsn"] == "postgresql:///?sslmode=disable"


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://?service=missing", "service is not in"),
        ("postgresql://?service=other", "names no database"),
        ("postgresql://?service=wrong", "port must be"),
        ("postgresql://?service=shop&servicefile=/no/file", "service is not in /no/file"),
        (f"postgresql://?service=shop&servicefile={__file__}", "servicefile .* cannot be read"),
    ],
)
@pytest.mark.usefixtures("service_file")
def test_service_that_is_none_is_refused(url: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parse(url)


def test_limits_are_set_but_for_a_pooler() -> None:
    direct, pooled = connect_options(URL), connect_options(f"{URL}?pgbouncer=true")
    assert direct["server_settings"] == {"statement_timeout": "2s"}
    assert (direct["timeout"], direct["command_timeout"]) == (1.0, 2.25)
    assert (pooled["server_settings"], pooled["statement_cache_size"]) == ({}, 0)


@pytest.mark.parametrize(
    ("query", "sent", "waited"),
    [
        ("statement_timeout=5000", {"statement_timeout": "5000"}, 5.25),
        ("statement_timeout=1min", {"statement_timeout": "1min"}, 60.25),
        ("statement_timeout=0", {"statement_timeout": "0"}, None),
        ("options=-c%20statement_timeout%3D500ms", {"options": "-c statement_timeout=500ms"}, 0.75),
        ("options=--statement-timeout%3D0", {"options": "--statement-timeout=0"}, None),
    ],
)
def test_limit_of_the_url_holds(query: str, sent: dict[str, str], waited: float | None) -> None:
    options = connect_options(f"{URL}?{query}")
    assert (options["server_settings"], options["command_timeout"]) == (sent, waited)


def test_password_is_not_shown() -> None:
    url = DatabaseURL("postgresql://user:p4ss@a:1,b:2/db?password=p4ss")
    assert "p4ss" not in repr(url)
