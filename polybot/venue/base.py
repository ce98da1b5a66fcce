"""What the floor sees of a venue, whichever it is."""

from typing import Protocol

from polybot.domain.events import MarketEvent, VenueReply
from polybot.domain.ids import OrderId
from polybot.domain.markets import MarketState
from polybot.domain.units import Millis
from polybot.risk.gate import Approved


class VenueUnavailable(Exception):
    """The venue did not answer; whether it took the order is unknown. Look it up, never send it again (D8)."""


class Venue(Protocol):
    """Orders go in, replies come out; a reply is a fact once it is journaled."""

    async def place(self, order: Approved, now: Millis) -> None:
        """Send an order whose intent is journaled. Its answer comes as replies. Raises VenueUnavailable."""
        ...

    async def cancel(self, order: OrderId, now: Millis) -> None:
        """Ask for an order to be taken back; the answer comes as a reply. Raises VenueUnavailable."""
        ...

    async def knows(self, order: OrderId) -> bool:
        """Whether the venue has, or has had, this order: the look-up after an unknown answer."""
        ...

    def advance(self, now: Millis) -> list[VenueReply]:
        """What has happened at the venue up to `now`, before the market event of that time is seen."""
        ...

    def observe(self, event: MarketEvent, state: MarketState | None) -> list[VenueReply]:
        """What a market event, already applied to `state`, does to our resting orders."""
        ...
