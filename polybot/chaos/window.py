"""One 15-minute market of the simulated world: its terms, its quoting and trading, and how it ends."""

from random import Random
from typing import TypeVar

import msgspec

from polybot.chaos.faults import Faults
from polybot.chaos.price_path import fair_price
from polybot.chaos.quotes import Ladder
from polybot.domain.events import BookReplaced, LevelsChanged, MarketEvent, TickSizeChanged, TradePrinted
from polybot.domain.fees import FeeSchedule
from polybot.domain.ids import ConditionId, MarketId, SeriesId
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.units import UNIT, Millis, Price, Shares

WINDOW_MS = 900_000
LEAD_MS = 900_000
"""How long before its window a market's books are kept; the venue lists a day ahead (polymarket.md 5.3)."""
FEES = FeeSchedule(rate=70_000, rebate_rate=200_000)
OTHER_FEES = (
    FeeSchedule(rate=50_000, rebate_rate=200_000),
    FeeSchedule(rate=100_000, rebate_rate=200_000),
    FeeSchedule(rate=250_000, exponent=2, rebate_rate=200_000),
)
TAKER_DELAY_MS = 150
OTHER_DELAYS_MS = (0, 250, 500, 1_000)
RULE_SET = "chainlink-twap60-2026-08-07"
UNKNOWN_RULE_SET = "chainlink-median-unheard-of"
TICK, FINE_TICK = Price(10_000), Price(1_000)
FINE_ABOVE, FINE_BELOW = 960_000, 40_000
"""Where the venue makes the tick finer (polymarket.md 5.4)."""
RESOLUTION_MS, RESOLUTION_SPREAD_MS = 30_000, 48_000
LATE_RESOLUTION_MS = 600_000
SNAPSHOT_MS = 60_000
QUIET_BEFORE_MS = 20_000
"""Added to every gap before the window opens: little happens then."""

QUIET_PACE = (2_500, 6_000)
PACES = ((2_600, 1_900), (80, 400), QUIET_PACE)
"""Usual, burst and quiet: the shortest gap between two messages and what chance adds to it, in milliseconds."""
PACE_ENDS = (0.04, 0.12, 0.04)
"""How likely each ends with a message: bursts are most of what a simulated hour costs, so they are many and short."""
TRADES = 0.22
"""The share of messages that come with a trade; in a flurry all do."""


Choice = TypeVar("Choice")
NO_CHANCE = Random(0)


