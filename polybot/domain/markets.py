"""What is known of every market right now: one owner for each fact, updated once per event, before any desk (D5a)."""

from collections.abc import Callable, Hashable, Iterable
from typing import Protocol

import msgspec

from polybot.domain.book import Book, BookState
from polybot.domain.events import (
    BookReplaced,
    LevelsChanged,
    MarketEvent,
    MarketListed,
    MarketResolved,
    ReferencePriced,
    TickSizeChanged,
    TradePrinted,
)
from polybot.domain.ids import MarketId
from polybot.domain.market import Market, Outcome
from polybot.domain.units import Millis, Price


class Indicator(Protocol):
    """A running figure of one market. It is updated once per event, however many strategies read it."""

    value: float | None

    def on_mid(self, at: Millis, twice_mid: int) -> None:
        """Up's best bid plus best ask (twice the middle price, so that it stays an integer), when it may have moved."""
        ...

    def on_trade(self, trade: TradePrinted) -> None: ...


class IndicatorSpec(Hashable, Protocol):
    """Names an indicator by its parameters: equal specs share one running figure."""

    def start(self) -> Indicator: ...


class MarketState:
    """One market: its terms, both books, and the figures strategies asked for."""

    __slots__ = ("_by_spec", "_indicators", "books", "market", "payout_up", "trades_seen")

    def __init__(self, market: Market, specs: Iterable[IndicatorSpec] = ()) -> None:
        self.market = market
        self.books = (Book(Outcome.UP), Book(Outcome.DOWN))
        self.payout_up: Price | None = None
        self.trades_seen = 0
        self._by_spec: dict[IndicatorSpec, Indicator] = {}
        for spec in specs:
            if spec not in self._by_spec:
                self._by_spec[spec] = spec.start()
        self._indicators = tuple(self._by_spec.values())

    def indicator(self, spec: IndicatorSpec) -> float | None:
        """The figure's present value, None while it has too little to go by. Raises KeyError if nobody declared it."""
        return self._by_spec[spec].value

    def replace_book(self, event: BookReplaced) -> None:
        bids, asks = (event.bid_prices, event.bid_sizes), (event.ask_prices, event.ask_sizes)
        book = self.books[event.outcome]
        book.replace(bids, asks, event.at, event.received)
        self._after_book(book)

    def change_levels(self, event: LevelsChanged) -> None:
        touched = 0
        for change in event.changes:
            book = self.books[change.outcome]
            book.change(change.side, change.price, change.size)
            touched |= 1 << change.outcome
        for change in event.changes:  # one message is one state of the venue: compare only when all of it is in
            if touched & (1 << change.outcome):
                touched &= ~(1 << change.outcome)
                last = next(c for c in reversed(event.changes) if c.outcome is change.outcome)
                book = self.books[change.outcome]
                book.touch(event.at, event.received)
                book.check(last.best_bid, last.best_ask)
                self._after_book(book)

    def print_trade(self, event: TradePrinted) -> None:
        self.trades_seen += 1
        for indicator in self._indicators:
            indicator.on_trade(event)

    def _after_book(self, book: Book) -> None:
        if len(self.market.quoted) == 1:
            mirror = self.books[book.outcome.other]
            mirror.replace(*book.mirrored(), book.at, book.received)
            mirror.state = book.state
        elif book.outcome is not Outcome.UP:
            return
        up = self.books[Outcome.UP]
        if up.bid_prices and up.ask_prices and up.state is not BookState.CONTRADICTED:
            twice_mid = up.bid_prices[-1] + up.ask_prices[0]
            for indicator in self._indicators:
                indicator.on_mid(up.received, twice_mid)


class Markets:
    """Every market on the board, and the last reference price of each asset by source."""

    def __init__(self, specs: Iterable[IndicatorSpec] = ()) -> None:
        self._specs = tuple(specs)
        self.by_id: dict[MarketId, MarketState] = {}
        self.references: dict[str, dict[str, ReferencePriced]] = {}
        self._apply: dict[type, Callable[..., MarketState | None]] = {
            MarketListed: self._list,
            BookReplaced: self._replace,
            LevelsChanged: self._change,
            TradePrinted: self._trade,
            ReferencePriced: self._reference,
            TickSizeChanged: self._tick,
            MarketResolved: self._resolve,
        }

    def apply(self, event: MarketEvent) -> MarketState | None:
        """Bring the event in and return the market it was about; None for an unknown market or none at all."""
        return self._apply[type(event)](event)

    def retire(self, market: MarketId) -> None:
        """Forget a market whose story is over, so that weeks of windows do not fill the memory."""
        self.by_id.pop(market, None)

    def _list(self, event: MarketListed) -> MarketState:
        known = self.by_id.get(event.market.id)
        if known is None:
            known = self.by_id[event.market.id] = MarketState(event.market, self._specs)
        return known

    def _replace(self, event: BookReplaced) -> MarketState | None:
        state = self.by_id.get(event.market)
        if state is not None:
            state.replace_book(event)
        return state

    def _change(self, event: LevelsChanged) -> MarketState | None:
        state = self.by_id.get(event.market)
        if state is not None:
            state.change_levels(event)
        return state

    def _trade(self, event: TradePrinted) -> MarketState | None:
        state = self.by_id.get(event.market)
        if state is not None:
            state.print_trade(event)
        return state

    def _reference(self, event: ReferencePriced) -> None:
        self.references.setdefault(event.asset, {})[event.source] = event

    def _tick(self, event: TickSizeChanged) -> MarketState | None:
        state = self.by_id.get(event.market)
        if state is not None:
            state.market = msgspec.structs.replace(state.market, tick=event.tick)
        return state

    def _resolve(self, event: MarketResolved) -> MarketState | None:
        state = self.by_id.get(event.market)
        if state is not None:
            state.payout_up = event.payout_up
        return state
