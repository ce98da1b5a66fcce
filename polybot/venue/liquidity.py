"""What a taker can still get from a recorded book, after what we have taken ourselves. Pure.

Up and Down are two views of one pool (polymarket.md 2.1), so liquidity is named by its place in Up's book: an ask at p
is `+p`, a bid at p is `-p`. What we took stays taken until the level has left the recorded book and come back: a
recording cannot know that we were there, and must not sell us the same shares twice.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from polybot.domain.book import Book, BookState
from polybot.domain.market import Outcome, Side
from polybot.domain.markets import MarketState
from polybot.domain.units import UNIT, Price, Shares, floor_to_lot


def place_of(outcome: Outcome, side: Side, price: Price) -> int:
    """Where an order of `side` on `outcome` at `price` stands in Up's book: +price as an ask, -price as a bid."""
    up_price = price if outcome is Outcome.UP else UNIT - price
    is_bid = (side is Side.BUY) == (outcome is Outcome.UP)
    return -up_price if is_bid else up_price


def size_standing(books: tuple[Book, Book], place: int) -> Shares:
    """What either outcome's book shows at a place, the larger of the two: they are one pool, but may lag each other."""
    price, is_bid = Price(abs(place)), place < 0
    up_size = books[Outcome.UP].size_at(Side.BUY if is_bid else Side.SELL, price)
    down_size = books[Outcome.DOWN].size_at(Side.SELL if is_bid else Side.BUY, Price(UNIT - price))
    return max(up_size, down_size)


def is_standing(books: tuple[Book, Book], place: int) -> bool:
    """Whether either outcome's book shows anything at a place; asked of every place we took from, at every event."""
    up, down = books
    if place < 0:
        return _holds(up.bid_prices, -place) or _holds(down.ask_prices, UNIT + place)
    return _holds(up.ask_prices, place) or _holds(down.bid_prices, UNIT - place)


def _holds(prices: Sequence[int], price: int) -> bool:
    index = bisect_left(prices, price)
    return index < len(prices) and prices[index] == price


class UsedLiquidity:
    """How much of each level of one market we have taken."""

    __slots__ = ("taken",)

    def __init__(self, taken: dict[int, Shares] | None = None) -> None:
        self.taken = taken if taken is not None else {}

    def take(self, place: int, shares: Shares) -> None:
        self.taken[place] = Shares(self.taken.get(place, 0) + shares)

    def left(self, place: int, size: Shares) -> Shares:
        return Shares(max(0, size - self.taken.get(place, 0)))

    def refresh(self, books: tuple[Book, Book]) -> None:
        """Forget levels that have gone from both outcomes' books: what comes back there is new."""
        for place in [place for place in self.taken if not is_standing(books, place)]:
            del self.taken[place]


def takeable(
    state: MarketState, used: UsedLiquidity, outcome: Outcome, side: Side, limit: Price
) -> Iterator[tuple[Price, Shares, int]]:
    """Levels an order of `side` on `outcome` may take within `limit`: (price, shares left, place), best first.

    In whole lots, so that every fill is an exact amount of money; the dust of a level is left behind. A contradicted
    book offers nothing: we do not know what stood there.
    """
    book = state.books[outcome]
    if book.state is BookState.CONTRADICTED:
        return
    opposite = Side.SELL if side is Side.BUY else Side.BUY
    for price, size in book.levels(opposite):
        if (price > limit) if side is Side.BUY else (price < limit):
            return
        place = place_of(outcome, opposite, price)
        left = floor_to_lot(used.left(place, size))
        if left:
            yield price, left, place
