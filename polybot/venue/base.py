"""What the floor sees of a venue, whichever it is: where orders go, and where market data comes from."""

from collections.abc import Set
from typing import Protocol

from polybot.domain.events import MarketEvent, MarketListed, MarketResolved, VenueReply
from polybot.domain.ids import MarketId, OrderId
from polybot.domain.markets import MarketState
from polybot.domain.order import OrderIntent
from polybot.domain.units import Millis
from polybot.risk.gate import Approved


class VenueUnavailable(Exception):
    """The venue did not answer; whether it took the order is unknown. Look it up, never send it again (D8)."""


class VenueBusy(Exception):
    """The venue said in so many words that it did not take the order (425, 429, 503). It is not sent again."""


class Venue(Protocol):
    """Orders go in, replies come out; a reply is a fact once it is journaled."""

    may_lose_replies: bool
    """Whether replies can come late, twice or never, so that our books have to be reconciled with the venue's."""
    lookup_patience_ms: int
    """How long after it was sent an order may still turn up at the venue; only then does unknown mean never sent."""

    async def place(self, order: Approved, now: Millis) -> None:
        """Send an order whose intent is journaled. Its answer comes as replies. Raises VenueUnavailable, VenueBusy."""
        ...

    async def cancel(self, order: OrderId, now: Millis) -> None:
        """Ask for an order to be taken back; the answer comes as a reply. Raises VenueUnavailable, VenueBusy."""
        ...

    async def account_of(self, intent: OrderIntent) -> list[VenueReply] | None:
        """Everything that has happened to an order so far, in order; None where the venue does not know it.

        The look-up after an unknown answer, and what reconciliation reads: safe to repeat. Replies are dated when they
        happened. Raises VenueUnavailable, VenueBusy.
        """
        ...

    async def reach(self) -> None:
        """Ask anything, to see whether it answers. Raises VenueUnavailable, VenueBusy."""
        ...

    def advance(self, now: Millis) -> list[VenueReply]:
        """What has happened at the venue up to `now`, before the market event of that time is seen.

        From a venue far away this is what its stream has brought: replies may be late, doubled, or missing.
        """
        ...

    def observe(self, event: MarketEvent, state: MarketState | None) -> list[VenueReply]:
        """What a market event, already applied to `state`, does to our resting orders."""
        ...


class MarketFeed(Protocol):
    """Live market data: a connection that may end, go silent while it looks open, or say what is not so.

    Events are stamped with their time of receipt by the feed. All methods but `next` may be repeated safely.
    """

    async def connect(self) -> None:
        """Connect, or hang up and connect anew; nothing is subscribed then. Raises VenueUnavailable, VenueBusy."""
        ...

    async def catalog(self, since: Millis, until: Millis) -> list[MarketListed | MarketResolved]:
        """Every window of the followed series that ends after `since` and starts before `until`, in order of start.

        Each with its terms as served now, followed by its resolution where it has one. Raises VenueUnavailable,
        VenueBusy.
        """
        ...

    async def follow(self, markets: Set[MarketId]) -> None:
        """Subscribe to exactly these markets; a snapshot of each book newly subscribed comes as an event.

        Raises VenueUnavailable when the connection is gone.
        """
        ...

    async def refresh(self, market: MarketId) -> None:
        """Ask for a market's snapshots anew, by subscribing to it again. Raises VenueUnavailable."""
        ...

    async def next(self) -> MarketEvent:
        """The next event. Waits for ever on a silent connection; raises VenueUnavailable when it is gone."""
        ...

    async def close(self) -> None: ...
