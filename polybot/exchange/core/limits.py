"""Rate limits: token buckets for each signer, and a window for each endpoint (polymarket.md 6.7). Pure.

Per signer an order costs 1, a cancelled id 1, cancel-all and cancel-market 1 and what they cancelled, which may leave
the bucket in debt. The venue's edge delays what is over an endpoint's limit; here it is refused, which is harder.
"""

import msgspec

from polybot.domain.units import Millis
from polybot.exchange.core.model import Address


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens a second, and what a bucket holds."""

    name: str = "standard"
    orders_s: float = 40.0
    orders_burst: float = 60.0
    cancels_s: float = 80.0
    cancels_burst: float = 120.0


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What a bucket said: `retry_after_s` is 0 where the request may go on."""

    remaining: float
    reset_s: int
    tier: str
    retry_after_s: float = 0.0

    def headers(self) -> dict[str, str]:
        named = {
            "Poly-RateLimit-Remaining": f"{self.remaining:.0f}",
            "Poly-RateLimit-Reset": str(self.reset_s),
            "Poly-RateLimit-Tier": self.tier,
        }
        return {**named, "Retry-After": f"{max(1, round(self.retry_after_s))}"} if self.retry_after_s else named


class Bucket:
    """Fills with time, up to its burst; may be in debt."""

    __slots__ = ("_at", "tokens")

    def __init__(self, burst: float, now: Millis) -> None:
        self.tokens, self._at = burst, now

    def fill(self, rate_s: float, burst: float, now: Millis) -> None:
        self.tokens = min(burst, self.tokens + rate_s * max(0, now - self._at) / 1000)
        self._at = now


ENDPOINTS_10S = {
    "GET /book": 1_500,
    "GET /price": 1_500,
    "GET /midpoint": 1_500,
    "POST /books": 500,
    "POST /prices": 500,
    "POST /midpoints": 500,
    "GET /tick-size": 200,
    "GET /balance-allowance": 200,
    "GET /balance-allowance/update": 50,
    "GET /data/orders": 500,
    "GET /data/trades": 500,
    "POST /auth/api-key": 100,
    "GET /auth/derive-api-key": 100,
    "POST /order": 5_000,
    "DELETE /order": 5_000,
    "POST /orders": 2_000,
    "DELETE /orders": 2_000,
    "DELETE /cancel-all": 250,
    "DELETE /cancel-market-orders": 1_500,
    "gamma GET /events": 500,
    "gamma GET /markets": 300,
    "data GET /v2/trades": 300,
    "data GET /v2/positions": 200,
}
WINDOW_MS = 10_000


class RateLimits:
    """`enforced` off: buckets are reported and nobody is refused (the venue's warning mode)."""

    def __init__(self) -> None:
        self.tier = Tier()
        self.enforced = True
        self.endpoints = dict(ENDPOINTS_10S)
        self._buckets: dict[tuple[Address, bool], Bucket] = {}
        self._windows: dict[str, tuple[Millis, int]] = {}

    def spend(self, signer: Address, cost: float, now: Millis, *, cancels: bool) -> Allowance:
        """Take `cost` tokens of the order or cancel bucket; a cost above the burst can never pass."""
        bucket = self._bucket(signer, cancels, now)
        rate = self.tier.cancels_s if cancels else self.tier.orders_s
        if self.enforced and bucket.tokens < cost:
            wait = (cost - bucket.tokens) / rate
            return self._allowance(bucket, now, wait)
        bucket.tokens -= cost
        return self._allowance(bucket, now, 0.0)

    def owe(self, signer: Address, cost: float, now: Millis) -> Allowance:
        """Charge what a cancel-all turned out to cost."""
        bucket = self._bucket(signer, True, now)
        bucket.tokens -= cost
        return self._allowance(bucket, now, 0.0)

    def too_many(self, endpoint: str, now: Millis) -> bool:
        """Count a request to an endpoint; True when it is over the endpoint's ten-second limit."""
        limit = self.endpoints.get(endpoint)
        if limit is None:
            return False
        since, count = self._windows.get(endpoint, (now, 0))
        if now - since >= WINDOW_MS:
            since, count = now, 0
        self._windows[endpoint] = (since, count + 1)
        return count >= limit

    def _bucket(self, signer: Address, cancels: bool, now: Millis) -> Bucket:
        rate, burst = (
            (self.tier.cancels_s, self.tier.cancels_burst) if cancels else (self.tier.orders_s, self.tier.orders_burst)
        )
        bucket = self._buckets.setdefault((signer, cancels), Bucket(burst, now))
        bucket.fill(rate, burst, now)
        return bucket

    def _allowance(self, bucket: Bucket, now: Millis, wait_s: float) -> Allowance:
        reset = int(now / 1000 + wait_s) + 1
        return Allowance(remaining=bucket.tokens, reset_s=reset, tier=self.tier.name, retry_after_s=wait_s)
