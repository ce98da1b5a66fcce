"""Brings a paper venue from an older checkpoint up to its journal: what that tells is true, and is not done again.

An order the journal shows as accepted is matched again at the venue's next chance, from the back of the queue, for what
is left of it. An intent with no answer is unknown here: it never arrived.
"""

from collections.abc import Iterator

from polybot.domain.book import Book
from polybot.domain.events import (
    AnyFact,
    FillConfirmed,
    FillFailed,
    FillMatched,
    IntentRecorded,
    MarketSettled,
    OrderAccepted,
    OrderClosed,
    OrderRejected,
)
from polybot.domain.ids import OrderId, fill_id
from polybot.domain.market import Side
from polybot.domain.order import OrderIntent
from polybot.domain.units import Millis, complement
from polybot.venue.liquidity import UsedLiquidity, place_of
from polybot.venue.open_orders import OpenOrders


class Restorer:
    """Folds facts over the venue's memory, in the journal's order."""

    __slots__ = ("_intents", "_open")

    def __init__(self, open_orders: OpenOrders) -> None:
        self._open = open_orders
        self._intents: dict[OrderId, OrderIntent] = {}

    def take(self, fact: AnyFact) -> None:
        """Take in a fact journaled after the checkpoint. One that is known already changes nothing."""
        state = self._open.state
        self._open.moment(fact.at)
        match fact:
            case IntentRecorded():
                self._intents[fact.intent.id] = fact.intent
            case OrderAccepted(order=order) if order not in state.orders:
                self._readopt(order, fact.at)
            case OrderRejected(order=order):
                state.travelling.pop(order, None)
            case FillMatched() if self._is_new(fact):
                self._rebook(fact)
            case FillConfirmed(fill=fill) if fill in state.unconfirmed:
                state.account.confirm(state.unconfirmed.pop(fill))
            case FillFailed(fill=fill) if fill in state.unconfirmed:
                state.account.undo(state.unconfirmed.pop(fill))
            case OrderClosed(order=order, reason=reason):
                state.travelling.pop(order, None)
                if order in state.orders:
                    self._open.close(state.orders[order], reason, fact.at)
            case MarketSettled():
                state.account.settle(fact.market, fact.payout_up)
            case _:
                pass

    def _readopt(self, order: OrderId, at: Millis) -> None:
        intent = self._open.state.travelling.pop(order, None) or self._intents[order]
        state = self._open.markets.get(intent.market)
        end, delay = (state.market.window_end, state.market.taker_delay_ms) if state is not None else (at, 0)
        self._open.take_on(intent, end).held = True  # perhaps it rests already; for this moment nobody can tell
        self._open.plan(at + delay, "match", order)

    def _is_new(self, fill: FillMatched) -> bool:
        order = self._open.state.orders.get(fill.order)
        return order is not None and fill.fill == fill_id(fill.order, order.fills + 1)

    def _count_as_used(self, fill: FillMatched) -> None:
        """A walk's fills name their levels. One at the order's own limit may have come from any level within that, if
        the order rested and was crossed: it counts at each of them."""
        market = self._open.markets.get(fill.market)
        if market is None:
            return
        used = UsedLiquidity(self._open.state.used.setdefault(fill.market, {}))
        opposite = Side.SELL if fill.side is Side.BUY else Side.BUY
        if fill.price != self._open.state.orders[fill.order].intent.limit:
            places = {place_of(fill.outcome, opposite, fill.price)}
        else:
            places = {place for book in market.books for place in _places_within(book, fill)}
        for place in sorted(places):
            used.take(place, fill.shares)

    def _rebook(self, fill: FillMatched) -> None:
        state = self._open.state
        order = state.orders[fill.order]
        self._open.book(order, fill)
        for resting in state.resting.get(fill.market, ()):
            if resting.order == fill.order:
                resting.left = order.left
        self._count_as_used(fill)
        if not order.left:  # its closing may be the one fact the crash took
            self._open.plan(fill.at, "match", fill.order)


def _places_within(book: Book, fill: FillMatched) -> Iterator[int]:
    """The places of one token's book that an order could take at the fill's price or better."""
    same = book.outcome is fill.outcome
    opposite = Side.SELL if fill.side is Side.BUY else Side.BUY
    for at, _ in book.levels(opposite if same else fill.side):
        price = at if same else complement(at)
        if (price > fill.price) if fill.side is Side.BUY else (price < fill.price):
            return
        yield place_of(fill.outcome, opposite, price)
