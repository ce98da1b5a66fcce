"""What a taker can still get from a recorded book, after what we have taken ourselves. Pure.

Up and Down are two views of one pool (polymarket.md 2.1), so liquidity is named by its place in Up's book: an ask at p
is `+p`, a bid at p is `-p`. What we took stays taken until the level has left the recorded book and come back: a
recording cannot know that we were there, and must not sell us the same shares twice.
"""

from collections.abc import Iterator

from polybot.domain.book import Book, BookState
from polybot.domain.market import Outcome, Side
from polybot.domain.markets import MarketState
from polybot.domain.units import UNIT, Price, Shares


def place_of(outcome: Outcome, side: Side, price: Price) -> int:
    """Where an order of `side` on `outcome` at `price` stands in Up's book: +price as an ask, -price as a bid."""
    up_price = price if outcome is Outcome.UP else UNIT - price
    is_bid = (side is Side.BUY) == (outcome is Outcome.UP)
    return -up_price if is_bid else up_price


class UsedLiquidity:
    """How much of each level of one market we have taken."""

    __slots__ = ("taken",)

    def __init__(self, taken: dict[int, Shares] | None = None) -> None:
        self.taken = taken if taken is not None else {}

    def take(self, place: int, shares: Shares) -> None:
        self.taken[place] = Shares(self.taken.get(place, 0) + shares)

    def left(self, place: int, size: Shares) -> Shares:
        return Shares(max(0, size - self.taken.get(place, 0)))

    def refresh(self, up: Book) -> None:
        """Forget levels that have gone from Up's book: what comes back there is new."""
        for place in [p for p in self.taken if not up.size_at(Side.SELL if p > 0 else Side.BUY, Price(abs(p)))]:
            del self.taken[place]


def takeable(
    state: MarketState, used: UsedLiquidity, outcome: Outcome, side: Side, limit: Price
) -> Iterator[tuple[Price, Shares, int]]:
    """Levels an order of `side` on `outcome` may take within `limit`: (price, shares left, place), best first.

    A contradicted book offers nothing: we do not know what stood there.
    """
    book = state.books[outcome]
    if book.state is BookState.CONTRADICTED:
        return
    opposite = Side.SELL if side is Side.BUY else Side.BUY
    for price, size in book.levels(opposite):
        if (price > limit) if side is Side.BUY else (price < limit):
            return
        place = place_of(outcome, opposite, price)
        left = used.left(place, size)
        if left:
            yield price, left, place
