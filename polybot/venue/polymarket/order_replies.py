"""What the venue says about our orders and trades as replies the floor understands. Sync and without I/O.

One `TrackedOrder` is one order's story so far. The venue tells it in any order, more than once and with gaps: matches
are taken from trades only, an end is held back until every share matched before it has been told of.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from polybot.domain.events import (
    FillConfirmed,
    FillFailed,
    FillMatched,
    Liquidity,
    OrderAccepted,
    OrderClosed,
    VenueReply,
)
from polybot.domain.fees import FeeSchedule
from polybot.domain.ids import ConditionId, FillId, TokenId
from polybot.domain.order import CloseReason, OrderIntent
from polybot.domain.units import Millis, Money, Price, Shares, complement
from polybot.venue.polymarket.wire_user import OPEN_STATUSES, MakerEntry, OrderSeen, TradePhase, TradeSeen

TAKEN = "/taker/"
"""Between a trade and a price in the name of a taker's fill."""
HASH_SHOWN = 18
"""Characters of an order's hash in a fill's name: enough to tell the orders of one trade apart."""
CLOSINGS = {
    "CANCELED_MARKET_RESOLVED": CloseReason.MARKET_ENDED,
    "CANCELED_MARKET_NOT_FOUND": CloseReason.MARKET_ENDED,
    "CANCELED_EXPIRED_ORDER": CloseReason.EXPIRED,
    "UNMATCHED": CloseReason.KILLED,
}
"""Status -> reason; every other end of a resting order is CANCELLED, of a FOK or FAK order KILLED."""


class BookedFill(msgspec.Struct, frozen=True):
    """A taker's fill that a former process booked; `shares` None where it is final, and so no longer known."""

    fill: FillId
    shares: Shares | None


Booked = Mapping[str, Sequence[BookedFill]]
"""By trade."""
NOTHING_BOOKED: Booked = {}


class Part(msgspec.Struct, frozen=True):
    """Our shares of one trade at one price, before they have a name."""

    fill: FillId
    price: Price
    shares: Shares
    liquidity: Liquidity


class _End(msgspec.Struct, frozen=True):
    """How the order ended, and how much of it had been matched then."""

    matched: int
    reason: CloseReason
    at: Millis


class SentOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order as the venue knows it: its hash, its token, its size, which may be a little less than was meant."""

    intent: OrderIntent
    hash: str
    token: TokenId
    condition: ConditionId
    shares: Shares
    fees: FeeSchedule


class TrackedOrder:
    """`filled` counts every match told of, failed ones included.

    `parts` are what the order has of each trade, as it was first told: the same trade told with other makers (stream
    and listing need not name them alike) would else be booked a second time, under other names. `booked` are the
    fills of each trade that a former process booked.
    """

    __slots__ = ("_booked", "_end", "_final", "_matched", "accepted", "closed", "filled", "intent", "parts", "sent")

    def __init__(
        self, sent: SentOrder, parts: Mapping[str, Sequence[Part]] | None = None, booked: Booked = NOTHING_BOOKED
    ) -> None:
        self.sent, self.intent = sent, sent.intent
        self.parts, self._booked = dict(parts or {}), booked
        self.accepted = self.closed = False
        self.filled = 0
        self._matched: set[FillId] = set()
        self._final: set[FillId] = set()
        self._end: _End | None = None

    @property
    def is_over(self) -> bool:
        return self.closed and self._matched == self._final

    # -- what is heard ------------------------------------------------------------------------------------------------

    def accept(self, at: Millis) -> list[VenueReply]:
        if self.accepted:
            return []
        self.accepted = True
        return [OrderAccepted(at=self._dated(at), agent=self.intent.agent, order=self.intent.id)]

    def see_order(self, seen: OrderSeen) -> list[VenueReply]:
        """The order itself, from the stream or read."""
        replies = self.accept(seen.at)
        if self._is_end(seen):
            replies += self.end(int(seen.matched), self._reason(seen.status, seen.matched), seen.at)
        return replies

    def _is_end(self, seen: OrderSeen) -> bool:
        """A FOK or FAK order is over once it is not held any more, in whatever words."""
        if not self._rests:
            return seen.status not in OPEN_STATUSES
        return not seen.is_open and not (seen.status == "MATCHED" and seen.matched < self.sent.shares)

    def see_trade(self, trade: TradeSeen) -> list[VenueReply]:
        """A trade of ours in whatever phase it is; nothing where this order has no part in it."""
        replies: list[VenueReply] = []
        parts = self.parts.get(trade.id)
        if not parts:
            found = parts_of(trade, self.sent.hash, self.sent.token)
            parts = as_booked(found, self._booked.get(trade.id, ()))
        if parts:
            self.parts[trade.id] = parts
        for part in parts:
            replies += self._part(part, trade)
        return replies + self._due_end()

    def end(self, matched: int, reason: CloseReason, at: Millis) -> list[VenueReply]:
        """It is over, after `matched` shares; told once all of them are told."""
        if self._end is None or matched > self._end.matched:
            self._end = _End(matched, reason, at)
        return self._due_end()

    # -- what follows -------------------------------------------------------------------------------------------------

    def _part(self, part: Part, trade: TradeSeen) -> list[VenueReply]:
        at, agent, order = self._dated(trade.matched_at), self.intent.agent, self.intent.id
        replies = self.accept(at)
        if part.fill not in self._matched:
            self._matched.add(part.fill)
            self.filled += part.shares
            replies.append(self._fill(part, at))
        if trade.phase.is_final and part.fill not in self._final:
            self._final.add(part.fill)
            at = Millis(max(at, trade.updated_at))
            if trade.phase is TradePhase.CONFIRMED:
                replies.append(FillConfirmed(at=at, agent=agent, fill=part.fill, order=order))
            else:
                text = f"trade {trade.id} failed on chain"
                replies.append(FillFailed(at=at, agent=agent, fill=part.fill, order=order, text=text))
        return replies

    def _fill(self, part: Part, at: Millis) -> FillMatched:
        intent, makes = self.intent, part.liquidity is Liquidity.MAKER
        return FillMatched(
            at=at,
            agent=intent.agent,
            fill=part.fill,
            order=intent.id,
            market=intent.market,
            outcome=intent.outcome,
            side=intent.side,
            price=part.price,
            shares=part.shares,
            fee=Money(0) if makes else self.sent.fees.taker_fee(part.price, part.shares),
            liquidity=part.liquidity,
            available=part.shares,
            rebate_basis=self.sent.fees.rebate_basis(part.price, part.shares) if makes else Money(0),
        )

    def _due_end(self) -> list[VenueReply]:
        end = self._end
        if end is None or self.closed or self.filled < end.matched:
            return []
        self.closed = True
        reason = CloseReason.FILLED if self.filled >= self.intent.shares else end.reason
        return [OrderClosed(at=self._dated(end.at), agent=self.intent.agent, order=self.intent.id, reason=reason)]

    def _reason(self, status: str, matched: Shares) -> CloseReason:
        """FILLED is for the whole intent; a market order's few hundredths of a share that were not sent are killed."""
        if matched >= self.intent.shares:
            return CloseReason.FILLED
        if status == "MATCHED":
            return CloseReason.KILLED
        return CLOSINGS.get(status, CloseReason.CANCELLED if self._rests else CloseReason.KILLED)

    @property
    def _rests(self) -> bool:
        return self.intent.time_in_force.rests

    def _dated(self, at: Millis) -> Millis:
        """The venue's clock may be behind ours, or tell whole seconds: nothing happened before it was decided."""
        return Millis(max(at, self.intent.decided_at))


