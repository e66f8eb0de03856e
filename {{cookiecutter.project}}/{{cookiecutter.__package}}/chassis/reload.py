"""Runs the command that it is given, and anew whenever a Python file or .env changes.

Where a change ends the command, it waits for the next. Development alone has watchfiles.
"""

import os
import shlex
import signal
import sys
from pathlib import Path

from watchfiles import Change, PythonFilter, run_process


def tell(changes: set[tuple[Change, str]]) -> None:
    names = sorted(os.path.relpath(path) for _, path in changes)
    print("Starting anew, as this changed:", *names, file=sys.stderr)


if __name__ == "__main__":
    # A script that starts it by `&` has it ignored, and so would the command, which ends by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    files = PythonFilter(ignore_paths=[Path.cwd() / "tests"], extra_extensions=[".env"])
    run_process(Path.cwd(), target=shlex.join(sys.argv[1:]), callback=tell, watch_filter=files)
