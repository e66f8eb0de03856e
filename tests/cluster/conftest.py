"""Services and databases of several machines, all on this one, and the figures at the end."""

import pytest
from faults.conftest import alone, extended, figure

__all__ = ["alone", "extended", "figure"]


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker("slow")
