"""Prints the next steps."""

import contextlib
import os

# Not print(): where nobody reads it would fail, and a hook that fails deletes the project.
with contextlib.suppress(OSError):
    os.write(
        1,
        b"""
{{ cookiecutter.project }} is ready. With uv:

    cd {{ cookiecutter.project }}
    uv run hypercorn --config file:hypercorn.conf.py {{ cookiecutter.__package }}.app:app
    uv run pytest

Without uv: README.md has commands that fetch it.
""",
    )
