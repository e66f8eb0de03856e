"""Where settings come from: the environment, and a file.

A wrong value ends the process with one line that names the setting.
"""

import ssl
from pathlib import Path

from starlette.config import Config

from .casts import Cast, T


class Settings:
    """The environment comes first, then the lines of `file`, which need not be there."""

    def __init__(self, file: Path) -> None:
        self.config = Config(file if file.is_file() else None)

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
