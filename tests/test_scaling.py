"""The page on how far a service goes: its figures are those of the benchmark that is kept."""

import json
import re

from baking import SERVICE, TEMPLATE


def test_figures_are_those_of_the_benchmark() -> None:
    results = json.loads((TEMPLATE / "benchmarks/results/results.json").read_text())
    rows = {
        (row["request"], row["server"]): f"{row['requests/s']:,.0f}"
        for row in results["requests"]
        if row["application"] == "the service" and row["protocol"] == "HTTP/1.1"
    }
    page = (SERVICE / "docs/scaling.md").read_text()
    lines = re.findall(r"^\| `(.+?)` \| ([\d,]+) \| ([\d,]+) \|$", page, re.M)
    assert len(lines) == 3
    for request, hypercorn, granian in lines:
        assert rows[request, "Hypercorn"] == hypercorn
        assert rows[request, "Granian"] == granian
