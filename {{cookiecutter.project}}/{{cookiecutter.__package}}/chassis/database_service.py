"""The service of a DATABASE_URL: parameters under a name, in a file of libpq's.

https://www.postgresql.org/docs/current/libpq-pgservice.html. asyncpg takes no `dbname` from there
where the URL has a path, and passes over a name that is not in the file.
"""

import os
from configparser import ConfigParser, Error

from .database_tls import check


def read_service(given: dict[str, str]) -> dict[str, str]:
    """The parameters of the service that is `given`, which is taken out.

    Raises `ValueError` where it cannot be read.
    """
    name, asked = given.pop("service", ""), given.pop("servicefile", "")
    if not name:
        return {}
    file = asked or os.environ.get("PGSERVICEFILE") or os.path.expanduser("~/.pg_service.conf")
    parser = ConfigParser(interpolation=None, delimiters="=", default_section="")
    try:
        parser.read(file, encoding="utf-8")
    except (OSError, UnicodeDecodeError, Error) as error:
        raise ValueError(f"servicefile {file} cannot be read: {type(error).__name__}") from None
    check(name in parser, f"service is not in {file}")
    return dict(parser[name])
