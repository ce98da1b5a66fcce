"""Compares the floor's books with the venue's REST books now and then: a second witness beside the socket (3.2).

The two come by different ways and are never of the same moment, so what the socket has told of since the REST book's
date is left out of the comparison; the rest must be equal, level by level. The REST books are known to be stale at
times (polymarket.md 8, no. 11): one that is older than what we know says nothing, and after contradictions in a row,
each with a fresh snapshot between, it is no longer believed about that market.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

import msgspec
from loguru import logger

from polybot.clock import Clock
from polybot.domain.book import Book, BookState
from polybot.domain.events import BookReplaced, LevelsChanged, MarketEvent
from polybot.domain.ids import MarketId
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.markets import MarketState
from polybot.domain.units import Millis, Price, Shares
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.rest import Rest
from polybot.venue.polymarket.wire import MarketDecoder, Tokens, Undecodable

CHANGES_KEPT = 4_096
BOOKS_MAX = 500
"""Tokens in one request (polymarket.md 2.1)."""
Levels = dict[tuple[Side, Price], Shares]


class CheckTerms(msgspec.Struct, frozen=True, kw_only=True):
    """Every `every_s`; what the socket is slower to tell by more than `settle_s` is taken for missed. A REST book dated
    more than `stale_ms` before ours says nothing. `believed_max` contradictions in a row are acted on.
    """

    every_s: float = 30.0
    settle_s: float = 1.0
    stale_ms: int = 5_000
    believed_max: int = 3


class CheckCounts(msgspec.Struct, kw_only=True):
    """Books: `equal`; `contradicted` (the market is doubted); `disbelieved` ones that contradicted again and again;
    `stale` REST books; `unclear` where too much has changed since; `unreadable`; `failed` requests.
    """

    equal: int = 0
    contradicted: int = 0
    disbelieved: int = 0
    stale: int = 0
    unclear: int = 0
    unreadable: int = 0
    failed: int = 0


class BookCheck:
    """`books` is the floor's own. Tell `note` of all that is handed on; `doubt` is told of markets that differ."""

    def __init__(
        self, rest: Rest, books: Callable[[MarketId], MarketState | None], clock: Clock, terms: CheckTerms | None = None
    ) -> None:
        self._rest, self._books, self._clock, self.terms = rest, books, clock, terms or CheckTerms()
        self.counts = CheckCounts()
        self._recent: dict[MarketId, deque[LevelsChanged | BookReplaced]] = {}
        self._in_a_row: dict[MarketId, int] = {}

    def note(self, event: MarketEvent) -> None:
        """Before the floor sees it."""
        if isinstance(event, LevelsChanged | BookReplaced):
            recent = self._recent.get(event.market)
            if recent is None:
                recent = self._recent[event.market] = deque(maxlen=CHANGES_KEPT)
            recent.append(event)

    async def run(
        self,
        markets: Callable[[], Iterable[Market]],
        is_behind: Callable[[], bool],
        doubt: Callable[[MarketId], None],
    ) -> None:
        """Look at the open ones of `markets` for ever. `is_behind`: the floor has not yet seen all that came."""
        while True:
            await asyncio.sleep(self.terms.every_s)
            now = self._clock.now_ms()
            watched = {m.id: m for m in markets() if m.tokens is not None and m.window_start <= now < m.window_end}
            self._recent = {market: recent for market, recent in self._recent.items() if market in watched}
            if watched:
                await self._look(watched, is_behind, doubt)

    async def close(self) -> None:
        await self._rest.close()

    async def _look(
        self, watched: dict[MarketId, Market], is_behind: Callable[[], bool], doubt: Callable[[MarketId], None]
    ) -> None:
        tokens = [token for market in watched.values() for token in market.tokens or ()][:BOOKS_MAX]
        question = msgspec.json.encode([{"token_id": token} for token in tokens])
        try:
            body = await self._rest.post("/books", question)
        except (VenueUnavailable, VenueBusy) as error:
            self.counts.failed += 1
            logger.bind(action="book_check").debug("the REST books cannot be read: {}", error)
            return
        received = self._clock.now_ms()
        await asyncio.sleep(self.terms.settle_s)
        decoder = MarketDecoder(Tokens(watched.values()))
        differing: set[MarketId] = set()
        for book in decoder.decode_rest_books(body or b"[]", received):
            if isinstance(book, Undecodable):
                self.counts.unreadable += 1
            elif self._differs(book, behind=is_behind()):
                differing.add(book.market)
        for market in sorted(differing):
            self._contradict(market, doubt)

    def _differs(self, theirs: BookReplaced, *, behind: bool) -> bool:
        state = self._books(theirs.market)
        ours = None if state is None else state.books[theirs.outcome]
        if ours is None or ours.state is not BookState.VERIFIED:
            return False
        if theirs.at < ours.at - self.terms.stale_ms:
            self.counts.stale += 1
            return False
        touched = touched_since(self._recent.get(theirs.market, ()), theirs.outcome, theirs.at)
        if touched is None or behind:
            self.counts.unclear += 1
            return False
        if ours.at < theirs.at or not same_but(touched, levels_of(ours), levels_in(theirs)):
            return True
        self.counts.equal += 1
        self._in_a_row.pop(theirs.market, None)
        return False

    def _contradict(self, market: MarketId, doubt: Callable[[MarketId], None]) -> None:
        times = self._in_a_row[market] = self._in_a_row.get(market, 0) + 1
        if times > self.terms.believed_max:
            self.counts.disbelieved += 1
            return
        self.counts.contradicted += 1
        logger.bind(action="book_check").warning("{}: our book and the venue's REST book differ", market)
        doubt(market)


def touched_since(
    recent: Iterable[LevelsChanged | BookReplaced], outcome: Outcome, at: Millis
) -> set[tuple[Side, Price]] | None:
    """The levels that changed at or after `at`, and so may differ; None where nobody can tell them all."""
    found: set[tuple[Side, Price]] = set()
    oldest: Millis | None = None
    kept = 0
    for event in recent:
        kept += 1
        oldest = event.at if oldest is None else min(oldest, event.at)
        if event.at < at:
            continue
        if isinstance(event, BookReplaced):
            if event.outcome is outcome and event.at > at:
                return None
        else:
            found |= {(change.side, change.price) for change in event.changes if change.outcome is outcome}
    return None if kept >= CHANGES_KEPT and oldest is not None and oldest >= at else found


def levels_of(book: Book) -> Levels:
    return {(side, price): size for side in Side for price, size in book.levels(side)}


def levels_in(event: BookReplaced) -> Levels:
    bids = zip(event.bid_prices, event.bid_sizes, strict=True)
    asks = zip(event.ask_prices, event.ask_sizes, strict=True)
    return {(Side.BUY, price): size for price, size in bids} | {(Side.SELL, price): size for price, size in asks}


def same_but(touched: set[tuple[Side, Price]], ours: Levels, theirs: Levels) -> bool:
    return all(ours.get(level) == theirs.get(level) for level in (ours.keys() | theirs.keys()) - touched)
