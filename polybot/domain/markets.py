"""What is known of every market right now: one owner for each fact, updated once per event, before any desk (D5a)."""

from collections.abc import Callable, Hashable, Iterable
from typing import Protocol

import msgspec

from polybot.domain.book import Book, BookState
from polybot.domain.errors import BookError
from polybot.domain.events import (
    BookReplaced,
    LevelChange,
    LevelsChanged,
    MarketEvent,
    MarketListed,
    MarketResolved,
    ReferencePriced,
    SnapshotRequested,
    TickSizeChanged,
    TradePrinted,
)
from polybot.domain.ids import MarketId
from polybot.domain.market import Market, Outcome
from polybot.domain.units import Millis, Price

RULES_CHANGED = " -> "
"""Between the names of a market's settlement rules, where it had more than one in its window."""
OLD_MS_MAX = 10_000
"""A snapshot that is new to us and dated further back may come out of a cache: it is the venue's last word on a quiet
market only if the next change fits it. In open windows nothing recorded was quiet for so long (9.9 s at most)."""
FUTURE_MS_MAX = 2_000
"""A date further ahead of our clock is a lie of somebody's clock. A recorder's was 93 ms behind the venue's at most."""


UP, CONTRADICTED = Outcome.UP, BookState.CONTRADICTED
"""By their names alone: they are asked for with every change (book.py)."""


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


class Oddities:
    """How often market data was not what it should be, since the start; what was done about it is beside each.

    `late`: changes dated before ones we have (superseded by a snapshot: passed over; else the book is contradicted).
    `stale`: snapshots dated before our book (passed over). `future`: dates ahead of our clock (the book is doubted).
    `ambiguous`: snapshots of the book's own date that differ (the book is doubted). `impossible`: levels no book can
    have, `contradicted`: books that came to differ from the venue's best prices (contradicted).

    `ahead_ms` counts nothing: so far was the venue's clock ahead of ours by its last change, if by more than may be. As
    long as it is, whatever it dates is older than it looks.
    """

    __slots__ = ("ahead_ms", "ambiguous", "contradicted", "future", "impossible", "late", "stale")

    def __init__(self) -> None:
        self.ahead_ms = 0
        self.late = self.stale = self.future = self.ambiguous = self.impossible = self.contradicted = 0


