"""Running figures over a market's middle price and trades: updated in O(1) per event, exact in integers."""

from collections import deque

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.events import TradePrinted
from polybot.domain.market import Outcome, Side
from polybot.domain.units import UNIT, Millis, notional_floor

SAMPLE_MS = 250
"""The middle price is sampled, and trades are added up, this often at most: it bounds memory at any message rate."""


class MidMove(msgspec.Struct, frozen=True, kw_only=True):
    """How far Up's middle price has moved over the last `lookback_s` seconds (0.05 is five cents up)."""

    lookback_s: int

    def __post_init__(self) -> None:
        _require_seconds("lookback_s", self.lookback_s)

    def start(self) -> "RunningMidMove":
        return RunningMidMove(self.lookback_s * 1000)


class MidMean(msgspec.Struct, frozen=True, kw_only=True):
    """The mean of Up's middle price over the last `window_s` seconds, between 0 and 1; None until half full."""

    window_s: int

    def __post_init__(self) -> None:
        _require_seconds("window_s", self.window_s)

    def start(self) -> "RunningMidMean":
        return RunningMidMean(self.window_s * 1000)


class MidDistance(msgspec.Struct, frozen=True, kw_only=True):
    """How many standard deviations Up's middle price is from its mean over the last `window_s` seconds.

    None until the window is half full, or while the price has not moved by `deviation_min` (0.005 is half a cent):
    a distance from a line that does not move says nothing.
    """

    window_s: int
    deviation_min: float = 0.005

    def __post_init__(self) -> None:
        _require_seconds("window_s", self.window_s)

    def start(self) -> "RunningMidDistance":
        return RunningMidDistance(self.window_s * 1000, self.deviation_min)


class VolumeRatio(msgspec.Struct, frozen=True, kw_only=True):
    """Money traded per second in the last `short_s` seconds over that in the last `long_s` (1 is usual, 4 is a spike).

    None until trades have been seen for `long_s`.
    """

    short_s: int
    long_s: int

    def __post_init__(self) -> None:
        _require_seconds("short_s", self.short_s)
        _require_seconds("long_s", self.long_s)

    def start(self) -> "RunningVolumeRatio":
        return RunningVolumeRatio(self.short_s * 1000, self.long_s * 1000)


class VolumeBalance(msgspec.Struct, frozen=True, kw_only=True):
    """Which way the takers of the last `window_s` seconds went: +1 all for Up, -1 all for Down; None without trades."""

    window_s: int

    def __post_init__(self) -> None:
        _require_seconds("window_s", self.window_s)

    def start(self) -> "RunningVolumeBalance":
        return RunningVolumeBalance(self.window_s * 1000)


# -- the figures as they run ------------------------------------------------------------------------------------------


class RunningMidMove:
    def __init__(self, lookback_ms: int) -> None:
        self.value: float | None = None
        self._lookback_ms = lookback_ms
        self._samples: deque[tuple[int, int]] = deque()

    def on_mid(self, at: Millis, twice_mid: int) -> None:
        samples = self._samples
        if not samples or at - samples[-1][0] >= SAMPLE_MS:
            samples.append((at, twice_mid))
        horizon = at - self._lookback_ms
        while len(samples) > 1 and samples[1][0] <= horizon:
            samples.popleft()
        self.value = (twice_mid - samples[0][1]) / (2 * UNIT) if samples[0][0] <= horizon else None

    def on_trade(self, trade: TradePrinted) -> None:
        pass


class _MidWindow:
    """Samples of twice the middle price over a sliding window, with their sum and the sum of their squares."""

    def __init__(self, window_ms: int) -> None:
        self.value: float | None = None
        self._window_ms = window_ms
        self._samples: deque[tuple[int, int]] = deque()
        self._sum = 0
        self._squares = 0

    def _take(self, at: Millis, twice_mid: int) -> bool:
        """Bring the window up to `at`; True once it is at least half full."""
        samples = self._samples
        if not samples or at - samples[-1][0] >= SAMPLE_MS:
            samples.append((at, twice_mid))
            self._sum += twice_mid
            self._squares += twice_mid * twice_mid
        horizon = at - self._window_ms
        while samples[0][0] < horizon:
            _, gone = samples.popleft()
            self._sum -= gone
            self._squares -= gone * gone
        return 2 * (at - samples[0][0]) >= self._window_ms

    def on_trade(self, trade: TradePrinted) -> None:
        pass


