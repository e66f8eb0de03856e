"""How often and how long a run measures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rounds:
    """How often and how long. The warm-up and the load are in seconds, of each row."""

    rounds: int
    sleep_rounds: int
    warmup: float
    seconds: float
    starts: int
    sleeps: int
    thorough: bool  # all subjects and all sizes, or those that the criteria need


WHOLE = Rounds(
    rounds=15, sleep_rounds=3, warmup=0.2, seconds=0.4, starts=5, sleeps=1000, thorough=True
)
QUICK = Rounds(
    rounds=1, sleep_rounds=1, warmup=0.1, seconds=0.25, starts=0, sleeps=200, thorough=False
)
