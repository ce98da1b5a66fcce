"""What the venue checks when an order reaches it, in the venue's own words (polymarket.md 5.4, 6.1, 6.5). Pure."""

from polybot.domain.market import Market, Side
from polybot.domain.markets import MarketState
from polybot.domain.order import OrderIntent, TimeInForce
from polybot.domain.units import LOT, UNIT, Millis, format_units, notional_floor
from polybot.venue.account import Account

GTD_LIFE_MS_MIN = 120_000
"""`expiration` must be 180 s ahead and the order dies 60 s before it: two minutes is the shortest effective life."""
MARKETABLE_BUY_MIN = UNIT
NO_ORDERBOOK = "No orderbook exists for the requested token id"


def refusal_on_arrival(
    intent: OrderIntent, state: MarketState | None, marketable: bool, account: Account, now: Millis
) -> str | None:
    """Why the venue will not take the order, or None."""
    if state is None or now >= state.market.window_end or state.payout_up is not None:
        return NO_ORDERBOOK
    return (
        _refused_price(intent, state.market)
        or _refused_size(intent, state.market, marketable)
        or _refused_terms(intent, marketable, now)
        or (None if account.can_afford(intent) else "not enough balance / allowance")
    )


def _refused_price(intent: OrderIntent, market: Market) -> str | None:
    if intent.limit % market.tick or not market.tick <= intent.limit <= UNIT - market.tick:
        price, tick = format_units(intent.limit), format_units(market.tick)
        return f"order {intent.id} is invalid. Price ({price}) breaks minimum tick size rule: {tick}"
    return None


def _refused_size(intent: OrderIntent, market: Market, marketable: bool) -> str | None:
    if intent.shares % LOT or intent.shares <= 0:
        return "Invalid order payload"
    if intent.time_in_force.rests and intent.shares < market.size_min:
        size, least = format_units(intent.shares), format_units(market.size_min)
        return f"order {intent.id} is invalid. Size ({size}) lower than the minimum: {least}"
    notional = notional_floor(intent.limit, intent.shares)
    if marketable and intent.side is Side.BUY and notional < MARKETABLE_BUY_MIN:
        return f"invalid amount for a marketable BUY order (${format_units(notional)}), min size: $1"
    return None


def _refused_terms(intent: OrderIntent, marketable: bool, now: Millis) -> str | None:
    if intent.post_only and not intent.time_in_force.rests:
        return "Invalid order payload"
    if intent.post_only and marketable:
        return "invalid post-only order: order crosses book"
    if (intent.time_in_force is TimeInForce.GTD) != (intent.expires_at is not None):
        return "invalid expiration"
    if intent.expires_at is not None and intent.expires_at < now + GTD_LIFE_MS_MIN:
        return "invalid expiration"
    return None
