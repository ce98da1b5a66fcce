"""The official client's models as our values; amounts exactly, as millionths."""

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from polybot.domain.errors import BadInput
from polybot.domain.ids import TokenId
from polybot.domain.units import UNIT, Millis, Money, Shares
from polybot.venue.polymarket.account_values import PositionSeen
from polybot.venue.polymarket.wire_units import condition_of, price_units, size_units
from polybot.venue.polymarket.wire_user import (
    MakerEntry,
    OrderSeen,
    TradeSeen,
    name_of,
    phase_of,
    plain_status,
    price_or_none,
    side_of,
)

if TYPE_CHECKING:
    from polymarket.models.clob.account import ClobTrade, OpenOrder
    from polymarket.models.data.portfolio import Position

DIGITS_MAX = 12
"""Before the point: nobody has a trillion of anything."""


def order_seen(order: "OpenOrder", received: Millis) -> OrderSeen:
    """Raises BadInput for amounts and words nobody has heard of. Nothing is dated later than it was `received`."""
    return OrderSeen(
        hash=name_of(order.id.lower()),
        condition=condition_of(str(order.condition_id)),
        token=TokenId(str(order.asset_id)),
        side=side_of(order.side),
        price=price_or_none(_text(order.price)),
        shares=size_units(_text(order.original_size)),
        matched=size_units(_text(order.size_matched)),
        status=plain_status(order.status),
        at=min(_millis(order.created_at), received),
    )


def trade_seen(trade: "ClobTrade", received: Millis) -> TradeSeen:
    """As `order_seen`."""
    makers = tuple(
        MakerEntry(
            order=maker.order_id.lower(),
            token=TokenId(str(maker.asset_id)),
            side=side_of(maker.side),
            price=price_units(_text(maker.price)),
            shares=size_units(_text(maker.matched_amount)),
        )
        for maker in trade.maker_orders
    )
    return TradeSeen(
        id=name_of(trade.id),
        phase=phase_of(trade.status),
        condition=condition_of(str(trade.condition_id)),
        taker_order=trade.taker_order_id.lower(),
        token=TokenId(str(trade.asset_id)),
        side=side_of(trade.side),
        price=price_or_none(_text(trade.price)),
        shares=size_units(_text(trade.size)),
        makers=makers,
        matched_at=min(_millis(trade.matched_at), received),
        updated_at=min(_millis(trade.updated_at), received),
    )


def position_seen(position: "Position") -> PositionSeen:
    return PositionSeen(
        token=TokenId(str(position.asset_id)),
        condition=condition_of(str(position.condition_id)),
        shares=Shares(units_of(position.current_size)),
        outcome=position.outcome_index,
        redeemable=position.redeemable,
        mergeable=position.mergeable,
        neg_risk=position.negative_risk,
        value=Money(int(position.current_value * UNIT)),
    )


def units_of(amount: Decimal) -> int:
    """Millionths. Raises BadInput where some of it is less than one, and beyond what there can be."""
    if not amount.is_finite() or amount.adjusted() > DIGITS_MAX:
        raise BadInput(f"{amount} is no possible amount")
    units = amount * UNIT
    if units != int(units):
        raise BadInput(f"{amount} has more than 6 decimals")
    return int(units)


def _text(amount: Decimal) -> str:
    return format(amount, "f")


def _millis(at: datetime) -> Millis:
    return Millis(int(at.timestamp() * 1000))
