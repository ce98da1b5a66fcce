"""Where a resting order stands in the queue of its price, as far as a recording can tell. Pure.

Assumptions, written down because they decide maker profits (docs/paper-trading.md):
* a new order joins behind everything the recording shows at its price;
* a trade at that price takes from the front: first those ahead of us, then us;
* a size that falls without a trade was cancelled, evenly over the queue, so those ahead shrink by their share;
* a match is recorded twice, as a trade and as a smaller level, in either order and within a second: it counts once;
* a trade beyond our price, or the other side standing at or through it, means the queue ahead is gone.
"""

import msgspec

from polybot.domain.ids import OrderId
from polybot.domain.units import Millis, Shares

PAIRING_MS_MAX = 1_000
"""A trade may still explain a fall of its level seen so long before it: the feed promises no order of the two."""


class Resting(msgspec.Struct, kw_only=True):
    """An order in the book. `place` is its level in Up's book, `level` the recorded size there when last looked at,
    `ahead` how much of that is before us, `traded` what trades took that the level has not shown yet, `fallen` how far
    the level fell without a trade, `advanced` how far that moved us up, `fell_at` when. `blind`: it rests since a
    moment at which nobody could tell whether it crossed the book."""

    order: OrderId
    place: int
    left: Shares
    ahead: Shares
    level: Shares
    traded: Shares = Shares(0)
    fallen: Shares = Shares(0)
    advanced: Shares = Shares(0)
    fell_at: Millis = Millis(0)
    blind: bool = False

    def see_level(self, size: Shares, now: Millis) -> None:
        """The recording shows `size` at our price now."""
        if self.blind:
            self.ahead = max(self.ahead, size)
        fell = max(0, self.level - size)
        explained = min(fell, self.traded)
        self.traded = Shares(self.traded - explained)
        if fell > explained:
            self._cancelled(Shares(fell - explained), Shares(self.level - explained), size, now)
        self.level, self.ahead = size, min(self.ahead, size)

    def see_trade(self, size: Shares, hit: Shares, now: Millis) -> Shares:
        """`size` traded at our price, `hit` of it left by our own better orders; what got past those ahead of us."""
        if now - self.fell_at > PAIRING_MS_MAX:
            self.fallen = self.advanced = Shares(0)
        shown = min(size, self.fallen)
        if shown:  # this trade is what the level fell by: nobody had cancelled, so we had not moved up
            undone = -(-self.advanced * shown // self.fallen)
            self.ahead = Shares(self.ahead + undone)
            self.fallen, self.advanced = Shares(self.fallen - shown), Shares(self.advanced - undone)
        self.traded = Shares(self.traded + size - shown)
        reached = Shares(max(0, hit - self.ahead))
        self.ahead = Shares(max(0, self.ahead - hit))
        return reached

    def _cancelled(self, gone: Shares, queue: Shares, size: Shares, now: Millis) -> None:
        """`gone` of a `queue` that is `size` long now went without a trade."""
        if now - self.fell_at > PAIRING_MS_MAX:
            self.fallen = self.advanced = Shares(0)
        ahead = min(self.ahead - self.ahead * gone // queue, size)
        self.advanced = Shares(self.advanced + self.ahead - ahead)
        self.fallen, self.fell_at = Shares(self.fallen + gone), now
        self.ahead = Shares(ahead)
