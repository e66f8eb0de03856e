"""Services and databases of several machines, all on this one, and the figures at the end."""

from pathlib import Path

import pytest
from faults.conftest import alone, figure
from faults.service import copy

from cluster.writers import add_endpoint

__all__ = ["alone", "figure"]


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker("slow")


@pytest.fixture(scope="session")
def writing(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default bake with an endpoint that writes through the ORM."""
    writing = copy(project, tmp_path_factory.mktemp("writing"), {})
    add_endpoint(writing)
    return writing
