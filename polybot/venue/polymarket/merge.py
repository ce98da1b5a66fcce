"""Two connections to the same channel as one stream: every message once, from whichever brings it first. No I/O.

A message that one connection brings twice is let through twice: the venue said it twice. One that only one of them has
brought, late, is let through as well; the book then finds that it was missed (domain/markets.py) and is doubted.
"""

from collections import deque
from collections.abc import Collection, Hashable

from polybot.domain.events import (
    BookReplaced,
    LevelsChanged,
    MarketEvent,
    MarketResolved,
    TickSizeChanged,
    TradePrinted,
)
from polybot.domain.ids import MarketId
from polybot.domain.units import Millis

REMEMBERED = 4_096
"""Messages of one market: at a hundred a second a connection may lag 40 seconds behind the other."""
Told = BookReplaced | LevelsChanged | TradePrinted | TickSizeChanged | MarketResolved


class Merger:
    """Memory of what was let through. `dropped` counts the repetitions."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._markets: dict[MarketId, _Seen] = {}
        self.dropped = 0

    def admit(self, lane: int, event: MarketEvent) -> bool:
        """Whether `event`, come on `lane`, is news."""
        if not isinstance(event, Told):
            return True
        seen = self._markets.get(event.market)
        if seen is None:
            seen = self._markets[event.market] = _Seen()
        if seen.is_news(lane, self._lanes, event.at, _key(event)):
            return True
        self.dropped += 1
        return False

    def keep_only(self, markets: Collection[MarketId]) -> None:
        self._markets = {market: seen for market, seen in self._markets.items() if market in markets}


class _Seen:
    """How often each lane has brought each message of one market, and the most often that was let through."""

    __slots__ = ("counts", "horizon", "order")

    def __init__(self) -> None:
        self.counts: dict[Hashable, list[int]] = {}
        self.order: deque[tuple[Millis, Hashable]] = deque()
        self.horizon = Millis(0)

    def is_news(self, lane: int, lanes: int, at: Millis, key: Hashable) -> bool:
        counts = self.counts.get(key)
        if counts is None:
            if at <= self.horizon:  # forgotten since: the lane is far behind
                return False
            counts = self.counts[key] = [0] * (lanes + 1)
            self.order.append((at, key))
            if len(self.order) > REMEMBERED:
                self._forget()
        counts[lane] += 1
        if counts[lane] <= counts[lanes]:
            return False
        counts[lanes] = counts[lane]
        return True

    def _forget(self) -> None:
        at, key = self.order.popleft()
        del self.counts[key]
        self.horizon = max(self.horizon, at)


def _key(event: Told) -> Hashable:
    """All of a message but the time of its receipt."""
    match event:
        case LevelsChanged():
            return (event.at, *event.changes)
        case BookReplaced():
            bids = (tuple(event.bid_prices), tuple(event.bid_sizes))
            return (event.at, event.outcome, bids, tuple(event.ask_prices), tuple(event.ask_sizes))
        case TradePrinted():
            return (event.at, event.outcome, event.side, event.price, event.size, event.transaction)
        case TickSizeChanged():
            return ("tick", event.at, event.tick)
        case MarketResolved():
            return ("resolved", event.at, event.payout_up)
