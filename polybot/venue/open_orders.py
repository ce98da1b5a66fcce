"""What the paper venue has in hand: its memory as plain data, and the few ways in which an order changes. Pure."""

import heapq
from collections.abc import Mapping

import msgspec

from polybot.domain.events import FillMatched, Liquidity, OrderClosed
from polybot.domain.ids import FillId, MarketId, OrderId, fill_id
from polybot.domain.markets import MarketState
from polybot.domain.order import CloseReason, OrderIntent
from polybot.domain.units import Millis, Money, Price, Shares
from polybot.venue.account import Account
from polybot.venue.fill_models import VenueModel
from polybot.venue.queue import Resting

AGENDA_SLACK = 256
"""Entries about things long over that the agenda may carry before it is swept."""


class VenueOrder(msgspec.Struct, kw_only=True):
    """An order the venue has: what is left of it, how many fills it had, whether it is being held (not cancelable)."""

    intent: OrderIntent
    left: Shares
    fills: int = 0
    held: bool = False


class SimulatorState(msgspec.Struct, kw_only=True):
    """All the paper venue remembers, as plain data for the checkpoint. `agenda` is a heap of (due, number, what, id);
    `latest` the time of its last reply, so that no later one is dated before it."""

    account: Account
    travelling: dict[OrderId, OrderIntent] = {}
    orders: dict[OrderId, VenueOrder] = {}
    resting: dict[MarketId, list[Resting]] = {}
    used: dict[MarketId, dict[int, Shares]] = {}
    unconfirmed: dict[FillId, FillMatched] = {}
    agenda: list[tuple[Millis, int, str, str]] = []
    next_number: int = 1
    latest: Millis = Millis(0)


def new_simulator_state(cash: Money) -> SimulatorState:
    """An empty venue with so much in our wallet, in millionths of a pUSD."""
    return SimulatorState(account=Account(cash=cash))


class OpenOrders:
    """Takes orders on, books their fills and closes them; whatever is to happen later goes on the agenda."""

    __slots__ = ("markets", "model", "state")

    def __init__(self, model: VenueModel, markets: Mapping[MarketId, MarketState], state: SimulatorState) -> None:
        self.model, self.markets, self.state = model, markets, state

    def moment(self, at: Millis) -> Millis:
        """`at`, or the time of the last reply if that is later: the venue's answers never go back in time."""
        self.state.latest = max(self.state.latest, at)
        return self.state.latest

    def plan(self, due: int, act: str, subject: str) -> None:
        state = self.state
        heapq.heappush(state.agenda, (Millis(due), state.next_number, act, subject))
        state.next_number += 1
        alive = len(state.travelling) + len(state.orders) + len(state.unconfirmed)
        if len(state.agenda) > AGENDA_SLACK + 4 * alive:  # an order has at most its end, expiry, match and one cancel
            self._sweep()

    def take_on(self, intent: OrderIntent, window_end: Millis) -> VenueOrder:
        order = self.state.orders[intent.id] = VenueOrder(intent=intent, left=intent.shares)
        self.state.account.reserve(intent)
        self.plan(window_end, "end", intent.id)
        if intent.expires_at is not None:
            self.plan(intent.expires_at, "expire", intent.id)
        return order

    def fill(
        self, order: VenueOrder, taken: tuple[Price, Shares], available: Shares, liquidity: Liquidity, now: Millis
    ) -> FillMatched:
        """Match so many shares at that price; a taker pays the market's fee, a maker counts for the rebate."""
        intent, (price, shares) = order.intent, taken
        schedule, maker = self.markets[intent.market].market.fees, liquidity is Liquidity.MAKER
        fill = FillMatched(
            at=now,
            agent=intent.agent,
            fill=fill_id(intent.id, order.fills + 1),
            order=intent.id,
            market=intent.market,
            outcome=intent.outcome,
            side=intent.side,
            price=price,
            shares=shares,
            fee=Money(0) if maker else schedule.taker_fee(price, shares),
            liquidity=liquidity,
            available=available,
            rebate_basis=schedule.rebate_basis(price, shares) if maker else Money(0),
        )
        self.book(order, fill)
        return fill

    def book(self, order: VenueOrder, fill: FillMatched) -> None:
        """Count a fill, provisionally; whether it holds shows when it is finalised."""
        order.fills += 1
        order.left = Shares(order.left - fill.shares)
        self.state.account.book(fill)
        self.state.unconfirmed[fill.fill] = fill
        self.plan(fill.at + self.model.finality_ms(fill.fill), "finalise", fill.fill)

    def close(self, order: VenueOrder, reason: CloseReason, now: Millis) -> OrderClosed:
        intent = order.intent
        del self.state.orders[intent.id]
        self.state.account.release(intent.id)
        queue = self.state.resting.get(intent.market)
        if queue:
            queue[:] = [resting for resting in queue if resting.order != intent.id]
        return OrderClosed(at=now, agent=intent.agent, order=intent.id, reason=reason)

    def _sweep(self) -> None:
        """Drop what is planned for orders and fills that are over; it would find nothing to do."""
        state = self.state
        living = state.travelling.keys() | state.orders.keys() | state.unconfirmed.keys()
        state.agenda[:] = [entry for entry in state.agenda if entry[3] in living]
        heapq.heapify(state.agenda)
