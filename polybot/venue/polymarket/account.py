"""Reads the whole account and keeps our books and the venue's the same: at the start, after each connect, every minute.

What was missed is booked, unknown orders are adopted or cancelled by rule, and what then still differs, twice in a row,
is shown as unexplained: the floor pauses on it.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from loguru import logger

from polybot.clock import Clock
from polybot.domain.errors import BadInput
from polybot.domain.ids import TokenId
from polybot.domain.units import Millis
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.account_compare import (
    UnknownOrderRule,
    compare,
    rule_for,
    unexplained,
    unknown_orders,
    widened,
)
from polybot.venue.polymarket.account_values import AccountReading, Books, Compared, Difference, DifferenceKind
from polybot.venue.polymarket.client import AccountClient
from polybot.venue.polymarket.client_errors import VenueRejected
from polybot.venue.polymarket.complaint import Complaint
from polybot.venue.polymarket.order_errors import Treatment
from polybot.venue.polymarket.venue import PolymarketVenue
from polybot.venue.polymarket.wire_user import OrderSeen

EVERY_S = 60.0
AGAIN_S = 5.0
"""After differences, or a reading that failed: soon, for it takes two readings to believe them."""
SPACING_S = 1.0
"""Between two readings at least, however often one is wanted."""
READING_S_MAX = 30.0
OVERLAP_MS = 60_000
"""Trades are read again from so long before the last reading on: they may be listed late."""
LOOK_UPS_MAX = 50
"""Orders read or cancelled one by one in a round; the others wait for the next."""
TOKENS_MAX = 40
"""Balances read one by one in a reading; the venue allows 200 in ten seconds."""


class AccountWatch:
    """Run `run()` as a task. `books` gathers our side at the moment it is asked; `unexplained` is what stands."""

    def __init__(
        self,
        client: AccountClient,
        venue: PolymarketVenue,
        clock: Clock,
        books: Callable[[], Books],
        since: Millis,
        *,
        may_act: Callable[[], bool] = lambda: True,
    ) -> None:
        """`may_act`: whether this floor leads the account. One that may have been replaced reads and cancels nothing:
        what it does not know may be its successor's."""
        self._client, self._venue, self._clock, self._books = client, venue, clock, books
        self._since, self._may_act = since, may_act
        self._wanted = asyncio.Event()
        self._complaint = Complaint("account", clock)
        self._last: list[Difference] = []
        self.unexplained: tuple[Difference, ...] = ()
        self.reading: AccountReading | None = None
        self.read_at: float | None = None
        """When the account was last read and compared, monotonic."""
        self.compared: Compared | None = None
        """The last comparison that was made."""
        self.since: dict[tuple[DifferenceKind, str], Millis] = {}
        """When each of the differences that now stand was first found by this process, by kind and subject."""

    def want(self) -> None:
        """Read soon: the user channel was away, or something in it could not be read."""
        self._wanted.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            wait_s = EVERY_S if await self.look() else AGAIN_S
            await asyncio.sleep(SPACING_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s - SPACING_S):
                    await self._wanted.wait()

    async def look(self) -> bool:
        """One round; True where everything could be read and nothing differs."""
        self._wanted.clear()
        before, began_s = self._books(), self._clock.monotonic()
        try:
            async with asyncio.timeout(READING_S_MAX):
                reading = await self._read(before)
                await self._book_missed(reading)
                await self._settle_unknown(reading)
        except (TimeoutError, VenueUnavailable, VenueBusy) as error:
            why = str(error) or f"no answer within {READING_S_MAX:g} s"
            self._complaint.tell(f"the account could not be read: {why}")
            return False
        self._complaint.over("the account was read")
        compared = Compared(books=widened(before, self._books()), reading=reading, began_s=began_s)
        self.read_at = self._clock.monotonic()
        return self._compare(compared)

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _read(self, books: Books) -> AccountReading:
        """Orders before trades before balances: what happens meanwhile shows in the later ones."""
        at, client = self._clock.now_ms(), self._client
        await self._refresh()
        orders = await client.open_orders()
        trades = await client.trades(self._since)
        held = {holding.token: await client.held(holding.token) for holding in books.holdings[:TOKENS_MAX]}
        collateral = await client.collateral()
        self._since = Millis(max(self._since, at - OVERLAP_MS))
        self.reading = AccountReading(
            at=at, collateral=collateral, held=held, orders=tuple(orders), trades=tuple(trades)
        )
        return self.reading

    async def _refresh(self) -> None:
        """Have the venue look at the chain before its word is compared: at first, after what moves money without an
        order, and where its word differed. A paused floor sends no order whose refusal would tell of a stale copy."""
        venue, client = self._venue, self._client
        differed = {difference.kind for difference in self._last}
        try:
            if (
                venue.balance_doubted
                or self.reading is None
                or differed & {DifferenceKind.CASH, DifferenceKind.ALLOWANCE}
            ):
                await client.refresh_collateral()
                venue.balance_doubted = False
            for difference in self._last[:TOKENS_MAX]:
                if difference.kind is DifferenceKind.SHARES:
                    await client.refresh_held(TokenId(difference.subject))
        except (VenueUnavailable, VenueBusy) as error:  # its copy may be fresh all the same
            logger.bind(action="account").warning("the venue did not look at the chain again: {}", error)

    async def _book_missed(self, reading: AccountReading) -> None:
        """Everything read is told to the venue object, for whom most of it is no news.

        An order that should be open and is not listed has ended: it is read by itself, to see how.
        """
        for trade in reading.trades:
            self._venue.hear(trade)
        listed = {order.hash for order in reading.orders}
        for order in reading.orders:
            self._venue.hear(order)
        missing = [tracked for tracked in self._venue.open_orders() if tracked.accepted and not tracked.closed]
        for tracked in [tracked for tracked in missing if tracked.sent.hash not in listed][:LOOK_UPS_MAX]:
            try:
                seen = await self._client.order(tracked.sent.hash)
            except (VenueUnavailable, VenueBusy) as error:  # one that cannot be read must not hide what differs
                logger.bind(action="account").warning("{} could not be read: {}", tracked.intent.id, error)
                continue
            if seen is not None:
                self._venue.hear(seen)

    # -- unknown orders -----------------------------------------------------------------------------------------------

    async def _settle_unknown(self, reading: AccountReading) -> None:
        """By rule, order by order. Whether an order is unknown is judged by the books as they now are."""
        books = self._books()
        for order in unknown_orders(reading, books)[:LOOK_UPS_MAX]:
            await self._settle(order, rule_for(order, books), books)

    async def _settle(self, order: OrderSeen, rule: UnknownOrderRule, books: Books) -> None:
        if rule is UnknownOrderRule.LEAVE or not self._may_act():
            return
        if rule is UnknownOrderRule.ADOPT:
            self._venue.adopt(books.intents[order.hash])
            self._venue.hear(order)
        text = f"cancels an order that is not open in our books ({rule}): {order.hash}"
        self._venue.standing.note(self._clock.now_ms(), Treatment.LOOK_UP, text)
        try:
            await self._client.cancel(order.hash)
        except (BadInput, VenueRejected, VenueUnavailable, VenueBusy) as error:  # it is shown as a difference
            logger.bind(action="account").warning("{} could not be cancelled: {}", order.hash, error)

    # -- comparing ----------------------------------------------------------------------------------------------------

    def _compare(self, compared: Compared) -> bool:
        found = compare(compared.books, compared.reading)
        self.unexplained = tuple(unexplained(self._last, found))
        self._last, self.compared = found, compared
        names = [(difference.kind, difference.subject) for difference in found]
        self.since = {name: self.since.get(name, compared.reading.at) for name in names}
        for difference in self.unexplained:
            logger.bind(action="account").error("unexplained: {}", difference.text)
        return not found
