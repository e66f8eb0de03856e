"""DATABASE_URL as it is handed out, read once for SQL, for the ORM and for the migrations."""

import os
import re
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import databases

from .database_parameters import (
    CHOICES,
    DROPPED,
    DROPPED_IF,
    READ_IN_URL,
    SETTINGS,
    addresses,
    find_statement_timeout,
    read_environment,
    translate,
)
from .database_service import read_service
from .database_tls import check, check_files, take_context

ENCODE = "its password must be percent-encoded where it has any of @ : / ? # [ ] %"


class DatabaseURL(databases.DatabaseURL):
    """Shown without what may be secret; the library's own fails for several hosts."""

    @property
    def obscure_password(self) -> str:
        scheme, _, rest = str(self).partition("?")[0].partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"


def connect_options(
    url: str,
    *,
    connect_timeout: float = 1.0,
    statement_timeout: float = 2.0,
    command_timeout: float | None = 2.25,
    pooler: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Arguments of `asyncpg.connect`: those of the URL, then `options`. Times in seconds.

    The server itself ends a query at `statement_timeout`; one that is silent after that is cut off
    at `command_timeout`. The URL's own `statement_timeout` moves both; 0 is time without end.
    A `pooler` lends a connection for one transaction: what belongs to a session it loses or
    refuses. Raises what `parse` does.
    """
    found = parse(url)
    pooler = found.pop("pooler") or pooler
    given = found.pop("statement_timeout")
    if given is not None and command_timeout is not None:
        margin = max(command_timeout - statement_timeout, 0)
        command_timeout = given + margin if given else None
    own = given is None and not pooler
    limits = {"statement_timeout": f"{statement_timeout:g}s"} if own else {}
    settings = limits | found.pop("server_settings") | options.pop("server_settings", {})
    defaults: dict[str, Any] = {"timeout": connect_timeout, "command_timeout": command_timeout}
    if pooler:
        defaults["statement_cache_size"] = 0
    return defaults | found | {"server_settings": settings} | options


def parse(url: str) -> dict[str, Any]:
    """The arguments of `asyncpg.connect` that are in the URL, whether a `pooler` is, and its
    `statement_timeout` in seconds.

    Raises `ValueError`, which names the parameter that cannot be accepted, never a password.
    """
    start, given = split(url)
    service = translate(read_service(given).items())
    given = {name: value for name, value in service.items() if not start.get(name)} | given
    added = read_environment({name: value for name, value in start.items() if value} | given)
    try:
        return read_arguments(start, given | {name: os.environ[v] for name, v in added.items()})
    except ValueError as error:
        if not added:
            raise
        raise ValueError(f"{error}; the environment adds {', '.join(added.values())}") from None


def read_arguments(start: dict[str, str], given: dict[str, str]) -> dict[str, Any]:
    for name, values in CHOICES.items():
        check(given.get(name, values[0]) in values, f"{name} must be one of {', '.join(values)}")
    check_files(given)
    found: dict[str, Any] = {"pooler": given.pop("pgbouncer", "false") == "true"}
    for name, argument in {"user": "user", "password": "password", "dbname": "database"}.items():
        if value := start.pop(name, "") or given.pop(name, ""):
            found[argument] = value
    check("database" in found, "it names no database")
    ports = given.pop("port", "")
    if hosts := start.pop("host", "") or given.pop("host", ""):
        found |= addresses(hosts, ports)
    elif ports:
        found["port"] = addresses("localhost", ports)["port"]
    if file := given.pop("passfile", ""):
        # What belongs to root a group may read: so a Secret is mounted for one that is not root.
        status = os.stat(file)
        forbidden = 0o037 if status.st_uid == 0 else 0o077
        check(not status.st_mode & forbidden, "passfile must be readable by its owner alone")
        found["passfile"] = file
    if value := given.pop("target_session_attrs", ""):
        found["target_session_attrs"] = value
    if value := given.pop("connect_timeout", ""):
        check(value.isdecimal(), "connect_timeout must be a number of seconds")
        if int(value):  # None would be time without end.
            found["timeout"] = int(value)
    if value := given.pop("statement_cache_size", ""):
        check(value.isdecimal(), "statement_cache_size must be a number")
        found["statement_cache_size"] = int(value)
    if context := take_context(given):
        found["ssl"] = context
    settings = {name: given.pop(name) for name in SETTINGS if name in given}
    found["statement_timeout"] = find_statement_timeout(settings)
    query = {name: given.pop(name) for name in READ_IN_URL if name in given}
    for name, value in given.items():
        dropped = name in DROPPED or value.lower() in DROPPED_IF.get(name, [])
        check(dropped, f"{name} is not supported")
    return found | {"server_settings": settings, "dsn": f"postgresql:///?{urlencode(query)}"}


def split(url: str) -> tuple[dict[str, str], dict[str, str]]:
    """What stands before the question mark, and the parameters after it by their usual names."""
    scheme, slashes, rest = url.partition("://")
    netloc = re.split("[/?#]", rest, maxsplit=1)[0]
    try:
        # Of several hosts it refuses the brackets, in the newest releases of each Python.
        parts = urlsplit(f"{scheme}{slashes}{rest[len(netloc) :]}")
        fields = parts.query.removesuffix("&")  # as libpq
        query = parse_qsl(fields, True, strict_parsing=bool(fields))
    except ValueError:
        raise ValueError(ENCODE) from None
    check(parts.scheme.partition("+")[0] in {"postgresql", "postgres"}, "it must be postgresql://…")
    credentials, at, host = netloc.rpartition("@")
    astray = "@" in credentials or "@" in parts.path or (host and not at and "@" in parts.query)
    brackets = set("[]") & set(credentials) or host.count("[") != host.count("]")
    check(not (parts.fragment or astray or brackets), ENCODE)
    bare = any(re.match(r"[^/\[]*:.*:", name) for name in unquote(host).split(","))
    check(not bare, "an IPv6 address before the question mark must be in brackets, as [::1]")
    user, _, password = credentials.partition(":")
    start = {"user": user, "password": password, "host": host, "dbname": parts.path[1:]}
    return {name: unquote(value) for name, value in start.items()}, translate(query)
