"""What the parameters of a DATABASE_URL mean: libpq's, and those of the usual pools and ORMs.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
"""

import os
import re
from collections.abc import Iterable
from typing import Any

from .database_tls import check

CHOICES = {
    "sslmode": ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
    "target_session_attrs": [
        "any",
        "read-write",
        "read-only",
        "primary",
        "standby",
        "prefer-standby",
    ],
    "sslnegotiation": ["postgres", "direct"],
    "ssl_min_protocol_version": ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"],
    "ssl_max_protocol_version": ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"],
    "gsslib": ["gssapi", "sspi"],
    "pgbouncer": ["true", "false"],
}

# Of the session: the server takes them when it begins.
SETTINGS = """application_name search_path timezone options statement_timeout lock_timeout role
    idle_in_transaction_session_timeout default_transaction_read_only
    default_transaction_isolation""".split()

# asyncpg reads them in a URL, and no others so.
READ_IN_URL = """sslmode sslcert sslkey sslrootcert sslcrl sslpassword sslnegotiation
    ssl_min_protocol_version ssl_max_protocol_version krbsrvname gsslib""".split()

# The environment may say them where the URL does not, as PGSSLMODE; asyncpg reads others itself,
# and takes one of the first that is set but empty for a value.
VARIABLES = "sslmode sslnegotiation target_session_attrs gsslib".split()
TLS_VARIABLES = "sslcert sslkey ssl_min_protocol_version ssl_max_protocol_version".split()
VERIFY_VARIABLES = "sslrootcert sslcrl".split()
HOST_VARIABLES = "host port".split()

# Other names for one of these, and values that are others too.
SAME: dict[str, tuple[str, dict[str, str]]] = {
    "fallback_application_name": ("application_name", {}),
    "schema": ("search_path", {}),
    "currentschema": ("search_path", {}),
    "unix_sock": ("host", {}),
    "database": ("dbname", {}),
    "prepared_statement_cache_size": ("statement_cache_size", {}),
    "prepared_statements": ("statement_cache_size", {"true": "100", "false": "0"}),
    "requiressl": ("sslmode", {"1": "require", "0": "prefer"}),
    "sslaccept": ("sslmode", {"strict": "verify-full", "accept_invalid_certs": "require"}),
    "sslmode": ("sslmode", {"no-verify": "require"}),
    "ssl": (
        "sslmode",
        {"true": "verify-full", "1": "verify-full", "false": "disable", "0": "disable"},
    ),
}

# Without effect on what the service does: it has its own pool, and the system's keep-alive.
DROPPED = """keepalives keepalives_idle keepalives_interval keepalives_count tcp_user_timeout
    sslcompression sslsni sslkeylogfile load_balance_hosts min_protocol_version max_protocol_version
    connection_limit pool_timeout socket_timeout pool pool_size max_overflow pool_recycle
    pool_pre_ping pool_max_conns pool_min_conns pool_max_conn_lifetime pool_max_conn_idle_time
    pool_health_check_period min_size max_size conn_max_age conn_health_checks supa workaround
    reaping_frequency preparethreshold uselibpqcompat async_fallback""".split()

# Without effect where their value is one of these; with another one they are refused.
DROPPED_IF = {
    "channel_binding": ["prefer", "disable"],
    "client_encoding": ["utf8", "utf-8", "auto"],
    "encoding": ["utf8", "utf-8", "unicode"],
    "gssencmode": ["disable", "prefer"],
    "gssdelegation": ["0"],
    "sslcertmode": ["allow"],
    "replication": ["false", "off", "no", "0"],
}

UNITS = {"us": 1e-6, "ms": 1e-3, "": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400}


def translate(parameters: Iterable[tuple[str, str]]) -> dict[str, str]:
    """By their usual names. The last one counts, and the usual name before another one."""
    usual, others = dict[str, str](), dict[str, str]()
    for name, value in parameters:
        same, values = SAME.get(name.lower(), (name.lower(), {}))
        found = usual if name.lower() == same else others
        found[same] = values.get(value.lower(), value)
    return others | usual


def find_statement_timeout(settings: dict[str, str]) -> float | None:
    """In seconds, by itself or in `options`, where the last one counts."""
    option = r"(?:-c\s*|--)statement[_-]timeout=(\S*)"
    values = re.findall(option, settings.get("options", ""), re.IGNORECASE)
    if "statement_timeout" in settings:
        values.append(settings["statement_timeout"])
    if not values:
        return None
    if not (found := re.fullmatch(rf"(\d+\.?\d*) *({'|'.join(UNITS)})", values[-1])):
        raise ValueError("statement_timeout must be milliseconds, or a time as 5s")
    return float(found[1]) * UNITS[found[2]]


def read_environment(given: dict[str, str]) -> dict[str, str]:
    """libpq's variables for what the URL does not say, by the names of the parameters.

    https://www.postgresql.org/docs/current/libpq-envars.html
    """
    mode = given.get("sslmode") or os.environ.get("PGSSLMODE") or "prefer"
    names = VARIABLES + (mode != "disable") * TLS_VARIABLES
    if mode not in {"disable", "allow", "prefer"}:  # Else asyncpg reads none of these.
        names += VERIFY_VARIABLES
    if "host" not in given:
        names += HOST_VARIABLES
    variables = {name: f"PG{name.replace('_', '').upper()}" for name in names if name not in given}
    return {
        name: variable
        for name, variable in variables.items()
        if os.environ.get(variable) or (name in VARIABLES and variable in os.environ)
    }


def addresses(hosts: str, ports: str) -> dict[str, list[Any]]:
    """The hosts, and the port of each: behind its name, or in the list of ports."""
    found, names, numbers = [], hosts.split(","), ports.split(",")
    check(len(numbers) in {1, len(names)}, "port must be one, or one for each host")
    for i, host in enumerate(names):
        name, colon, number = host.rpartition(":")
        address = ":" in name and not name.endswith("]")
        if host.startswith("/") or host.endswith("]") or address or not colon:
            name, number = host, numbers[i] if i < len(numbers) > 1 else numbers[0] or "5432"
        check(number.isdecimal() and 0 < int(number) < 65536, "port must be a number up to 65535")
        check(is_host(name), "a host has an empty part, or one of over 63 letters")
        found.append((name.strip("[]"), int(number)))
    return {"host": [name for name, _ in found], "port": [number for _, number in found]}


def is_host(name: str) -> bool:
    """Whether it is a path of a socket, or Python can ask for it."""
    try:
        name.encode("idna")
    except UnicodeError:
        return name.startswith("/")
    return True
