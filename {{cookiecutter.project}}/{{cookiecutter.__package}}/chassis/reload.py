"""Runs the command that it is given, and anew whenever a Python file or .env changes.

Where a change ends the command, it waits for the next. Development alone has watchfiles.
"""

import shlex
import sys
from pathlib import Path

from watchfiles import PythonFilter, run_process

if __name__ == "__main__":
    files = PythonFilter(ignore_paths=[Path.cwd() / "tests"], extra_extensions=[".env"])
    run_process(Path.cwd(), target=shlex.join(sys.argv[1:]), watch_filter=files)
