"""Where settings come from: the environment, and a file.

A wrong value ends the process with one line that names the setting.
"""

import os
import re
import ssl
from difflib import get_close_matches
from pathlib import Path

from .casts import Cast, Refused, T, flag

NAME = r"(?:export\s+)?([A-Za-z_]\w*)\s*="
# In a pair of quotes or without, and a comment after it, as dotenv and Compose take it.
VALUE = r"""(?:\s*(["'])(.*?)\2|(.*?))(?:\s+#.*)?"""
ESCAPES = {r"\n": "\n", r"\r": "\r", r"\t": "\t", r"\"": '"', r"\\": "\\"}  # in double quotes
LINE = re.compile(NAME + VALUE, re.ASCII)


def read_file(path: Path) -> dict[str, str]:
    """`NAME=value` in each line; a `#` at its beginning or after a space begins a comment.

    Raises `SystemExit` with one line, which shows no value, where it cannot be read.
    """
    try:
        # With or without a byte order mark, as editors on Windows write it.
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SystemExit(f"{path.absolute()} cannot be read: {reason}") from None
    values = {}
    for number, line in enumerate(lines, 1):
        if not (text := line.strip()) or text.startswith("#"):
            continue
        if not (found := LINE.fullmatch(text)):
            raise SystemExit(f"{path.absolute()}, line {number} is not NAME=value")
        value = found[3] if found[2] else found[4].strip()
        if found[2] == '"':
            value = re.sub(r"\\.", lambda each: ESCAPES.get(each[0], each[0]), value)
        values[found[1]] = value
    return values


class Settings:
    """The environment comes first, then the lines of a file.

    It is the `file` that ENV_FILE names, none where that is empty; without ENV_FILE it is `.env` in
    the folder `project`, where that is there. Raises `SystemExit` as `read_file` does, or where the
    named file is not there.
    """

    def __init__(self, project: Path, file: str | None) -> None:
        keep_standard_streams()  # Nothing is opened before.
        self.path = project / ".env" if file is None else Path(file)
        if file and not self.path.is_file():
            raise SystemExit("ENV_FILE must name a file, or be empty; see .env.example")
        given = file != "" and self.path.exists()
        self.in_file = read_file(self.path) if given else {}
        self.names: set[str] = set()

    def read(self, key: str, cast: Cast[T], default: str) -> T:
        """The value of `key`, or `default` where it is empty, as `cast` gives it.

        `bool` stands for `casts.flag`: it would take "false" for true. Raises `SystemExit` where
        `cast` refuses the value, with what it accepts. The value may be a secret: it is not shown.
        """
        self.names.add(key)
        try:
            given = os.environ.get(key, self.in_file.get(key)) or default
            return flag(given) if cast is bool else cast(given)  # type: ignore[return-value]
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            name = getattr(cast, "__name__", type(cast).__name__)
            accepted = str(error) if isinstance(error, Refused) else f"what {name} takes"
            raise SystemExit(f"{key} must be {accepted}; see .env.example") from None

    def check_names(self) -> None:
        """Raises `SystemExit` where the file has a name that nearly is one which was read."""
        for name in self.in_file.keys() - self.names:
            swapped = [each for each in self.names if sorted(each) == sorted(name.upper())]
            for meant in swapped or get_close_matches(name.upper(), self.names, n=1, cutoff=0.9):
                raise SystemExit(f"{self.path.absolute()} has {name}; is {meant} meant?")


def keep_standard_streams() -> None:
    """Where one is closed, what is opened next takes its place: libuv aborts at such a socket."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


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
