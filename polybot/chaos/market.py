"""The true world: rolling windows, their terms, their books, trades and ends, made lazily from the seed.

Nothing the floor does moves it. What the floor is told of it is the feed's affair, what our orders get of it the
exchange's. Whoever drives the time may do so in any steps: the events are the same.
"""

import heapq
from collections.abc import Callable, Iterator
from random import Random

import msgspec

from polybot.chaos.faults import Faults
from polybot.chaos.price_path import PricePath
from polybot.chaos.quotes import Top
from polybot.chaos.window import LEAD_MS, WINDOW_MS, Window, market_terms, new_window
from polybot.domain.events import (
    BookReplaced,
    MarketEvent,
    MarketListed,
    MarketResolved,
    ReferencePriced,
    TickSizeChanged,
)
from polybot.domain.ids import MarketId
from polybot.domain.market import Market, Outcome
from polybot.domain.units import UNIT, Millis, Price

REFERENCE_MS = 20_000
REFERENCE_BASE = {"BTC": 65_000 * UNIT, "ETH": 2_500 * UNIT}
REFERENCE_STEP = {"BTC": 3_000, "ETH": 120}
"""Millionths of a dollar for one unit of the path."""
KEPT_WINDOWS = 2
"""Windows before the running one whose paths are kept; of older ones the terms and the payout are."""

Stream = Callable[[Millis], tuple[list[MarketEvent], int | None]]
"""Told that its moment has come, it says what happened and when its next moment is (None: it is over)."""