def account_of(
    order: SentOrder,
    seen: OrderSeen | None,
    trades: Iterable[TradeSeen],
    *,
    gone_at: Millis | None = None,
    told: Mapping[str, Sequence[Part]] | None = None,
    booked: Booked = NOTHING_BOOKED,
) -> list[VenueReply] | None:
    """An order's whole account from what was read of it; None where the venue knows neither it nor a trade of it.

    `gone_at`: an order that was taken and is not there (any more), or is in a state that nobody knows, was over by
    then, with what was matched of it. `told`: the order's parts of trades that were told of before. `booked`: as
    TrackedOrder's.
    """
    story = TrackedOrder(order, told, booked)
    replies: list[VenueReply] = []
    if seen is not None:
        replies += story.accept(order.intent.decided_at)
    for trade in sorted(trades, key=lambda trade: (trade.matched_at, trade.id)):
        replies += story.see_trade(trade)
    if seen is not None:
        replies += story.see_order(seen)
    if gone_at is not None and (seen is None or seen.status not in OPEN_STATUSES):
        replies += story.accept(order.intent.decided_at) + story.end(story.filled, CloseReason.MARKET_ENDED, gone_at)
    return replies if seen is not None or replies else None


def parts_of(trade: TradeSeen, order_hash: str, token: TokenId) -> list[Part]:
    """What an order has of a trade: as its taker, as one of its makers, as both where it met another of ours, or none.

    A maker's part is the maker's entry, in its own price and token; the trade's own fields are the taker's. A part of
    no shares is none: nobody can book it, and a fact that cannot be booked would end this floor and each later start.
    """
    parts: list[Part] = []
    if trade.taker_order == order_hash:
        parts += _taken(trade)
    for entry in trade.makers:
        if entry.order == order_hash and entry.token == token:
            fill = FillId(f"{trade.id}/{order_hash[:HASH_SHOWN]}")
            parts.append(Part(fill, entry.price, entry.shares, Liquidity.MAKER))
    return [part for part in parts if part.shares]


def by_trade(provisional: Iterable[FillMatched], final: Iterable[FillId]) -> Booked:
    """The takers' fills of some books; a maker's has one name however its trade is told."""
    found: dict[str, list[BookedFill]] = {}
    every = [BookedFill(fill.fill, fill.shares) for fill in provisional] + [BookedFill(fill, None) for fill in final]
    for booked in sorted(every, key=lambda one: one.fill):
        trade, taken, _ = booked.fill.rpartition(TAKEN)
        if taken:
            found.setdefault(trade, []).append(booked)
    return found


def as_booked(parts: list[Part], booked: Sequence[BookedFill]) -> list[Part]:
    """The parts of a trade of which a former process booked these, perhaps as it was told in another shape.

    Whoever has booked a fill knows it by its name alone: all the taker's shares go by the first, so that their sum is
    right, and none by the others. Where fewer were booked than there are, some were refused: they are still to come.
    """
    taken = [part for part in parts if part.liquidity is Liquidity.TAKER]
    every = sum(part.shares for part in taken)
    if not booked or {part.fill for part in taken} == {one.fill for one in booked}:
        return parts
    known = [one.shares for one in booked if one.shares is not None]
    if not taken or (len(known) == len(booked) and sum(known) < every):
        return parts
    as_then = [
        Part(one.fill, taken[0].price, Shares(0 if number else every), Liquidity.TAKER)
        for number, one in enumerate(booked)
    ]
    return [*as_then, *(part for part in parts if part.liquidity is not Liquidity.TAKER)]


def _taken(trade: TradeSeen) -> list[Part]:
    """The taker's shares by price: improvement is the taker's, so what counts are the prices of the makers met.

    Two buyers of opposite outcomes meet by minting: the maker's price is then seen from the other side.
    """
    by_price: dict[Price, int] = {}
    for entry in trade.makers:
        price = _seen_by_taker(trade, entry)
        by_price[price] = by_price.get(price, 0) + entry.shares
    if sum(by_price.values()) != trade.shares and trade.price is not None:
        by_price = {trade.price: trade.shares}  # entries that do not add up, or none: the trade's own word
    return [
        Part(FillId(f"{trade.id}{TAKEN}{price}"), price, Shares(shares), Liquidity.TAKER)
        for price, shares in sorted(by_price.items())
    ]


def _seen_by_taker(trade: TradeSeen, entry: MakerEntry) -> Price:
    return entry.price if entry.token == trade.token else complement(entry.price)
