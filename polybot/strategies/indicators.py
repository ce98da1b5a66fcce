"""Running figures over a market's middle price and trades: updated in O(1) per event, exact in integers."""

from collections import deque

import msgspec

from polybot.domain.events import TradePrinted
from polybot.domain.market import Outcome, Side
from polybot.domain.units import UNIT, Millis, notional_floor

SAMPLE_MS = 250
"""The middle price is sampled at most this often, which bounds memory at any message rate."""


class MidMove(msgspec.Struct, frozen=True, kw_only=True):
    """How far Up's middle price has moved over the last `lookback_s` seconds (0.05 is five cents up)."""

    lookback_s: int

    def start(self) -> "RunningMidMove":
        return RunningMidMove(self.lookback_s * 1000)


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


class MidDistance(msgspec.Struct, frozen=True, kw_only=True):
    """How many standard deviations Up's middle price is from its mean over the last `window_s` seconds.

    None until the window is half full, or while the price has not moved by `deviation_min` (0.005 is half a cent):
    a distance from a line that does not move says nothing.
    """

    window_s: int
    deviation_min: float = 0.005

    def start(self) -> "RunningMidDistance":
        return RunningMidDistance(self.window_s * 1000, self.deviation_min)


class RunningMidDistance:
    def __init__(self, window_ms: int, deviation_min: float) -> None:
        self.value: float | None = None
        self.mean: float | None = None
        self._window_ms = window_ms
        self._variance_min = int((deviation_min * 2 * UNIT) ** 2)
        self._samples: deque[tuple[int, int]] = deque()
        self._sum = 0
        self._sum_of_squares = 0

    def on_mid(self, at: Millis, twice_mid: int) -> None:
        samples = self._samples
        if not samples or at - samples[-1][0] >= SAMPLE_MS:
            samples.append((at, twice_mid))
            self._sum += twice_mid
            self._sum_of_squares += twice_mid * twice_mid
        horizon = at - self._window_ms
        while samples[0][0] < horizon:
            _, gone = samples.popleft()
            self._sum -= gone
            self._sum_of_squares -= gone * gone
        count = len(samples)
        variance = (count * self._sum_of_squares - self._sum * self._sum) / (count * count)
        half_full = 2 * (at - samples[0][0]) >= self._window_ms
        if not half_full or variance <= self._variance_min:
            self.value = None
            return
        mean = self._sum / count
        self.mean = mean / (2 * UNIT)
        self.value = (twice_mid - mean) / variance**0.5

    def on_trade(self, trade: TradePrinted) -> None:
        pass


class MidMean(msgspec.Struct, frozen=True, kw_only=True):
    """The mean of Up's middle price over the last `window_s` seconds, between 0 and 1; None until half full."""

    window_s: int

    def start(self) -> "RunningMidMean":
        return RunningMidMean(self.window_s * 1000)


class RunningMidMean:
    def __init__(self, window_ms: int) -> None:
        self.value: float | None = None
        self._window_ms = window_ms
        self._samples: deque[tuple[int, int]] = deque()
        self._sum = 0

    def on_mid(self, at: Millis, twice_mid: int) -> None:
        samples = self._samples
        if not samples or at - samples[-1][0] >= SAMPLE_MS:
            samples.append((at, twice_mid))
            self._sum += twice_mid
        horizon = at - self._window_ms
        while samples[0][0] < horizon:
            self._sum -= samples.popleft()[1]
        half_full = 2 * (at - samples[0][0]) >= self._window_ms
        self.value = self._sum / (len(samples) * 2 * UNIT) if half_full else None

    def on_trade(self, trade: TradePrinted) -> None:
        pass


class VolumeRatio(msgspec.Struct, frozen=True, kw_only=True):
    """Money traded per second in the last `short_s` seconds over that in the last `long_s` (1 is usual, 4 is a spike).

    None until trades have been seen for `long_s`.
    """

    short_s: int
    long_s: int

    def start(self) -> "RunningVolume":
        return RunningVolume(self.short_s * 1000, self.long_s * 1000, signed=False)


class VolumeBalance(msgspec.Struct, frozen=True, kw_only=True):
    """Which way the takers of the last `window_s` seconds went: +1 all for Up, -1 all for Down."""

    window_s: int

    def start(self) -> "RunningVolume":
        return RunningVolume(self.window_s * 1000, self.window_s * 1000, signed=True)


class RunningVolume:
    """Sums of traded money over a short and a long window; a Down bought counts as an Up sold (polymarket.md 6.1)."""

    def __init__(self, short_ms: int, long_ms: int, *, signed: bool) -> None:
        self.value: float | None = None
        self._short_ms, self._long_ms, self._signed = short_ms, long_ms, signed
        self._short: deque[tuple[int, int, int]] = deque()
        self._long: deque[tuple[int, int, int]] = deque()
        self._short_sum = self._long_sum = self._short_signed = 0
        self._first_at: int | None = None

    def on_mid(self, at: Millis, twice_mid: int) -> None:
        if self._first_at is not None:
            self._expire(at)

    def on_trade(self, trade: TradePrinted) -> None:
        money = notional_floor(trade.price, trade.size)
        for_up = (trade.side is Side.BUY) == (trade.outcome is Outcome.UP)
        entry = (trade.received, money, money if for_up else -money)
        self._first_at = trade.received if self._first_at is None else self._first_at
        self._short.append(entry)
        self._long.append(entry)
        self._short_sum += money
        self._short_signed += entry[2]
        self._long_sum += money
        self._expire(trade.received)

    def _expire(self, at: int) -> None:
        while self._short and self._short[0][0] <= at - self._short_ms:
            _, money, signed = self._short.popleft()
            self._short_sum -= money
            self._short_signed -= signed
        while self._long and self._long[0][0] <= at - self._long_ms:
            self._long_sum -= self._long.popleft()[1]
        if self._signed:
            self.value = self._short_signed / self._short_sum if self._short_sum else None
            return
        seen_long_enough = self._first_at is not None and at - self._first_at >= self._long_ms
        usual = self._long_sum * self._short_ms
        self.value = self._short_sum * self._long_ms / usual if seen_long_enough and usual else None