class World:
    """Two series of 15-minute windows back to back; `windows` has every one that was ever listed or asked for."""

    def __init__(self, seed: int, start_ms: int, faults: Faults, assets: tuple[str, ...] = ("BTC", "ETH")) -> None:
        self.seed, self.faults, self.assets = seed, faults, assets
        self.start_ms = Millis(start_ms)
        self.now = Millis(start_ms - 1)
        self.windows: dict[MarketId, Window] = {}
        self._by_place: dict[tuple[str, int], Window] = {}
        self._open: list[Window] = []
        self._first = start_ms // WINDOW_MS
        self._paths = {asset: PricePath(Random(f"{seed}/path/{asset}")) for asset in assets}
        self._streams: list[tuple[int, int, Stream]] = []
        self.next_at = Millis(0)
        """When the next thing happens."""
        self._number = 0
        for asset in assets:
            self._add(start_ms, self._calendar(asset))
            self._add(start_ms, self._references(asset))
        edges = [edge for edge in faults.edges("terms_") if edge >= start_ms]
        if edges:
            self._add(edges[0], self._terms_changes(edges))

    # -- time ---------------------------------------------------------------------------------------------------------

    def step(self) -> list[MarketEvent]:
        """What happens at `next_at`, which moves on."""
        at, number, stream = self._streams[0]
        self.now = now = Millis(at)
        events, following = stream(now)
        if following is None:
            heapq.heappop(self._streams)
        else:
            heapq.heapreplace(self._streams, (following, number, stream))
        self.next_at = Millis(self._streams[0][0])
        return events

    def advance(self, now: int) -> Iterator[MarketEvent]:
        """Everything that happens up to and at `now`, in order. To be read to the end."""
        while self._streams[0][0] <= now:
            yield from self.step()
        self.come_to(now)

    def come_to(self, now: int) -> None:
        """Nothing more happens up to `now`: what is read now is dated so."""
        if now > self.now:
            self.now = Millis(now)

    def _add(self, at: int, stream: Stream) -> None:
        self._number += 1
        heapq.heappush(self._streams, (at, self._number, stream))
        self.next_at = Millis(self._streams[0][0])

    # -- what may be asked --------------------------------------------------------------------------------------------

    def listed(self, since: int, until: int) -> list[Window]:
        """Every window that ends after `since` and starts before `until`, in order of start, the present's terms in it.

        The venue lists a day ahead, so windows that are far off exist already; those before the world's start do not.
        """
        first = max(since // WINDOW_MS, self._first)
        last = (until - 1) // WINDOW_MS
        return [self._window(asset, index) for index in range(first, last + 1) for asset in self.assets]

    def payout_up(self, market: MarketId) -> Price:
        """What Up will pay: known here before the world knows. KeyError for a market whose books have not opened."""
        payout = self.windows[market].payout_up
        if payout is None:
            raise KeyError(market)
        return payout

    def snapshot(self, market: MarketId, outcome: Outcome) -> BookReplaced | None:
        """The true book at this moment; None where there is none (unknown, not yet open, over)."""
        window = self.windows.get(market)
        if window is None or window.ladder is None or self.now >= window.market.window_end:
            return None
        return window.ladder.snapshot(outcome, self.now)

    def stale_snapshot(self, market: MarketId, outcome: Outcome) -> BookReplaced | None:
        """The book as it was a minute or two ago, dated then."""
        window = self.windows.get(market)
        return None if window is None or window.was is None else copy_of(window.was[outcome])

    def shown(self, market: MarketId, outcome: Outcome, since: int, until: int) -> set[Top] | None:
        """The best bids and asks that truly stood at some moment from `since` to `until`.

        None where nobody can tell: the market is unknown, over, or the time too long ago.
        """
        window = self.windows.get(market)
        return None if window is None or window.ladder is None else window.ladder.shown(outcome, since, until)

    # -- streams ------------------------------------------------------------------------------------------------------

    def _window(self, asset: str, index: int) -> Window:
        window = self._by_place.get((asset, index))
        if window is None:
            window = self._by_place[(asset, index)] = new_window(self.seed, asset, index, self.faults)
            self.windows[window.market.id] = window
        return window

    def _calendar(self, asset: str) -> Stream:
        upcoming = self._first

        def opens(at: Millis) -> tuple[list[MarketEvent], int | None]:
            nonlocal upcoming
            window = self._window(asset, upcoming)
            self._note_terms(window.market, market_terms(window, self.faults, at))
            window.market = market_terms(window, self.faults, at)
            window.open(self._paths[asset].window(WINDOW_MS // 1_000), Random(f"{self.seed}/window/{window.market.id}"))
            self._open.append(window)
            self._add(at, window.step)
            self._add(window.resolved_at, self._resolution(window))
            upcoming += 1
            self._forget(asset, upcoming - 2 - KEPT_WINDOWS)
            events: list[MarketEvent] = [MarketListed(at, at, window.market), *window.snapshots(at)]
            return events, max(upcoming * WINDOW_MS - LEAD_MS, at)

        return opens

    def _forget(self, asset: str, index: int) -> None:
        window = self._by_place.get((asset, index))
        if window is not None:
            window.path = []

    def _resolution(self, window: Window) -> Stream:
        def resolves(at: Millis) -> tuple[list[MarketEvent], int | None]:
            assert window.payout_up is not None  # set when its books opened
            self._open.remove(window)
            if window.is_late:
                self.faults.note("venue_late_resolution", window.market.id)
            return [MarketResolved(at, at, window.market.id, window.payout_up)], None

        return resolves

    def _references(self, asset: str) -> Stream:
        base, unit = REFERENCE_BASE[asset], REFERENCE_STEP[asset]

        def speaks(at: Millis) -> tuple[list[MarketEvent], int | None]:
            window = self._by_place.get((asset, at // WINDOW_MS))
            if window is None or not window.path:
                return [], at + REFERENCE_MS
            price = base + unit * window.path[at % WINDOW_MS // 1_000]
            return [ReferencePriced(at, at, asset, "chainlink", max(price, UNIT))], at + REFERENCE_MS

        return speaks

    def _terms_changes(self, edges: list[int]) -> Stream:
        left = iter(edges[1:])

        def changes(at: Millis) -> tuple[list[MarketEvent], int | None]:
            events: list[MarketEvent] = []
            for window in self._open:
                if at < window.market.window_end:
                    was, window.market = window.market, market_terms(window, self.faults, at)
                    self._note_terms(was, window.market)
                    events += _told_change(was, window.market, at)
            return events, next(left, None)

        return changes

    def _note_terms(self, was: Market, market: Market) -> None:
        """Count what changed; back to the usual counts too, for whoever has reckoned with the other."""
        changed = {
            "terms_fee": market.fees != was.fees,
            "terms_taker_delay": market.taker_delay_ms != was.taker_delay_ms,
            "terms_rule_set": market.rule_set != was.rule_set,
            "terms_tick": market.tick != was.tick,
        }
        for name in (name for name, differs in changed.items() if differs):
            self.faults.note(name, market.id)


def _told_change(was: Market, market: Market, at: Millis) -> list[MarketEvent]:
    """A market listed again with other terms is the world's way of saying so; the venue's stream says it of ticks."""
    events: list[MarketEvent] = []
    if market.tick != was.tick:
        events.append(TickSizeChanged(at, at, market.id, market.tick))
    if msgspec.structs.replace(was, tick=market.tick) != market:
        events.append(MarketListed(at, at, market))
    return events


def copy_of(book: BookReplaced) -> BookReplaced:
    """The same snapshot in lists of its own: a book takes over those it is given."""
    return BookReplaced(
        book.at,
        book.received,
        book.market,
        book.outcome,
        book.bid_prices[:],
        book.bid_sizes[:],
        book.ask_prices[:],
        book.ask_sizes[:],
    )
