"""Where settings come from: the environment, and a file.

A wrong value ends the process with one line that names the setting.
"""

import ssl
from pathlib import Path

from starlette.config import Config

from .casts import Cast, T


class Settings:
    """The environment comes first, then the lines of a file.

    It is the `file` that ENV_FILE names, none where that is empty; without ENV_FILE it is `.env`,
    where that is there. Raises `SystemExit` where the named one is not, or it cannot be read.
    """

    def __init__(self, file: str | None) -> None:
        path = Path(".env" if file is None else file)
        if file and not path.is_file():
            raise SystemExit("ENV_FILE must name a file, or be empty; see .env.example")
        if file != "" and path.exists() and not path.is_file():
            raise SystemExit(f"{path.absolute()} must be a file; see .env.example")
        try:
            # With or without a byte order mark, as editors on Windows write it.
            self.config = Config(path if path.is_file() else None, encoding="utf-8-sig")
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise SystemExit(f"{path.absolute()} cannot be read: {reason}") from None

    def read(self, key: str, cast: Cast[T], default: str) -> T:
        """The value of `key`, or `default` where it is empty, as `cast` gives it.

        Raises `SystemExit` where `cast` refuses the value, with what it accepts. The value may be a
        secret: it is not shown.
        """
        try:
            return cast(self.config(key, default="") or default)
        except ValueError as error:
            raise SystemExit(f"{key} must be {error}; see .env.example") from None


def check_certificate(certfile: str | None, keyfile: str | None) -> None:
    """Raises `SystemExit` with one line where a file, or both together, are not what TLS needs."""
    if bool(certfile) != bool(keyfile):
        raise SystemExit("TLS_CERTFILE and TLS_KEYFILE must be set together; see .env.example")
    if certfile:
        try:
            # A key with a password would be asked for it at the terminal.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certfile, keyfile, password="")
        except (OSError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise SystemExit(
                f"TLS_CERTFILE and TLS_KEYFILE must be PEM files of a certificate and its key"
                f" without a password ({reason}); see .env.example"
            ) from None
