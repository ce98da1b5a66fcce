"""What the core asks the world to do, in the imperative. Only the edge carries these out."""

import msgspec

from polybot.domain.ids import AgentId, OrderId
from polybot.domain.order import OrderIntent


class PlaceOrder(msgspec.Struct, frozen=True, kw_only=True):
    intent: OrderIntent


class CancelOrder(msgspec.Struct, frozen=True, kw_only=True):
    agent: AgentId
    order: OrderId


Command = PlaceOrder | CancelOrder
