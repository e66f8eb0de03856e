"""The ratios that the service must reach: the medians of the rounds of one run."""

from dataclasses import dataclass

from .results import Results
from .subjects import (
    FLOOR,
    GRANIAN,
    HTTP1,
    HTTP2,
    HYPERCORN,
    LIST,
    ORM,
    POST,
    QUERIES,
    ROOT,
    SERVICE,
    USER,
    UVICORN,
)

OWN = (SERVICE, HYPERCORN)
ON_GRANIAN = (SERVICE, GRANIAN)
PEER = (ORM, UVICORN)
PEER_ON_HYPERCORN = (ORM, HYPERCORN)


@dataclass
class Criterion:
    """A ratio, and the least or the most that it should be; with neither it is only told."""

    name: str
    seen: float
    least: float | None = None
    most: float | None = None

    @property
    def target(self) -> str:
        return f"≥ {self.least}" if self.least else f"≤ {self.most}" if self.most else ""

    @property
    def verdict(self) -> str:
        if not self.target:
            return ""
        met = (self.least or 0) <= self.seen <= (self.most or float("inf"))
        return "met" if met else "missed"


def judge(results: Results) -> list[Criterion]:
    def spent(
        request: str,
        other: tuple[str, str],
        least: float | None = None,
        *,
        own: tuple[str, str] = OWN,
        protocol: str = HTTP1,
    ) -> Criterion:
        """How many times the CPU time of the service the other spends on a request."""
        # uvicorn has no HTTP/2: there its HTTP/1.1 is the other.
        others = HTTP1 if other[1] == UVICORN else protocol
        keys = (request, others, *other), (request, protocol, *own)
        seen = results.ratio("requests", *keys, "CPU µs")
        name = f"CPU time of {request} over {protocol}: {' on '.join(other)} / {' on '.join(own)}"
        return Criterion(name, seen, least)

    def compare(table: str, figure: str, *row: str) -> float:
        return results.ratio(table, (*row, *OWN), (*row, *PEER), figure)

    def slept(at: str, subject: tuple[str, str], figure: str) -> dict[str, float]:
        return {
            protocol: results.median("sleeps", (at, protocol, *subject), figure)
            for protocol in (HTTP1, HTTP2)
        }

    own, held, stock = (results.median("query", (), f"{name} µs") for name in QUERIES)
    criteria = [
        spent(USER, PEER, 3),
        spent(USER, PEER_ON_HYPERCORN, 3.5),
        spent(USER, PEER_ON_HYPERCORN, 3, protocol=HTTP2),
        spent(LIST, PEER, 4.5),
        spent(POST, PEER, 2),
        spent(ROOT, (FLOOR, HYPERCORN), 0.85),
        spent(ROOT, PEER_ON_HYPERCORN, 1.3),
        spent(ROOT, PEER),
        *(
            spent(request, PEER, least, own=ON_GRANIAN, protocol=protocol)
            for request, least in ((ROOT, 4), (USER, 6))
            for protocol in (HTTP1, HTTP2)
        ),
        Criterion(
            "CPU time of a query: the service's database / asyncpg on a held connection",
            own / held,
            most=1.5,
        ),
        Criterion(
            "CPU time of a query: databases as it comes / the service's database",
            stock / own,
            least=5,
        ),
        Criterion(
            f"Time to the first 200: {' on '.join(OWN)} / {' on '.join(PEER)}",
            compare("starts", "first answer s"),
            most=0.85,
        ),
        Criterion(
            f"Memory of a worker after load: {' on '.join(OWN)} / {' on '.join(PEER)}",
            compare("requests", "MiB", USER, HTTP1),
            most=0.9,
        ),
    ]
    for subject, least in ((OWN, None), (ON_GRANIAN, 12)):
        name = " on ".join(subject)
        criteria += [
            *(
                Criterion(
                    f"/async-sleep, 100 at a time, over {protocol}: {name} / floor",
                    seen,
                    most=1.3,
                )
                for protocol, seen in slept("100", subject, "async / floor").items()
            ),
            Criterion(
                f"/sync-sleep / /async-sleep, all at once, better protocol: {name}",
                max(slept("all", subject, "sync / async").values()),
                least=least,
            ),
        ]
    for subject in (OWN, ON_GRANIAN):
        name = " on ".join(subject)
        criteria += [
            *(
                Criterion(
                    f"Throughput over {protocol} with 5,000 idle connections / with none: {name}",
                    results.median("idle", (protocol, *subject), "kept"),
                    least=0.8,
                )
                for protocol in (HTTP1, HTTP2)
            ),
            Criterion(
                f"KiB a connection: {name}",
                results.median("idle", (HTTP1, *subject), "KiB a connection"),
                most=60,
            ),
        ]
    return criteria