class RunningMidMean(_MidWindow):
    def on_mid(self, at: Millis, twice_mid: int) -> None:
        half_full = self._take(at, twice_mid)
        self.value = self._sum / (len(self._samples) * 2 * UNIT) if half_full else None


class RunningMidDistance(_MidWindow):
    def __init__(self, window_ms: int, deviation_min: float) -> None:
        super().__init__(window_ms)
        self._variance_min = int((deviation_min * 2 * UNIT) ** 2)

    def on_mid(self, at: Millis, twice_mid: int) -> None:
        half_full = self._take(at, twice_mid)
        count = len(self._samples)
        variance = (count * self._squares - self._sum * self._sum) / (count * count)
        if half_full and variance > self._variance_min:
            self.value = (twice_mid - self._sum / count) / variance**0.5
        else:
            self.value = None


class _TradeWindow:
    """Money traded in a sliding window, added up in steps of SAMPLE_MS: all of it, and what was for Up less for Down.

    A Down bought counts as an Up sold (polymarket.md 6.1).
    """

    __slots__ = ("_steps", "_window_ms", "signed", "total")

    def __init__(self, window_ms: int) -> None:
        self.total = self.signed = 0
        self._window_ms = window_ms
        self._steps: deque[list[int]] = deque()

    def take(self, trade: TradePrinted) -> None:
        money = notional_floor(trade.price, trade.size)
        for_up = (trade.side is Side.BUY) == (trade.outcome is Outcome.UP)
        signed = money if for_up else -money
        steps = self._steps
        if steps and trade.received - steps[-1][0] < SAMPLE_MS:
            steps[-1][1] += money
            steps[-1][2] += signed
        else:
            steps.append([trade.received, money, signed])
        self.total += money
        self.signed += signed

    def expire(self, at: int) -> None:
        steps, horizon = self._steps, at - self._window_ms
        while steps and steps[0][0] <= horizon:
            _, money, signed = steps.popleft()
            self.total -= money
            self.signed -= signed


class RunningVolumeRatio:
    def __init__(self, short_ms: int, long_ms: int) -> None:
        self.value: float | None = None
        self._short_ms, self._long_ms = short_ms, long_ms
        self._short, self._long = _TradeWindow(short_ms), _TradeWindow(long_ms)
        self._first_at: int | None = None

    def on_mid(self, at: Millis, twice_mid: int) -> None:
        if self._first_at is not None:
            self._reckon(at, self._first_at)

    def on_trade(self, trade: TradePrinted) -> None:
        self._first_at = trade.received if self._first_at is None else self._first_at
        self._short.take(trade)
        self._long.take(trade)
        self._reckon(trade.received, self._first_at)

    def _reckon(self, at: int, first_at: int) -> None:
        self._short.expire(at)
        self._long.expire(at)
        usual = self._long.total * self._short_ms
        self.value = self._short.total * self._long_ms / usual if at - first_at >= self._long_ms and usual else None


class RunningVolumeBalance:
    def __init__(self, window_ms: int) -> None:
        self.value: float | None = None
        self._window = _TradeWindow(window_ms)

    def on_mid(self, at: Millis, twice_mid: int) -> None:
        window = self._window
        if window.total:
            window.expire(at)
            self.value = window.signed / window.total if window.total else None

    def on_trade(self, trade: TradePrinted) -> None:
        self._window.take(trade)
        self._window.expire(trade.received)
        self.value = self._window.signed / self._window.total if self._window.total else None


def _require_seconds(name: str, seconds: int) -> None:
    if seconds < 1:
        raise BadInput(f"an indicator's {name} is at least 1 second, not {seconds}")