class Window:
    """A market's whole story. Its books stand from `open` to the window's end."""

    def __init__(self, market: Market, resolved_at: Millis, faults: Faults, *, is_late: bool) -> None:
        self.base = self.market = market
        self.resolved_at, self.is_late = resolved_at, is_late
        self.payout_up: Price | None = None
        self.path: list[int] = []
        self.ladder: Ladder | None = None
        self.is_fine = False
        self.was: tuple[BookReplaced, BookReplaced] | None = None
        """Both books as they were a minute or two ago."""
        self._faults = faults
        self._rng = NO_CHANCE  # its own while its books stand
        self._strike = 0
        self._latest: tuple[BookReplaced, BookReplaced] | None = None
        self._pace = 0
        self._flurry_until = 0
        self._flurry_buys = False
        self._snapshot_due = 0

    def open(self, path: list[int], rng: Random) -> None:
        """Begin to quote. `path` is the underlying over the window, so the end is decided here, and told later."""
        self.path, self._rng = path, rng
        self._strike = path[0]
        self.payout_up = Price(UNIT if path[-1] >= path[0] else 0)
        self.ladder = Ladder(self.market.id, rng)

    def snapshots(self, at: Millis) -> tuple[BookReplaced, BookReplaced]:
        """Both outcomes' books as they stand."""
        assert self.ladder is not None  # `open` made it
        return self.ladder.snapshot(Outcome.UP, at), self.ladder.snapshot(Outcome.DOWN, at)

    def step(self, at: Millis) -> tuple[list[MarketEvent], int | None]:
        """What the makers and takers of this market do now, and when they stir again."""
        market, rng = self.market, self._rng.random
        if at >= market.window_end:
            self.ladder = self.was = self._latest = None
            self._rng = NO_CHANCE  # thousands of windows are kept, and a generator is large
            return [], None
        gap, more = self._gap()
        following = at + gap + int(rng() * more)
        if at < market.window_start:
            events = self._quote(500_000 + int(rng() * 40_000) - 20_000, at)
            return events, min(following + QUIET_BEFORE_MS, market.window_start)
        second = (at - market.window_start) // 1_000
        fair = fair_price(self.path[second] - self._strike, WINDOW_MS // 1_000 - second)
        events = self._quote(fair, at)
        if at < self._flurry_until or rng() < TRADES:
            events += self._trade(at)
        if not self.is_fine and not FINE_BELOW <= fair <= FINE_ABOVE:
            self.is_fine = True
            events += self._refine(at)
        if at >= self._snapshot_due:
            self._snapshot_due = at + SNAPSHOT_MS
            self.was, self._latest = self._latest, self.snapshots(at)
            events += self.snapshots(at)
        return events, min(following, market.window_end)

    def _gap(self) -> tuple[int, int]:
        """Bursts and quiet stretches; in a flurry of trades nobody is quiet."""
        if self._rng.random() < PACE_ENDS[self._pace]:
            chance = self._rng.random()
            self._pace = 0 if chance < 0.55 else 1 if chance < 0.80 else 2
        return PACES[self._pace] if self._pace != 2 or self._rng.random() < 0.7 else PACES[0]

    def _quote(self, fair: int, at: Millis) -> list[MarketEvent]:
        assert self.ladder is not None
        spread = 1 if self._rng.random() < 0.8 else 2
        return [LevelsChanged(at, at, self.market.id, self.ladder.aim(fair, spread, self._rng, at))]

    def _trade(self, at: Millis) -> list[MarketEvent]:
        """Somebody takes from the top; in a flurry large ones go one way, as news makes them."""
        assert self.ladder is not None
        rng = self._rng.random
        if at >= self._flurry_until and rng() < 0.03:
            self._flurry_until = at + 6_000 + int(rng() * 8_000)
            self._flurry_buys = rng() < 0.5
        flurry = at < self._flurry_until
        buys = self._flurry_buys if flurry else rng() < 0.5
        wanted = (5 + int(rng() * (120 if flurry else 15))) * UNIT
        cents = (self.ladder.asks if buys else self.ladder.bids).best
        taken, changes = self.ladder.take(wanted, buys=buys)
        if not taken:
            return []
        price, market = Price(cents * 10_000), self.market.id
        if rng() < 0.5:
            side = Side.BUY if buys else Side.SELL
            trade = TradePrinted(at, at, market, Outcome.UP, side, price, Shares(taken))
        else:  # the same trade, made with the other token
            side = Side.SELL if buys else Side.BUY
            trade = TradePrinted(at, at, market, Outcome.DOWN, side, Price(UNIT - price), Shares(taken))
        return [trade, LevelsChanged(at, at, market, changes)]

    def _refine(self, at: Millis) -> list[MarketEvent]:
        was, self.market = self.market, market_terms(self, self._faults, at)
        return [TickSizeChanged(at, at, was.id, FINE_TICK)] if was.tick != self.market.tick else []


def new_window(seed: int, asset: str, index: int, faults: Faults) -> Window:
    """The window that starts at `index` quarters of an hour since 1970; everything of it comes from seed and name."""
    start = index * WINDOW_MS
    slug = f"{asset.lower()}-updown-15m-{start // 1_000}"
    rng = Random(f"{seed}/terms/{slug}")
    market = Market(
        id=MarketId(slug),
        condition_id=ConditionId(f"0x{rng.getrandbits(256):064x}"),
        series=SeriesId(f"{asset}-15m"),
        asset=asset,
        window_start=Millis(start),
        window_end=Millis(start + WINDOW_MS),
        tick=TICK,
        size_min=Shares(5 * UNIT),
        fees=FEES,
        taker_delay_ms=TAKER_DELAY_MS,
        rule_set=RULE_SET,
    )
    late = faults.episode("venue_late_resolution", market.window_end) is not None
    wait = RESOLUTION_MS + int(rng.random() * RESOLUTION_SPREAD_MS) + int(late * rng.random() * LATE_RESOLUTION_MS)
    return Window(market, Millis(market.window_end + wait), faults, is_late=late)


def market_terms(window: Window, faults: Faults, now: int) -> Market:
    """The terms as the venue serves them at `now`; those of an ended market stay what they were."""
    now = min(now, window.base.window_end - 1)
    fee, delay = faults.intensity("terms_fee", now), faults.intensity("terms_taker_delay", now)
    fine = window.is_fine or faults.episode("terms_tick", now) is not None
    unknown = faults.episode("terms_rule_set", now) is not None
    if fee is None and delay is None and not fine and not unknown:
        return window.base
    return msgspec.structs.replace(
        window.base,
        fees=window.base.fees if fee is None else _pick(OTHER_FEES, fee),
        taker_delay_ms=window.base.taker_delay_ms if delay is None else _pick(OTHER_DELAYS_MS, delay),
        tick=FINE_TICK if fine else window.base.tick,
        rule_set=UNKNOWN_RULE_SET if unknown else window.base.rule_set,
    )


def _pick(choices: tuple[Choice, ...], part: float) -> Choice:
    return choices[min(int(part * len(choices)), len(choices) - 1)]
