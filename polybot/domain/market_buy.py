"""What a market BUY gives: pUSD, and the shares it wants for them at least. Pure.

The venue spends the money of a FOK or FAK BUY whatever the price (polymarket.md 6.1). What such an order may cost and
when it is whole follows from that, for the venue that sends it and for whoever checks its fills.
"""

import msgspec

from polybot.domain.order import OrderIntent
from polybot.domain.units import UNIT, Money, Price, Shares, notional_ceil, notional_floor

CENT = 10_000
TAKER_STEP = 100
"""A FOK or FAK order's maker amount has at most 2 decimals and its taker amount 4 (polymarket.md 6.2)."""


class MarketBuy(msgspec.Struct, frozen=True, kw_only=True):
    """`shares` are what `money` buys at the limit; at a better price it buys more. Either may be 0: nothing to send."""

    money: Money
    shares: Shares


def market_buy_of(intent: OrderIntent) -> MarketBuy:
    """The amounts of a FOK or FAK BUY; nothing where limit or size are none.

    The money is reckoned at the best offer that was seen, so that hardly more shares come than were meant, and is never
    more than is reserved. The shares follow from money and limit, rounded down: rounded up, the implied price would
    fall a hair short of the limit and never meet an offer that stands exactly there.
    """
    if not 0 < intent.limit < UNIT or intent.shares <= 0:
        return MarketBuy(money=Money(0), shares=Shares(0))
    seen = intent.proof.best_ask
    reckoned = Price(min(intent.limit, seen)) if seen is not None else intent.limit
    money = _floor(min(notional_floor(reckoned, intent.shares), _affordable(intent)), CENT)
    return MarketBuy(money=Money(money), shares=Shares(_floor(money * UNIT // intent.limit, TAKER_STEP)))


def _affordable(intent: OrderIntent) -> int:
    """The most pUSD that cost no more than was reserved, fee included, however good the price.

    For S pUSD the fee is S * rate * (1 - p): it grows as the price falls, to 1 / (1 - limit) times what it is at the
    limit, which is the fee that was reserved.
    """
    at_limit = notional_ceil(intent.limit, intent.shares)
    fee_reserved = max(0, intent.cost_max - at_limit)
    worst = at_limit - (-fee_reserved * UNIT // (UNIT - intent.limit))
    return intent.cost_max * at_limit // worst


def _floor(amount: int, step: int) -> int:
    return amount - amount % step
