"""Names of things, each its own type, so that one cannot be passed where another is meant.

Ids are made from counters in state, never from the clock or from chance, so that a replay gives the same ones (D3).
"""

from typing import NewType

MarketId = NewType("MarketId", str)
"""The market's slug, for instance `btc-updown-15m-1790586000`: unique, and readable by people."""
ConditionId = NewType("ConditionId", str)
TokenId = NewType("TokenId", str)
SeriesId = NewType("SeriesId", str)
"""A rolling series, for instance `BTC-15m`."""
AgentId = NewType("AgentId", str)
OrderId = NewType("OrderId", str)
FillId = NewType("FillId", str)


def order_id(agent: AgentId, number: int) -> OrderId:
    """The agent's own running number: `momentum-000007`."""
    return OrderId(f"{agent}-{number:06d}")


def fill_id(order: OrderId, number: int) -> FillId:
    """The order's own running number: `momentum-000007.2`."""
    return FillId(f"{order}.{number}")
