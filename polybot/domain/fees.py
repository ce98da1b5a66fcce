"""The venue's fee: a small formula whose numbers come from the market itself, never from here (polymarket.md 5.5)."""

import hashlib

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.units import UNIT, Money, Price, Shares, notional_ceil

FEE_STEP = 10
"""Fees are rounded down to 5 decimals of a pUSD, to nothing where there is less: "anything smaller rounds to zero"
(D:trading/fees), and so they were charged on chain (tests/domain/test_chain_fills.py)."""
FEE_EXPONENT_MAX = 4
SCALES = tuple(UNIT ** (1 + 2 * exponent) for exponent in range(FEE_EXPONENT_MAX + 1))
"""What a fee's numerator is in units of, by exponent."""
WALK_LEVELS_MAX = 100
"""A taker order is filled from at most this many price levels, which bounds what fee rounding can add up to."""


class FeeSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """A market's `feeSchedule`: fee = shares * rate * (p * (1 - p)) ** exponent, in pUSD, takers only.

    `rate` and `rebate_rate` are in millionths (70_000 is 0.07). Source: D:trading/fees, checked on chain (R2).
    """

    rate: int
    exponent: int = 1
    taker_only: bool = True
    rebate_rate: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= UNIT or not 0 <= self.rebate_rate <= UNIT:
            raise BadInput(f"a fee or rebate rate lies between 0 and 1, not {self.rate}/{self.rebate_rate} millionths")
        if not 1 <= self.exponent <= FEE_EXPONENT_MAX:
            raise BadInput(f"fee exponent {self.exponent} is unknown; pause this market until it is understood")

    def taker_fee(self, price: Price, shares: Shares) -> Money:
        """What the taker pays for `shares` at `price`: rounded down to 5 decimals."""
        if self.rate == 0:
            return Money(0)
        variance = (price * (UNIT - price)) ** self.exponent
        scale = SCALES[self.exponent]
        return Money(shares * self.rate * variance // (scale * FEE_STEP) * FEE_STEP)

    def rebate_basis(self, price: Price, shares: Shares) -> Money:
        """The fee-equivalent a maker fill counts with in the rebate pool (polymarket.md 5.5); paid by nobody here."""
        return self.taker_fee(price, shares)

    def buy_cost_max(self, limit: Price, shares: Shares) -> Money:
        """The most a BUY of `shares` at or below `limit` can cost, fee and every rounding included.

        Cost per share p + rate * (p(1-p))^e rises with p for any rate up to 1, so the limit is the worst price. Whether
        the venue rounds the fee of each level walked, or their sum, was not seen: a step for each suffices either way.
        """
        if self.rate == 0:
            return notional_ceil(limit, shares)
        return Money(notional_ceil(limit, shares) + self.taker_fee(limit, shares) + FEE_STEP * WALK_LEVELS_MAX)

    @property
    def fingerprint(self) -> str:
        """A short stable name of these terms, kept with every order as its proof of the fee it reckoned with."""
        text = f"{self.rate}:{self.exponent}:{int(self.taker_only)}:{self.rebate_rate}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]


NO_FEES = FeeSchedule(rate=0)
