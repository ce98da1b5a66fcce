"""What of a venue's replies is news: late, doubled and disordered ones are told from those a desk still needs. Pure.

A stream may bring a reply twice, after others that followed it, or never (evidence.md 1.3, 1.4). What cannot be placed
without knowing more is left out, and its order named as doubtful: a look-up then brings its whole account in order.
"""

from collections.abc import Iterable, Mapping

import msgspec

from polybot.desk.desk import Desk
from polybot.desk.state import fill_cost
from polybot.domain.events import (
    CancelRefused,
    FillConfirmed,
    FillFailed,
    FillMatched,
    OrderAccepted,
    OrderClosed,
    OrderRejected,
    VenueReply,
)
from polybot.domain.ids import AgentId, FillId, OrderId
from polybot.domain.order import Closed, CloseReason, Intended, OrderState, Working, fits

NOT_THERE = (CloseReason.NEVER_SENT, CloseReason.REJECTED)
"""An order that ended like this is nowhere, as far as we were told: should it turn up, it is a stray."""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """`facts` are the replies that are news, in an order every desk can take in.

    `doubtful` orders are to be looked up; `strays` are orders the venue has open though we closed them: cancel them.
    `strangers` are replies about orders no desk knows, for a person to see.
    """

    facts: list[VenueReply] = []
    doubtful: list[OrderId] = []
    strays: list[OrderId] = []
    strangers: list[VenueReply] = []


class _Order:
    """An order as it will be once the facts found so far are applied."""

    __slots__ = ("filled", "intended", "intent", "reason", "spent")

    def __init__(self, state: OrderState) -> None:
        self.intended = isinstance(state, Intended)
        self.reason = state.reason if isinstance(state, Closed) else None
        self.filled = 0 if isinstance(state, Intended) else int(state.filled)
        self.spent = 0 if isinstance(state, Intended) else int(state.spent)
        self.intent = state.intent


class Intake:
    """One sitting over some replies; nothing is changed in the desks, which apply the facts when they are durable."""

    def __init__(self, desks: Mapping[AgentId, Desk]) -> None:
        self._desks = desks
        self._orders: dict[OrderId, _Order] = {}
        self._matched: set[FillId] = set()
        self._final: set[FillId] = set()
        self.taken = Taken()

    def take(self, replies: Iterable[VenueReply]) -> Taken:
        for reply in replies:
            desk = self._desks.get(reply.agent)
            order = self._order(desk, reply.order) if desk is not None else None
            if desk is None or order is None:
                self.taken.strangers.append(reply)
            else:
                self._one(desk, order, reply)
        return self.taken

    def _one(self, desk: Desk, order: _Order, reply: VenueReply) -> None:
        match reply:
            case OrderAccepted():
                self._accepted(order, reply)
            case OrderRejected():
                self._rejected(order, reply)
            case FillMatched():
                self._filled(desk, order, reply)
            case FillConfirmed() | FillFailed():
                self._ended(desk, reply)
            case OrderClosed():
                self._closed(order, reply)
            case CancelRefused():
                self.taken.facts.append(reply)

    def _accepted(self, order: _Order, reply: OrderAccepted) -> None:
        if order.reason in NOT_THERE:
            self.taken.strays.append(reply.order)  # it turned up after all, later than any order may
            self.taken.doubtful.append(reply.order)  # and what has happened to it since may get lost on the way
        elif order.intended:
            order.intended = False
            self.taken.facts.append(reply)

    def _rejected(self, order: _Order, reply: OrderRejected) -> None:
        if order.intended:
            order.intended, order.reason = False, CloseReason.REJECTED
            self.taken.facts.append(reply)
        elif order.reason is None:
            self.taken.doubtful.append(reply.order)  # accepted, and then not: only the whole account can tell

    def _filled(self, desk: Desk, order: _Order, reply: FillMatched) -> None:
        fill = reply.fill
        if fill in self._matched or fill in desk.state.provisional or fill in desk.state.final:
            return
        filled, spent = order.filled + reply.shares, order.spent + fill_cost(reply) + reply.fee
        if reply.shares <= 0 or not fits(order.intent, filled, spent, desk.state.accepted.get(reply.order, 0)):
            self.taken.doubtful.append(reply.order)
            self.taken.strangers.append(reply)
            return
        if order.reason in NOT_THERE:
            self.taken.strays.append(reply.order)  # its acceptance may be lost: what is left of it may be open there
            self.taken.doubtful.append(reply.order)
        if order.intended:  # its acceptance is late or lost, and no longer needed
            order.intended = False
            self.taken.facts.append(OrderAccepted(at=reply.at, agent=reply.agent, order=reply.order))
        order.filled, order.spent = filled, spent
        self._matched.add(fill)
        self.taken.facts.append(reply)

    def _ended(self, desk: Desk, reply: FillConfirmed | FillFailed) -> None:
        fill = reply.fill
        if fill in self._final or fill in desk.state.final:
            return
        if fill in self._matched or fill in desk.state.provisional:
            self._final.add(fill)
            self.taken.facts.append(reply)
        else:
            self.taken.doubtful.append(reply.order)  # the end of a fill we have not heard of

    def _closed(self, order: _Order, reply: OrderClosed) -> None:
        if order.reason is not None:
            return
        if reply.reason is CloseReason.NEVER_SENT and not order.intended:
            self.taken.doubtful.append(reply.order)  # it had been heard of, or was while this was found out
            return
        if reply.reason is CloseReason.FILLED and order.filled < order.intent.shares:
            self.taken.doubtful.append(reply.order)  # some of its fills are still to come
            return
        if order.intended and reply.reason is not CloseReason.NEVER_SENT:
            self.taken.facts.append(OrderAccepted(at=reply.at, agent=reply.agent, order=reply.order))
        order.intended, order.reason = False, reply.reason
        self.taken.facts.append(reply)

    def _order(self, desk: Desk | None, order: OrderId) -> _Order | None:
        found = self._orders.get(order)
        if found is None and desk is not None:
            state: Intended | Working | Closed | None = desk.state.orders.get(order) or desk.state.ended.get(order)
            if state is not None:
                found = self._orders[order] = _Order(state)
        return found
