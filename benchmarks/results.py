"""The samples of a run by table and row, and their medians."""

import statistics
from dataclasses import dataclass, field

Sample = dict[str, float]
Key = tuple[str, ...]

# The columns that name a row of each table.
TABLES = {
    "requests": ("request", "protocol", "application", "server"),
    "starts": ("application", "server"),
    "sleeps": ("at a time", "protocol", "application", "server"),
    "connections": ("application", "server", "connections"),
    "workers": ("application", "server", "workers"),
    "lists": ("application", "server", "limit"),
    "idle": ("protocol", "application", "server"),
    "query": (),
}


@dataclass
class Results:
    samples: dict[str, dict[Key, list[Sample]]] = field(
        default_factory=lambda: {table: {} for table in TABLES}
    )

    def add(self, table: str, key: Key, sample: Sample) -> None:
        self.samples[table].setdefault(key, []).append(sample)

    def median(self, table: str, key: Key, figure: str) -> float:
        return statistics.median(sample[figure] for sample in self.samples[table][key])

    def ratio(self, table: str, key: Key, other: Key, figure: str) -> float:
        """The median of the rounds' ratios: the two were measured next to each other in each."""
        pairs = zip(self.samples[table][key], self.samples[table][other], strict=True)
        return statistics.median(one[figure] / two[figure] for one, two in pairs)

    def rows(self, table: str) -> list[dict[str, str | float]]:
        return [
            dict(zip(TABLES[table], key, strict=True))
            | {figure: self.median(table, key, figure) for figure in samples[0]}
            for key, samples in self.samples[table].items()
        ]
