"""Where a resting order stands in the queue of its price, as far as a recording can tell. Pure.

Assumptions, written down because they decide maker profits (docs/paper-trading.md):
* a new order joins behind everything the recording shows at its price;
* a trade at that price takes from the front: first those ahead of us, then us;
* a size that falls without a trade was cancelled, evenly over the queue, so those ahead shrink by their share;
* a trade beyond our price, or the other side standing at or through it, means the queue ahead is gone.
"""

import msgspec

from polybot.domain.ids import OrderId
from polybot.domain.units import Shares


class Resting(msgspec.Struct, kw_only=True):
    """An order in the book. `place` is its level in Up's book, `level` the recorded size there when last looked at,
    `ahead` how much of that is before us, `traded` what trades took since then."""

    order: OrderId
    place: int
    left: Shares
    ahead: Shares
    level: Shares
    traded: Shares = Shares(0)

    def see_level(self, size: Shares) -> None:
        """The recording shows `size` at our price now."""
        fell = self.level - size
        if fell > 0:
            cancelled = max(0, fell - self.traded)
            if cancelled and self.level:
                self.ahead = Shares(self.ahead - self.ahead * cancelled // self.level)
        self.level, self.traded = size, Shares(max(0, self.traded - max(0, fell)))
        self.ahead = min(self.ahead, size)

    def see_trade(self, size: Shares) -> Shares:
        """`size` traded at our price; what of it got past those ahead of us."""
        self.traded = Shares(self.traded + size)
        reached = Shares(max(0, size - self.ahead))
        self.ahead = Shares(max(0, self.ahead - size))
        return reached
