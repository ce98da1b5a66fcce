"""The paper venue's async coat: the same protocol as a real venue over the pure simulator."""

from polybot.domain.events import MarketEvent, VenueReply
from polybot.domain.ids import OrderId
from polybot.domain.markets import MarketState
from polybot.domain.order import OrderIntent
from polybot.domain.units import Millis
from polybot.risk.gate import Approved
from polybot.venue.matching import Simulator


class PaperVenue:
    """Takes orders at once and answers as time and the market move on."""

    may_lose_replies = False
    lookup_patience_ms = 0

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    async def place(self, order: Approved, now: Millis) -> None:
        self.simulator.submit(order.intent, now)

    async def cancel(self, order: OrderId, now: Millis) -> None:
        self.simulator.cancel(order, now)

    async def account_of(self, intent: OrderIntent) -> list[VenueReply] | None:
        """Nothing of it can have been lost on the way: what happened has been replied."""
        return [] if self.simulator.knows(intent.id) else None

    async def reach(self) -> None:
        """It is always there."""

    def advance(self, now: Millis) -> list[VenueReply]:
        return self.simulator.advance(now)

    def observe(self, event: MarketEvent, state: MarketState | None) -> list[VenueReply]:
        return self.simulator.observe(event, state)
