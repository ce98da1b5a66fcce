"""Small recordings for the exchange's tests: windows with a few books, made by hand and played like any tape."""

from collections.abc import Iterable, Sequence

from polybot.domain.events import (
    BookReplaced,
    LevelChange,
    LevelsChanged,
    MarketEvent,
    MarketListed,
    MarketResolved,
    ReferencePriced,
    TickSizeChanged,
    TradePrinted,
)
from polybot.domain.fees import FeeSchedule
from polybot.domain.ids import ConditionId, MarketId, SeriesId
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.units import UNIT, Millis, Price, Shares
from polybot.exchange.recorded import RecordedWindow, windows_of

FRAME_MS = 900_000
RECORDED_START = Millis(1_790_586_000_000)
PRESENT_START = Millis(1_795_410_000_000)
"""A later quarter of an hour, where the tests let the exchange play."""
CENT = 10_000


def recorded_market(number: int = 0, *, asset: str = "BTC", quoted: tuple[Outcome, ...] = tuple(Outcome)) -> Market:
    start = Millis(RECORDED_START + number * FRAME_MS)
    return Market(
        id=MarketId(f"{asset.lower()}-updown-15m-{start // 1000}"),
        condition_id=ConditionId(f"0x{number:064x}"),
        series=SeriesId(f"{asset}-15m"),
        asset=asset,
        window_start=start,
        window_end=Millis(start + FRAME_MS),
        tick=Price(CENT),
        size_min=Shares(5 * UNIT),
        fees=FeeSchedule(rate=70_000, rebate_rate=200_000),
        taker_delay_ms=150,
        rule_set="chainlink-twap60-2026-08-07",
        quoted=quoted,
    )


def book(market: Market, offset_ms: int, bid: int, ask: int, outcome: Outcome = Outcome.UP) -> BookReplaced:
    """One level a side of 100 shares, prices in cents."""
    at = Millis(market.window_start + offset_ms)
    size = [Shares(100 * UNIT)]
    return BookReplaced(at, at, market.id, outcome, [Price(bid * CENT)], size, [Price(ask * CENT)], size)


def level(market: Market, offset_ms: int, side: Side, cents: int, shares: int) -> LevelsChanged:
    at = Millis(market.window_start + offset_ms)
    change = LevelChange(Outcome.UP, side, Price(cents * CENT), Shares(shares * UNIT))
    return LevelsChanged(at, at, market.id, [change])


def trade(market: Market, offset_ms: int, side: Side, cents: int, shares: int) -> TradePrinted:
    at = Millis(market.window_start + offset_ms)
    return TradePrinted(at, at, market.id, Outcome.UP, side, Price(cents * CENT), Shares(shares * UNIT))


def tick(market: Market, offset_ms: int, size: int) -> TickSizeChanged:
    at = Millis(market.window_start + offset_ms)
    return TickSizeChanged(at, at, market.id, Price(size))


def reference(market: Market, offset_ms: int, dollars: float) -> ReferencePriced:
    at = Millis(market.window_start + offset_ms)
    return ReferencePriced(at, at, market.asset, "chainlink", int(dollars * UNIT))


def window(market: Market, events: Iterable[MarketEvent], *, up_wins: bool) -> RecordedWindow:
    listed = MarketListed(Millis(0), Millis(0), market)
    end = Millis(market.window_end + 54_000)
    resolved = MarketResolved(end, end, market.id, Price(UNIT if up_wins else 0))
    (made,) = windows_of([listed, *events, resolved])
    return made


def plain_windows(count: int = 2, *, asset: str = "BTC") -> list[RecordedWindow]:
    """Windows whose book stands at 45/55 from before the start, moves to 60/62 in the middle, and that Up wins, then
    Down, in turn; in the second half the winner leads."""
    made = []
    for number in range(count):
        market, up_wins = recorded_market(number, asset=asset), number % 2 == 0
        late = (90, 92) if up_wins else (8, 10)
        events: Sequence[MarketEvent] = [
            book(market, -800_000, 45, 55),
            book(market, 300_000, 60, 62),
            book(market, 600_000, *late),
        ]
        made.append(window(market, events, up_wins=up_wins))
    return made
