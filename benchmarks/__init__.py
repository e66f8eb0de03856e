"""The service measured against what could be used in its place, and against the floor."""

import sys
from pathlib import Path

# Baking, environments, and the PostgreSQL are those of the tests.
sys.path.append(str(Path(__file__).parents[1] / "tests"))
