"""One market's depth: the recorded crowd's levels and our clients' orders in one book, seen from Up. Pure.

The tape's sizes are absolute and know nothing of what we took, so what was taken from a level stays taken until the
level has left the tape: nobody is sold the same shares twice. A client's order stands behind the crowd that was there
before it; the crowd that came later stands behind the order, and a shrinking level shrinks from behind, until it is no
longer than what stood ahead.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator

from polybot.domain.market import Side
from polybot.domain.units import Price, Shares
from polybot.exchange.core.model import OrderHash


class Resting:
    """A client's order in the queue: what is left of it, and how much of the crowd is served before it."""

    __slots__ = ("ahead", "left", "order")

    def __init__(self, order: OrderHash, left: Shares, ahead: Shares) -> None:
        self.order, self.left, self.ahead = order, left, ahead


class Level:
    """`tape`: the crowd's recorded size; `taken`: what clients had of it; `queue`: clients' orders, oldest first."""

    __slots__ = ("queue", "taken", "tape")

    def __init__(self) -> None:
        self.tape = Shares(0)
        self.taken = Shares(0)
        self.queue: list[Resting] = []

    @property
    def crowd(self) -> Shares:
        """What the crowd still offers here."""
        return Shares(max(0, self.tape - self.taken))

    @property
    def shows(self) -> bool:
        """Whether anything is on offer; an order that is in the queue has something left."""
        return bool(self.queue) or self.tape > self.taken

    @property
    def size(self) -> Shares:
        if not self.queue:
            return self.crowd
        return Shares(self.crowd + sum(resting.left for resting in self.queue))

    def record(self, size: Shares) -> None:
        """The tape's new size. A level that is gone comes back fresh."""
        self.tape = size
        if not size:
            self.taken = Shares(0)
        crowd = self.crowd
        for resting in self.queue:
            resting.ahead = min(resting.ahead, crowd)

    def offers(self) -> Iterator[tuple[Resting | None, Shares]]:
        """Who is served here and how much, in order of time: an order, or None for the crowd. Look, don't touch."""
        crowd, served = self.crowd, 0
        for resting in self.queue:
            if resting.ahead > served:
                yield None, Shares(resting.ahead - served)
                served = resting.ahead
            yield resting, resting.left
        if crowd > served:
            yield None, Shares(crowd - served)

    def take_crowd(self, shares: int) -> None:
        """The crowd has sold, or bought, so much of its size to a client."""
        self.taken = Shares(self.taken + shares)
        self.pass_crowd(shares)

    def pass_crowd(self, shares: int) -> None:
        """So much of the crowd ahead of everybody's orders is gone."""
        for resting in self.queue:
            resting.ahead = Shares(max(0, resting.ahead - shares))


class BookSide:
    """One side of Up's book: levels by price, the prices kept sorted."""

    __slots__ = ("_prices", "is_bid", "levels")

    def __init__(self, is_bid: bool) -> None:
        self.is_bid = is_bid
        self.levels: dict[Price, Level] = {}
        self._prices: list[Price] = []

    @property
    def side(self) -> Side:
        return Side.BUY if self.is_bid else Side.SELL

    def level(self, price: Price) -> Level:
        """The level, made where there is none; `tidy` it after use."""
        known = self.levels.get(price)
        if known is None:
            known = self.levels[price] = Level()
            insort(self._prices, price)
        return known

    def tidy(self, price: Price) -> None:
        """Forget a level that holds nothing. A taken-out level of the tape stays, for what was taken from it."""
        level = self.levels.get(price)
        if level is not None and not level.tape and not level.queue:
            del self.levels[price], self._prices[bisect_left(self._prices, price)]

    def best_first(self) -> list[Price]:
        """The prices that show a size, best first."""
        prices = reversed(self._prices) if self.is_bid else iter(self._prices)
        return [price for price in prices if self.levels[price].shows]

    @property
    def best(self) -> Price | None:
        prices = reversed(self._prices) if self.is_bid else iter(self._prices)
        return next((price for price in prices if self.levels[price].shows), None)

    def size_at(self, price: Price) -> Shares:
        level = self.levels.get(price)
        return Shares(0) if level is None else level.size

    def reaches(self, limit: Price, price: Price) -> bool:
        """Whether somebody who trades with this side at `limit` gets to `price`."""
        return price >= limit if self.is_bid else price <= limit


class Pool:
    """Both sides, and the top as it was last announced."""

    __slots__ = ("asks", "bids", "shown_top")

    def __init__(self) -> None:
        self.bids, self.asks = BookSide(is_bid=True), BookSide(is_bid=False)
        self.shown_top: tuple[Price | None, Price | None] = (None, None)

    def of(self, is_bid: bool) -> BookSide:
        return self.bids if is_bid else self.asks

    @property
    def top(self) -> tuple[Price | None, Price | None]:
        return self.bids.best, self.asks.best

    @property
    def twice_mid(self) -> int | None:
        bid, ask = self.top
        return None if bid is None or ask is None else bid + ask
