"""How many orders and cancels may be sent: token buckets as the venue keeps them, per signer (polymarket.md 6.7). Pure.

The lowest tier is assumed, whichever is ours: a floor sends far fewer. Times are monotonic seconds, from the caller.
"""

import msgspec


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """Orders and cancels a second, and how many at once."""

    orders: int
    orders_burst: int
    cancels: int
    cancels_burst: int


STANDARD = Tier(orders=40, orders_burst=60, cancels=80, cancels_burst=120)


class Bucket:
    """`rate` tokens a second, `burst` at most; `take` says how long to wait before the token is really there."""

    __slots__ = ("_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst = rate, burst
        self._tokens, self._at = burst, 0.0

    def wait_s(self, now_s: float) -> float:
        """Seconds until one may be taken; nothing is taken."""
        self._fill(now_s)
        return max(0.0, (1 - self._tokens) / self.rate)

    def take(self, now_s: float, tokens: float = 1) -> None:
        """Take them, into debt if need be: whoever waits has reserved his place by it."""
        self._fill(now_s)
        self._tokens -= tokens

    def empty_until(self, now_s: float, until_s: float) -> None:
        """The venue has said that nothing is left before `until_s`."""
        self._fill(now_s)
        self._tokens = min(self._tokens, 1 - self.rate * max(0.0, until_s - now_s))

    def _fill(self, now_s: float) -> None:
        if now_s > self._at:
            self._tokens = min(self.burst, self._tokens + self.rate * (now_s - self._at))
            self._at = now_s


class Pace:
    """Both buckets of one signer."""

    __slots__ = ("cancels", "orders")

    def __init__(self, tier: Tier = STANDARD) -> None:
        self.orders = Bucket(tier.orders, tier.orders_burst)
        self.cancels = Bucket(tier.cancels, tier.cancels_burst)
