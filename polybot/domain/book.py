"""One outcome's order book: what stands where, and how far it can be trusted (design.md D4).

Three times are kept. `received` is when the venue last spoke of the book. `at` is the venue's own date of the last
change we know of; it never goes back. `as_of` is the moment up to which the book is known to be the venue's: no later
than either of the two, save where we asked for it anew, as the answer cannot be older than the asking. The data's age
is reckoned from `as_of`: a venue that repeats itself, or speaks late, does not make old prices look fresh.

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
    """VERIFIED: our best prices are the venue's own. UNVERIFIABLE: nothing to compare. CONTRADICTED: they differ.

    A contradicted or doubted book stays so until the next snapshot: agreeing at the top does not mend what is beneath.
    """

    VERIFIED = "verified"
    UNVERIFIABLE = "unverifiable"
    CONTRADICTED = "contradicted"


BUY, VERIFIED = Side.BUY, BookState.VERIFIED
"""By their names alone: to ask an enumeration for a member takes longer than to set a level (Python 3.11, measured)."""


class Book:
    """Prices and sizes of one outcome. Changed only by its market state, once per event, before any desk looks."""

    __slots__ = (
        "as_of",
        "ask_prices",
        "ask_sizes",
        "asked_at",
        "at",
        "bid_prices",
        "bid_sizes",
        "needs_snapshot",
        "outcome",
        "received",
        "snapshot_at",
        "state",
        "stood",
    )

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.bid_prices: list[Price] = []
        self.bid_sizes: list[Shares] = []
        self.ask_prices: list[Price] = []
        self.ask_sizes: list[Shares] = []
        self.state = BookState.UNVERIFIABLE
        self.needs_snapshot = False
        self.at = Millis(0)
        self.received = Millis(0)
        self.as_of = Millis(0)
        self.snapshot_at = Millis(0)
        self.asked_at: Millis | None = None
        self.stood = False

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

        A snapshot is the venue's own word, so it verifies itself, unless it is crossed: no matching engine has that. It
        is dated with its last change, which may be long ago in a quiet market (recorded: up to 20 minutes, in markets a
        day before their window), so as an answer it is as fresh as our question, and otherwise as its date.
        """
        self.bid_prices, self.bid_sizes = bids
        self.ask_prices, self.ask_sizes = asks
        known = min(at, received) if self.asked_at is None else max(self.asked_at, min(at, received))
        self.as_of = max(known, self.as_of) if at == self.at else known
        self.at = self.snapshot_at = at
        self.received = received
        self.asked_at, self.stood = None, False
        crossed = bool(self.bid_prices and self.ask_prices and self.bid_prices[-1] >= self.ask_prices[0])
        self.state = BookState.CONTRADICTED if crossed else BookState.VERIFIED
        self.needs_snapshot = crossed

    def change(self, side: Side, price: Price, size: Shares) -> None:
        """Set one level to its new absolute size; 0 removes it (polymarket.md 3.1). Raises BookError off the scale."""
        if not 0 < price < UNIT or size < 0:
            raise BookError(f"level {side} {price} x {size} cannot stand in a book; ask for a new snapshot")
        prices, sizes = (self.bid_prices, self.bid_sizes) if side is BUY else (self.ask_prices, self.ask_sizes)
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

        Of no use for a book that waits for a snapshot.
        """
        if self.needs_snapshot:
            return
        if best_bid is None and best_ask is None:
            self.state = BookState.UNVERIFIABLE
            return
        bids, asks = self.bid_prices, self.ask_prices
        if (bids[-1] if bids else 0) == (best_bid or 0) and (asks[0] if asks else UNIT) == (best_ask or UNIT):
            self.state = VERIFIED
        else:
            self.contradict()

    def touch(self, at: Millis, received: Millis) -> None:
        """Remember a change: the book is known as of its date, and no fresher if it reached us late."""
        self.at, self.received = at, received
        self.as_of = min(received, at)

    def contradict(self) -> None:
        self.state, self.needs_snapshot, self.stood = BookState.CONTRADICTED, True, False

    def doubt(self) -> None:
        """Not known to be wrong, but not to be traded on before the next snapshot."""
        self.needs_snapshot, self.stood = True, False
        if self.state is BookState.VERIFIED:
            self.state = BookState.UNVERIFIABLE

    def hold_back(self) -> None:
        """A snapshot that is only believed when the next change agrees with it."""
        if self.state is BookState.VERIFIED:
            self.state = BookState.UNVERIFIABLE

    def ask(self, at: Millis) -> None:
        """A snapshot was asked for at `at`, and nothing counts before it. `stood`: until then the book was verified.

        Asked again before there was an answer, what comes may be the answer to the first question, and is no fresher.
        """
        stood = self.stood or self.state is BookState.VERIFIED
        self.doubt()
        self.asked_at, self.stood = at if self.asked_at is None else self.asked_at, stood

    def age_ms(self, now: Millis) -> int:
        """How long ago the book was known to be the venue's own; 0 for one newer than the question."""
        return max(0, now - self.as_of)

    def same_levels(self, bids: tuple[list[Price], list[Shares]], asks: tuple[list[Price], list[Shares]]) -> bool:
        return (self.bid_prices, self.bid_sizes) == bids and (self.ask_prices, self.ask_sizes) == asks

    def reflect(self, other: "Book") -> None:
        """Become the mirror image of the other outcome's book, with all that is known of it."""
        (self.bid_prices, self.bid_sizes), (self.ask_prices, self.ask_sizes) = other.mirrored()
        self.state, self.needs_snapshot, self.asked_at = other.state, other.needs_snapshot, other.asked_at
        self.at, self.received, self.as_of, self.snapshot_at = other.at, other.received, other.as_of, other.snapshot_at

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
