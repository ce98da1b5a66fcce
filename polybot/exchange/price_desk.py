"""One asset's reference prices: spot and its averages second by second, the price to beat and the final price.

The final price of a window is the price to beat of the next (polymarket.md 5.2), so the level is carried from window to
window and only the recordings' movements are played.
"""

import math
from collections import deque

import msgspec

from polybot.domain.ids import MarketId
from polybot.domain.units import UNIT, Millis
from polybot.exchange.price_path import path_of
from polybot.exchange.timetable import SeriesPlan

STARTING_PRICES = {"BTC": 84_000 * UNIT, "ETH": 3_400 * UNIT, "SOL": 180 * UNIT, "XRP": 2 * UNIT}
STARTING_PRICE = 100 * UNIT
SNAPSHOT_S = 120
"""A subscriber is first told the last two minutes (polymarket.md 4.2)."""
WINDOWS_KEPT = 200


class PricePoint(msgspec.Struct, frozen=True, gc=False):
    """One second: `spot` as Chainlink and Pyth have it, and its averages over the last 60 and 30 seconds; millionths
    of a dollar."""

    at: Millis
    spot: int
    twap60: int
    twap30: int


class WindowPrices(msgspec.Struct, frozen=True):
    """`final` is None until the window's end."""

    to_beat: int
    final: int | None = None


class PriceDesk:
    """Moved by `advance`; what is past stays as it was said."""

    def __init__(self, plan: SeriesPlan, now: Millis, starting_price: int | None = None) -> None:
        self.asset = plan.asset
        self._plan = plan
        beginning = Millis(plan.current_start(now) - plan.frame_ms)
        self._at = Millis(beginning - 1000)
        self._last_minute: deque[int] = deque(maxlen=60)
        self._windows: dict[Millis, WindowPrices] = {}
        self._path: list[float] = []
        self._paths: dict[MarketId, list[float]] = {}
        self._to_beat = starting_price or STARTING_PRICES.get(plan.asset, STARTING_PRICE)
        self.recent: deque[PricePoint] = deque(maxlen=SNAPSHOT_S)
        self.advance(now)

    def advance(self, now: Millis) -> list[PricePoint]:
        """The seconds that have ended since the last call, in order."""
        points = []
        while self._at + 2000 <= now:
            points.append(self._next())
        return points

    def prices(self, start: Millis) -> WindowPrices | None:
        """Of the window that starts at `start`; None before it has a price to beat, and long after."""
        return self._windows.get(start)

    def _next(self) -> PricePoint:
        self._at = Millis(self._at + 1000)
        start = self._plan.current_start(self._at)
        if start == self._at or not self._path:
            self._open(start)
        spot = round(self._to_beat * math.exp(self._path[(self._at - start) // 1000]))
        self._last_minute.append(spot)
        latest = list(self._last_minute)
        twap60, twap30 = sum(latest) // len(latest), sum(latest[-30:]) // len(latest[-30:])
        if self._at + 1000 == start + self._plan.frame_ms:
            twap60 = self._close(start, twap60)
        point = PricePoint(self._at, spot, twap60, twap30)
        self.recent.append(point)
        return point

    def _open(self, start: Millis) -> None:
        recording = self._plan.recording(start)
        if recording.market.id not in self._paths:
            self._paths[recording.market.id] = path_of(recording)
        self._path = self._paths[recording.market.id]
        self._windows[start] = WindowPrices(self._to_beat)
        while len(self._windows) > WINDOWS_KEPT:
            del self._windows[min(self._windows)]

    def _close(self, start: Millis, average: int) -> int:
        """The average that settles the window, on the side of the recording's payout: recorded prices may not be the
        settling stream's own."""
        is_up = 2 * self._plan.recording(start).payout_up >= UNIT
        final = max(average, self._to_beat) if is_up else min(average, self._to_beat - 1)
        self._windows[start] = WindowPrices(self._to_beat, final)
        self._to_beat = final
        return final