class MarketState:
    """One market: its terms, both books, and the figures strategies asked for."""

    __slots__ = (
        "_by_spec",
        "_indicators",
        "books",
        "listed_at",
        "market",
        "oddities",
        "payout_up",
        "tick_at",
        "trades_seen",
    )

    def __init__(self, market: Market, specs: Iterable[IndicatorSpec] = (), oddities: Oddities | None = None) -> None:
        self.market = market
        self.oddities = Oddities() if oddities is None else oddities
        self.listed_at = self.tick_at = Millis(0)
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
        book, at = self.books[event.outcome], event.at
        if at < book.at:
            self.oddities.stale += 1
            return
        if at > event.received + FUTURE_MS_MAX:
            self.oddities.future += 1
            book.replace(bids, asks, event.received, event.received)
            book.doubt()
        else:
            said_again = at == book.at and book.same_levels(bids, asks)
            ambiguous = at == book.at and not said_again and book.state is BookState.VERIFIED
            known = said_again and (book.stood or book.state is BookState.VERIFIED)
            book.replace(bids, asks, at, event.received)
            if ambiguous:  # two full books of one millisecond: nobody can tell which is the later
                self.oddities.ambiguous += 1
                book.doubt()
            elif event.received - at + self.oddities.ahead_ms > OLD_MS_MAX and not known:
                book.hold_back()
        self._after_book(book)

    def change_levels(self, event: LevelsChanged) -> None:
        up, down = self.books
        at = event.at
        if at < up.at or at < down.at or at > event.received + FUTURE_MS_MAX:
            self._change_in_time(event)
        else:
            self.oddities.ahead_ms = 0
            self._change(event.changes, at, event.received)

    def _change_in_time(self, event: LevelsChanged) -> None:
        """Sizes are absolute, so a change that comes after a later one can undo it: it is not taken in."""
        oddities, touched = self.oddities, {change.outcome for change in event.changes}
        in_time = []
        for book in (book for book in self.books if book.outcome in touched):
            if event.at > event.received + FUTURE_MS_MAX:
                oddities.future += 1
                oddities.ahead_ms = event.at - event.received
                book.doubt()
            elif event.at >= book.at:
                in_time.append(book.outcome)
                continue
            else:
                oddities.late += 1
                if event.at >= book.snapshot_at:  # else the snapshot was made with it in
                    book.contradict()
            self._after_book(book)
        self._change([c for c in event.changes if c.outcome in in_time], event.at, event.received)

    def _change(self, changes: list[LevelChange], at: Millis, received: Millis) -> None:
        books = self.books
        last: dict[Outcome, LevelChange] = {}
        for change in changes:
            outcome = change.outcome
            last[outcome] = change
            book = books[outcome]
            try:
                book.change(change.side, change.price, change.size)
            except BookError:
                self.oddities.impossible += 1
                book.contradict()
        for outcome, change in last.items():  # one message is one state of the venue: compare when all of it is in
            book = books[outcome]
            book.touch(at, received)
            doubted = book.needs_snapshot
            book.check(change.best_bid, change.best_ask)
            if book.needs_snapshot and not doubted:
                self.oddities.contradicted += 1
            self._after_book(book)

    def ask(self, at: Millis) -> None:
        for book in self.books:
            book.ask(at)

    def list_again(self, market: Market, at: Millis) -> None:
        """Take over changed terms. A settlement rule that changes once the window is open leaves the market with both.

        Such a market has no rule that anybody knows, and so is not traded on any more (gate: unknown_rules), however
        often it changes back. What is older than what we have is passed over: catalogues are cached, too.
        """
        if at < self.listed_at:
            return
        self.listed_at = at
        known = self.market
        if market.tokens is None:  # its terms could not be read; our orders there still have to be looked up by its ids
            ids = {"tokens": known.tokens, "version": known.version, "condition_id": known.condition_id}
            market = msgspec.structs.replace(market, **ids)
        rule_set = market.rule_set
        if known.rule_set != rule_set and at >= known.window_start:
            both = RULES_CHANGED in known.rule_set
            rule_set = known.rule_set if both else f"{known.rule_set}{RULES_CHANGED}{rule_set}"
        tick = known.tick if at < self.tick_at else market.tick
        terms = msgspec.structs.replace(market, rule_set=rule_set, tick=tick)
        if terms != known:
            self.market = terms

    def print_trade(self, event: TradePrinted) -> None:
        self.trades_seen += 1
        for indicator in self._indicators:
            indicator.on_trade(event)

    def _after_book(self, book: Book) -> None:
        if len(self.market.quoted) == 1:
            self.books[book.outcome.other].reflect(book)
        elif book.outcome is not UP:
            return
        up = self.books[UP]
        if up.bid_prices and up.ask_prices and up.state is not CONTRADICTED:
            twice_mid = up.bid_prices[-1] + up.ask_prices[0]
            for indicator in self._indicators:
                indicator.on_mid(up.received, twice_mid)


class Markets:
    """Every market on the board, and the last reference price of each asset by source."""

    def __init__(self, specs: Iterable[IndicatorSpec] = ()) -> None:
        self._specs = tuple(specs)
        self.oddities = Oddities()
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
            SnapshotRequested: self._request,
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
            known = self.by_id[event.market.id] = MarketState(event.market, self._specs, self.oddities)
            known.listed_at = event.at
        elif known.market != event.market:
            known.list_again(event.market, event.at)
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
            state.tick_at = max(state.tick_at, event.at)
        return state

    def _resolve(self, event: MarketResolved) -> MarketState | None:
        state = self.by_id.get(event.market)
        if state is not None:
            state.payout_up = event.payout_up
        return state

    def _request(self, event: SnapshotRequested) -> None:
        for market in event.markets:
            state = self.by_id.get(market)
            if state is not None:
                state.ask(event.received)
