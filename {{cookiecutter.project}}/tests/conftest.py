"""What the tests of this service have beside the fixtures of chassis/fixtures.py."""

import os

import pytest
from starlette.applications import Starlette

pytest_plugins = ["tests.chassis.fixtures"]


def pytest_configure() -> None:
    """Settings are read at import, so they are set before. No other is: the defaults hold."""
    from .chassis.fixtures import UPSTREAM

    os.environ["UPSTREAM_URLS"] = f"{UPSTREAM}/a,{UPSTREAM}/b,{UPSTREAM}/c"
    os.environ["DEMOS"] = "true"


@pytest.fixture(scope="session")
def app() -> Starlette:
    from {{ cookiecutter.__package }}.app import app

    return app
