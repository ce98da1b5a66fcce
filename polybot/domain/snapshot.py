"""What is known of all markets, said again as market events: for whoever comes in the middle of it."""

import msgspec

from polybot.domain.book import Book, BookState
from polybot.domain.events import (
    BookReplaced,
    MarketEvent,
    MarketListed,
    MarketResolved,
    SnapshotRequested,
)
from polybot.domain.ids import MarketId
from polybot.domain.markets import Markets, MarketState
from polybot.domain.units import Millis


def market_events(markets: Markets, received: Millis) -> list[MarketEvent]:
    """Applied to empty markets these give the same terms, books, results and reference prices.

    A book that is not verified is doubted there, too. Indicators begin anew: they are made of what came before.
    """
    said: list[MarketEvent] = []
    for market in sorted(markets.by_id):
        said += events_of(markets.by_id[market], received)
    for sources in markets.references.values():
        said += [msgspec.structs.replace(priced, received=received) for priced in sources.values()]
    return said


def events_of(state: MarketState, received: Millis) -> list[MarketEvent]:
    """One market's part of it."""
    market = state.market
    said: list[MarketEvent] = [MarketListed(state.listed_at, received, market)]
    books = [state.books[outcome] for outcome in market.quoted]
    said += [_replaced(market.id, book, received) for book in books if book.received]
    if any(book.received and book.state is not BookState.VERIFIED for book in books):
        said.append(SnapshotRequested(received, received, [market.id]))
    if state.payout_up is not None:
        said.append(MarketResolved(received, received, market.id, state.payout_up))
    return said


def _replaced(market: MarketId, book: Book, received: Millis) -> BookReplaced:
    bids, asks = (book.bid_prices[:], book.bid_sizes[:]), (book.ask_prices[:], book.ask_sizes[:])
    return BookReplaced(book.at, received, market, book.outcome, *bids, *asks)
