"""What stands in one market's two books, and how it moves: the market makers of the simulated venue.

Up and Down are one pool seen from two sides (polymarket.md 2.1), so one ladder is kept, in cents, and every change is
told for both outcomes. The book is never crossed, and always has both sides.
"""

from collections import deque
from random import Random

from polybot.domain.events import BookReplaced, LevelChange
from polybot.domain.ids import MarketId
from polybot.domain.market import Outcome, Side
from polybot.domain.units import UNIT, Millis, Price, Shares

CENT = 10_000
CENTS = 100
SIZE_MIN, SIZE_MAX = 20, 500
LEFT_MIN = 5 * UNIT
"""A taker leaves so much of the best level, so that a side is never empty."""
LEVELS_MIN, LEVELS, LEVELS_MAX = 4, 6, 8
"""A side with fewer levels is filled up to the middle number, one with more is cut to it; between, nothing is told."""
TOPS_KEPT = 128
"""Best prices that are remembered. In a burst they move twelve times a second at most, so these are ten seconds."""
UP, DOWN, BUY, SELL = Outcome.UP, Outcome.DOWN, Side.BUY, Side.SELL

Top = tuple[Price | None, Price | None]
"""Best bid and best ask."""
Moved = list[tuple[bool, int, int]]
"""Levels that changed: whether it is a bid of Up, its cents, its new size."""


class LadderSide:
    """One side of Up's book: `sizes[i]` stands `i` cents behind the best price, and no cent is left out."""

    __slots__ = ("best", "is_bid", "sign", "sizes")

    def __init__(self, best: int, rng: Random, *, is_bid: bool) -> None:
        self.best, self.is_bid = best, is_bid
        self.sign = 1 if is_bid else -1
        self.sizes = [_size(rng) for _ in range(LEVELS)]

    def move(self, best: int, moved: Moved, rng: Random) -> None:
        """Quote `best` from now on: levels come before the present best one, or go."""
        is_bid, sign, sizes = self.is_bid, self.sign, self.sizes
        nearer = (best - self.best) * sign
        if nearer > 0:
            front = [_size(rng) for _ in range(nearer)]
            moved += [(is_bid, best - sign * place, size) for place, size in enumerate(front)]
            sizes[:0] = front
        else:
            moved += [(is_bid, self.best - sign * place, 0) for place in range(min(-nearer, len(sizes)))]
            del sizes[:-nearer]
        self.best = best
        if len(sizes) < LEVELS_MIN:
            for place in range(len(sizes), min(LEVELS, best if is_bid else CENTS - best)):
                sizes.append(_size(rng))
                moved.append((is_bid, best - sign * place, sizes[-1]))
        elif len(sizes) > LEVELS_MAX:
            moved += [(is_bid, best - sign * place, 0) for place in range(LEVELS, len(sizes))]
            del sizes[LEVELS:]

    def resize(self, moved: Moved, rng: Random) -> None:
        """Some level's size changes."""
        place = int(rng.random() * len(self.sizes))
        self.sizes[place] = _size(rng)
        moved.append((self.is_bid, self.best - self.sign * place, self.sizes[place]))


class Ladder:
    """Both sides of one market."""

    __slots__ = ("asks", "bids", "market", "tops")

    def __init__(self, market: MarketId, rng: Random) -> None:
        self.market = market
        self.bids, self.asks = LadderSide(49, rng, is_bid=True), LadderSide(51, rng, is_bid=False)
        self.tops: deque[tuple[int, int, int]] = deque([(0, 49, 51)], TOPS_KEPT)
        """(since when, best bid of Up, best ask of Up, in cents), the newest last."""

    def aim(self, fair: int, spread: int, rng: Random, at: Millis) -> list[LevelChange]:
        """Quote around `fair` (millionths) with a spread in cents; a level's size changes where nothing moves."""
        bid = min(max((fair - (spread - 1) * CENT // 2) // CENT, 1), CENTS - 2)
        ask = min(bid + spread, CENTS - 1)
        moved: Moved = []
        if bid != self.bids.best:
            self.bids.move(bid, moved, rng)
        if ask != self.asks.best:
            self.asks.move(ask, moved, rng)
        if moved:
            self.tops.append((at, bid, ask))
        else:
            (self.bids if rng.random() < 0.5 else self.asks).resize(moved, rng)
        return self._told(moved)

    def take(self, wanted: int, *, buys: bool) -> tuple[int, list[LevelChange]]:
        """A taker of Up buys from the asks, or sells to the bids, up to so much of the best level: what he took."""
        side = self.asks if buys else self.bids
        taken = min(wanted, side.sizes[0] - LEFT_MIN)
        if taken <= 0:
            return 0, []
        side.sizes[0] -= taken
        return taken, self._told([(side.is_bid, side.best, side.sizes[0])])

    def snapshot(self, outcome: Outcome, at: Millis) -> BookReplaced:
        """The whole book of one outcome as it stands."""
        bid, ask = self.bids.best, self.asks.best
        bids = [Price(p * CENT) for p in range(bid - len(self.bids.sizes) + 1, bid + 1)]
        asks = [Price(p * CENT) for p in range(ask, ask + len(self.asks.sizes))]
        bid_sizes = [Shares(size) for size in reversed(self.bids.sizes)]
        ask_sizes = [Shares(size) for size in self.asks.sizes]
        if outcome is UP:
            return BookReplaced(at, at, self.market, UP, bids, bid_sizes, asks, ask_sizes)
        from_asks = [Price(UNIT - price) for price in reversed(asks)]
        from_bids = [Price(UNIT - price) for price in reversed(bids)]
        return BookReplaced(at, at, self.market, DOWN, from_asks, ask_sizes[::-1], from_bids, bid_sizes[::-1])

    def shown(self, outcome: Outcome, since: int, until: int) -> set[Top] | None:
        """Every pair of best prices that stood at some moment from `since` to `until`; None where that is forgotten."""
        found: set[Top] = set()
        for at, bid, ask in reversed(self.tops):
            if at > until:
                continue
            prices = Price(bid * CENT), Price(ask * CENT)
            found.add(prices if outcome is UP else (Price(UNIT - prices[1]), Price(UNIT - prices[0])))
            if at <= since:
                return found
        return None

    def _told(self, moved: Moved) -> list[LevelChange]:
        bid, ask = Price(self.bids.best * CENT), Price(self.asks.best * CENT)
        down_bid, down_ask = Price(UNIT - ask), Price(UNIT - bid)
        told: list[LevelChange] = []
        for is_bid, cents, size in moved:
            price, side, other = Price(cents * CENT), BUY if is_bid else SELL, SELL if is_bid else BUY
            told.append(LevelChange(UP, side, price, Shares(size), bid, ask))
            told.append(LevelChange(DOWN, other, Price(UNIT - price), Shares(size), down_bid, down_ask))
        return told


def _size(rng: Random) -> int:
    """Mostly small, now and then large; in whole shares."""
    part = rng.random()
    return (SIZE_MIN + int((SIZE_MAX - SIZE_MIN) * part * part * part)) * UNIT
