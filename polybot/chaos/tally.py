"""What a hunt has come to so far: sums over its seeds, for the progress line and the table at the end."""

from collections import Counter
from collections.abc import Sequence
from math import ceil

import msgspec

from polybot.chaos.result import SeedResult, slope_per_day


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """Virtual milliseconds from the end of a process to trading again."""

    count: int
    median_ms: int
    p99_ms: int
    worst_ms: int


class Tally:
    """`add` each result once."""

    def __init__(self) -> None:
        self.seeds = 0
        self.hours = self.wall_s = self.cpu_s = 0.0
        self.faults: Counter[str] = Counter()
        self.lives = self.kills = self.repairs = 0
        self.windows = self.window_records = self.intents = self.fills = self.trades = 0
        self.facts = self.market_events = self.steps = 0
        self.failed: list[SeedResult] = []
        self.memory_slopes: list[float] = []
        self.state_slopes: list[float] = []
        self._recoveries: list[int] = []

    def add(self, result: SeedResult) -> None:
        self.seeds += 1
        self.hours += result.hours if result.violation is None else min(result.hours, result.virtual_s / 3600)
        self.wall_s += result.wall_s
        self.cpu_s += result.cpu_s
        self.faults.update(result.faults)
        self.lives += result.lives
        self.kills += result.kills
        self.repairs += result.repairs
        self.windows += result.windows
        self.window_records += result.window_records
        self.intents += result.intents
        self.fills += result.fills
        self.trades += result.trades
        self.facts += result.facts
        self.market_events += result.market_events
        self.steps += result.steps
        self._recoveries += result.recoveries
        if len(result.memory_kb) > 3:
            self.memory_slopes.append(slope_per_day(result.memory_kb))
        if len(result.state_bytes) > 3:
            self.state_slopes.append(slope_per_day(result.state_bytes))
        if result.violation is not None:
            self.failed.append(result)

    @property
    def hours_per_hour(self) -> float:
        """Simulated hours per hour of one worker, by the clock on the wall: less where others use the machine too."""
        return self.hours * 3600 / self.wall_s if self.wall_s else 0.0

    @property
    def hours_per_core_hour(self) -> float:
        """The same per hour of processor time."""
        return self.hours * 3600 / self.cpu_s if self.cpu_s else 0.0

    def recovery(self) -> Recovery | None:
        times = sorted(self._recoveries)
        if not times:
            return None
        return Recovery(count=len(times), median_ms=_at(times, 0.5), p99_ms=_at(times, 0.99), worst_ms=times[-1])


def _at(ordered: Sequence[int], share: float) -> int:
    """The value at or below which `share` of them lie (nearest rank)."""
    return ordered[max(0, ceil(len(ordered) * share) - 1)]
