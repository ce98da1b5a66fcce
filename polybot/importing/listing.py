"""What recordings leave out about their markets, put in at the first place it shows: the listing and the finer tick."""

from collections.abc import Iterable, Iterator, Mapping

from polybot.domain.events import (
    BookReplaced,
    LevelsChanged,
    MarketEvent,
    MarketListed,
    ReferencePriced,
    SnapshotRequested,
    TickSizeChanged,
    TradePrinted,
)
from polybot.domain.ids import MarketId
from polybot.domain.market import Market
from polybot.domain.units import Price
from polybot.importing.terms import TICK_FINE

TICK_NOTE = "Tick changes are not recorded: 0.01 until just before a market's first price off that grid, then 0.001."


def with_listings(events: Iterable[MarketEvent], markets: Mapping[MarketId, Market]) -> Iterator[MarketEvent]:
    """The events, each market's listing before its first one and a tick change before its first price off the grid.

    A price off the 0.01 grid can only have been quoted after the venue went to 0.001 (polymarket.md 5.4).
    """
    listed: set[MarketId] = set()
    fine: set[MarketId] = set()
    for event in events:
        if isinstance(event, MarketListed | ReferencePriced | SnapshotRequested):
            yield event
            continue
        market = event.market
        if market not in listed:
            listed.add(market)
            yield MarketListed(event.at, event.received, markets[market])
        if market not in fine and any(price % markets[market].tick for price in _prices(event)):
            fine.add(market)
            yield TickSizeChanged(event.at, event.received, market, TICK_FINE)
        yield event


def _prices(event: MarketEvent) -> list[Price]:
    match event:
        case BookReplaced():
            return event.bid_prices + event.ask_prices
        case LevelsChanged():
            return [change.price for change in event.changes]
        case TradePrinted():
            return [event.price]
        case _:
            return []
