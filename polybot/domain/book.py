"""One outcome's order book: what stands where, and how far it can be trusted (design.md D4).

Both sides are kept as two parallel lists, ascending by price, so that a snapshot is taken over without touching a
level, the best price is at an end, and a change is one bisection.
"""

import enum
from bisect import bisect_left
from collections.abc import Iterator

from polybot.domain.errors import BookError
from polybot.domain.market import Outcome, Side
from polybot.domain.units import UNIT, Millis, Price, Shares


class BookState(enum.StrEnum):
    """VERIFIED: our best prices are the venue's own. UNVERIFIABLE: nothing to compare. CONTRADICTED: they differ."""

    VERIFIED = "verified"
    UNVERIFIABLE = "unverifiable"
    CONTRADICTED = "contradicted"


class Book:
    """Prices and sizes of one outcome. Changed only by its market state, once per event, before any desk looks."""

    __slots__ = ("ask_prices", "ask_sizes", "at", "bid_prices", "bid_sizes", "outcome", "received", "state")

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.bid_prices: list[Price] = []
        self.bid_sizes: list[Shares] = []
        self.ask_prices: list[Price] = []
        self.ask_sizes: list[Shares] = []
        self.state = BookState.UNVERIFIABLE
        self.at = Millis(0)
        self.received = Millis(0)

    @property
    def best_bid(self) -> Price | None:
        return self.bid_prices[-1] if self.bid_prices else None

    @property
    def best_ask(self) -> Price | None:
        return self.ask_prices[0] if self.ask_prices else None

    def replace(
        self,
        bids: tuple[list[Price], list[Shares]],
        asks: tuple[list[Price], list[Shares]],
        at: Millis,
        received: Millis,
    ) -> None:
        """Take over a full snapshot; the lists are (prices ascending, sizes) and belong to the book from here on.

        A snapshot is the venue's own word, so it verifies itself, unless it is crossed: no matching engine has that.
        """
        self.bid_prices, self.bid_sizes = bids
        self.ask_prices, self.ask_sizes = asks
        self.at, self.received = at, received
        crossed = bool(self.bid_prices and self.ask_prices and self.bid_prices[-1] >= self.ask_prices[0])
        self.state = BookState.CONTRADICTED if crossed else BookState.VERIFIED

    def change(self, side: Side, price: Price, size: Shares) -> None:
        """Set one level to its new absolute size; 0 removes it (polymarket.md 3.1). Raises BookError off the scale."""
        if not 0 < price < UNIT or size < 0:
            raise BookError(f"level {side} {price} x {size} cannot stand in a book; ask for a new snapshot")
        prices, sizes = (self.bid_prices, self.bid_sizes) if side is Side.BUY else (self.ask_prices, self.ask_sizes)
        index = bisect_left(prices, price)
        if index < len(prices) and prices[index] == price:
            if size:
                sizes[index] = size
            else:
                del prices[index], sizes[index]
        elif size:
            prices.insert(index, price)
            sizes.insert(index, size)

    def check(self, best_bid: Price | None, best_ask: Price | None) -> None:
        """Compare our top with the venue's own, served with every change. None means the venue served no such price.

        A contradicted book stays so until the next snapshot: agreeing at the top does not mend the levels beneath.
        """
        if self.state is BookState.CONTRADICTED:
            return
        if best_bid is None and best_ask is None:
            self.state = BookState.UNVERIFIABLE
            return
        agrees = (self.best_bid or 0) == (best_bid or 0) and (self.best_ask or UNIT) == (best_ask or UNIT)
        self.state = BookState.VERIFIED if agrees else BookState.CONTRADICTED

    def touch(self, at: Millis, received: Millis) -> None:
        """Remember when the venue last spoke about this book."""
        self.at, self.received = at, received

    def contradict(self) -> None:
        self.state = BookState.CONTRADICTED

    def size_at(self, side: Side, price: Price) -> Shares:
        """What stands on `side` at exactly `price`; 0 where nothing does."""
        prices, sizes = (self.bid_prices, self.bid_sizes) if side is Side.BUY else (self.ask_prices, self.ask_sizes)
        index = bisect_left(prices, price)
        return sizes[index] if index < len(prices) and prices[index] == price else Shares(0)

    def levels(self, side: Side) -> Iterator[tuple[Price, Shares]]:
        """The levels of `side`, best first."""
        if side is Side.BUY:
            return zip(reversed(self.bid_prices), reversed(self.bid_sizes), strict=True)
        return zip(self.ask_prices, self.ask_sizes, strict=True)

    def depth_within(self, side: Side, limit: Price) -> Shares:
        """Shares a taker could reach: asks at or below `limit`, or bids at or above it."""
        total = 0
        for price, size in self.levels(side):
            if (price > limit) if side is Side.SELL else (price < limit):
                break
            total += size
        return Shares(total)

    def mirrored(self) -> tuple[tuple[list[Price], list[Shares]], tuple[list[Price], list[Shares]]]:
        """This book seen from the other outcome: prices from 1, sides exchanged (polymarket.md 2.1)."""
        bids = ([Price(UNIT - p) for p in reversed(self.ask_prices)], self.ask_sizes[::-1])
        asks = ([Price(UNIT - p) for p in reversed(self.bid_prices)], self.bid_sizes[::-1])
        return bids, asks
