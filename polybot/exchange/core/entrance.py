"""What the venue checks before it takes an order, in the venue's own words (polymarket.md 5.4, 6.1, 6.5). Pure."""

import msgspec

from polybot.domain.ids import TokenId
from polybot.domain.market import Outcome, Side
from polybot.domain.order import TimeInForce
from polybot.domain.units import (
    LOT,
    UNIT,
    Millis,
    Money,
    Price,
    Shares,
    ceil_to_tick,
    floor_to_tick,
    format_units,
    notional_floor,
)
from polybot.exchange.core.model import Listing, NewOrder, Order, Refused

GTD_AHEAD_S = 180
"""A GTD order's `expiration` must be this far ahead ..."""
GTD_EARLY_MS = 60_000
"""... and the order dies this long before it (polymarket.md 6.1)."""
MARKETABLE_BUY_MIN = UNIT
CENT, TENTH_OF_CENT = 10_000, 100
"""Market orders: `makerAmount` has at most 2 decimals and `takerAmount` 4, whatever the tick (polymarket.md 6.2)."""
PAYLOAD = Refused(text="Invalid order payload")
NO_ORDERBOOK = Refused(text="No orderbook exists for the requested token id", status=404)
NOT_READY = Refused(text="the market is not yet ready to process new orders")
NO_BALANCE = Refused(text="not enough balance / allowance")
NO_ALLOWANCE = Refused(text="not enough balance / allowance: the allowance is not enough")
EXPIRATION = Refused(text="invalid expiration")
CROSSES = Refused(text="invalid post-only order: order crosses book")
FOK_KILLED = Refused(text="order couldn't be fully filled. FOK orders are fully filled or killed.")
FAK_KILLED = Refused(
    text="no orders found to match with FAK order. FAK orders are partially filled or killed if no match is found."
)


def duplicated(new: NewOrder) -> Refused:
    return Refused(text=f"order {new.id} is invalid. Duplicated.")


def order_of(new: NewOrder, listing: Listing, tick: Price, now: Millis) -> Order | Refused:
    """The order in the engine's terms, its price read from its amounts, or why it cannot be one.

    Whether it may trade at once, and whether it is paid for, are asked of the book and the account afterwards.
    """
    if new.maker_amount <= 0 or new.taker_amount <= 0:
        return PAYLOAD
    pays, shares = (
        (new.maker_amount, new.taker_amount) if new.side is Side.BUY else (new.taker_amount, new.maker_amount)
    )
    is_market = not new.order_type.rests
    exact = pays * UNIT % shares == 0
    price = _price(
        new.side, pays * UNIT // shares if exact or new.side is Side.BUY else pays * UNIT // shares + 1, tick, is_market
    )
    if (not is_market and not exact) or price % tick or not tick <= price <= UNIT - tick:
        return _off_tick(new, Price(pays * UNIT // shares), tick)
    return (
        _refused_amounts(new, shares, is_market)
        or _refused_size(new, listing, shares)
        or _refused_terms(new, now)
        or _order(new, listing, price, Shares(shares), now)
    )


def refused_marketable(order: Order) -> Refused | None:
    """What is asked besides of an order that would trade at once."""
    if order.post_only:
        return CROSSES
    notional = order.spend if order.spend is not None else notional_floor(order.price, order.size)
    if order.side is Side.BUY and notional < MARKETABLE_BUY_MIN:
        return Refused(text=f"invalid amount for a marketable BUY order (${format_units(notional)}), min size: $1")
    return None


def expires_at(order: Order) -> Millis | None:
    """When a GTD order dies, None for the others."""
    return Millis(order.expiration * 1000 - GTD_EARLY_MS) if order.order_type is TimeInForce.GTD else None


def _price(side: Side, price: int, tick: Price, is_market: bool) -> Price:
    """A market order's amounts are rounded, so its price lies a hair beyond the tick that was meant."""
    if not is_market:
        return Price(price)
    return floor_to_tick(price, tick) if side is Side.BUY else ceil_to_tick(price, tick)


def _off_tick(new: NewOrder, price: Price, tick: Price) -> Refused:
    text = (
        f"order {new.id} is invalid. Price ({format_units(price)}) breaks minimum tick size rule: {format_units(tick)}"
    )
    return Refused(text=text)


def _refused_amounts(new: NewOrder, shares: int, is_market: bool) -> Refused | None:
    if not is_market:
        return PAYLOAD if shares % LOT else None
    if new.maker_amount % CENT or new.taker_amount % TENTH_OF_CENT:
        side = new.side.value.lower()
        return Refused(
            text=f"invalid amounts, the market {side} orders maker amount supports a max accuracy of 2 decimals, "
            "taker amount a max of 4 decimals"
        )
    return None


def _refused_size(new: NewOrder, listing: Listing, shares: int) -> Refused | None:
    least = listing.market.size_min
    if new.order_type.rests and shares < least:
        size = format_units(shares)
        return Refused(
            text=f"order {new.id} is invalid. Size ({size}) lower than the minimum: {format_units(least, 0)}"
        )
    return None


def _refused_terms(new: NewOrder, now: Millis) -> Refused | None:
    if new.post_only and not new.order_type.rests:
        return PAYLOAD
    if new.order_type is TimeInForce.GTD:
        earliest = now + (GTD_AHEAD_S - 1) * 1000  # the client rounds its own time down to a second
        return EXPIRATION if new.expiration * 1000 < earliest else None
    return EXPIRATION if new.expiration else None


def _order(new: NewOrder, listing: Listing, price: Price, shares: Shares, now: Millis) -> Order:
    spends = new.side is Side.BUY and not new.order_type.rests
    return Order(
        id=new.id,
        owner=new.owner,
        account=new.account,
        market=listing.market.id,
        condition_id=listing.market.condition_id,
        token=new.token,
        outcome=outcome_of(listing, new.token),
        side=new.side,
        price=price,
        size=shares,
        order_type=new.order_type,
        post_only=new.post_only,
        expiration=new.expiration,
        created_at=now,
        spend=Money(new.maker_amount) if spends else None,
    )


def outcome_of(listing: Listing, token: TokenId) -> Outcome:
    return Outcome(listing.tokens.index(token))


def sized_by_shares(order: Order) -> Order:
    """A market BUY that buys its shares and no more, the other reading of polymarket.md 6.1."""
    return msgspec.structs.replace(order, spend=None)
