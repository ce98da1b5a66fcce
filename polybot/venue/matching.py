"""The paper venue's matching engine: a pure state machine over recorded or live books, with the live venue's rules.

An order's way (polymarket.md 5.6, 6.1): it travels (latency), is checked on arrival, is held for the market's taker
delay if it would trade at once, is then matched against the book *as it then is*, and what is left rests or is killed.
"""

import heapq
from collections.abc import Callable, Mapping

import msgspec

from polybot.domain.events import (
    AnyFact,
    BookReplaced,
    CancelRefused,
    FillConfirmed,
    FillFailed,
    FillMatched,
    IntentRecorded,
    LevelsChanged,
    Liquidity,
    MarketEvent,
    MarketSettled,
    OrderAccepted,
    OrderClosed,
    OrderRejected,
    TradePrinted,
    VenueReply,
)
from polybot.domain.fees import WALK_LEVELS_MAX
from polybot.domain.ids import FillId, MarketId, OrderId, fill_id
from polybot.domain.market import Outcome, Side
from polybot.domain.markets import MarketState
from polybot.domain.order import CloseReason, OrderIntent, TimeInForce
from polybot.domain.units import Millis, Money, Price, Shares
from polybot.venue.account import Account
from polybot.venue.arrival import refusal_on_arrival
from polybot.venue.fill_models import VenueModel
from polybot.venue.liquidity import UsedLiquidity, place_of, takeable
from polybot.venue.queue import Resting


class VenueOrder(msgspec.Struct, kw_only=True):
    """An order the venue has: what is left of it, how many fills it had, and whether it is being held (not cancelable)."""

    intent: OrderIntent
    left: Shares
    fills: int = 0
    held: bool = False


class SimulatorState(msgspec.Struct, kw_only=True):
    """All the paper venue remembers, as plain data for the checkpoint. `agenda` is a heap of (due, number, what, id)."""

    account: Account
    travelling: dict[OrderId, OrderIntent] = {}
    orders: dict[OrderId, VenueOrder] = {}
    resting: dict[MarketId, list[Resting]] = {}
    used: dict[MarketId, dict[int, Shares]] = {}
    unconfirmed: dict[FillId, FillMatched] = {}
    agenda: list[tuple[Millis, int, str, str]] = []
    next_number: int = 1


class Simulator:
    """`submit` and `cancel` put things on the agenda, `advance` lets them happen, `observe` lets the market move."""

    def __init__(self, model: VenueModel, markets: Mapping[MarketId, MarketState], state: SimulatorState) -> None:
        self.model, self.markets, self.state = model, markets, state
        self._intents: dict[OrderId, OrderIntent] = {}
        self._acts: dict[str, Callable[[str, Millis], list[VenueReply]]] = {
            "arrive": self._arrive,
            "match": self._match,
            "cancel": self._cancel,
            "expire": self._expire,
            "end": self._end,
            "finalise": self._finalise,
        }

    # -- what the floor asks ------------------------------------------------------------------------------------------

    def submit(self, intent: OrderIntent, now: Millis) -> None:
        """Send an order off; it arrives after the model's latency."""
        self.state.travelling[intent.id] = intent
        self._plan(now + self.model.latency_ms(intent.id, "place"), "arrive", intent.id)

    def cancel(self, order: OrderId, now: Millis) -> None:
        self._plan(now + self.model.latency_ms(order, "cancel"), "cancel", order)

    def knows(self, order: OrderId) -> bool:
        return order in self.state.travelling or order in self.state.orders

    # -- what time and the market do ----------------------------------------------------------------------------------

    def advance(self, now: Millis) -> list[VenueReply]:
        """Everything that is due at or before `now`, in order of time, against the books as they stand."""
        agenda = self.state.agenda
        if not agenda or agenda[0][0] > now:
            return []
        replies: list[VenueReply] = []
        while agenda and agenda[0][0] <= now:
            due, _, act, subject = heapq.heappop(agenda)
            replies += self._acts[act](subject, due)
        return replies

    def observe(self, event: MarketEvent, state: MarketState | None) -> list[VenueReply]:
        """What an event, already applied to `state`, does to used liquidity and to resting orders."""
        if state is None:
            return []
        market = state.market.id
        if state.payout_up is not None:
            self.state.account.settle(market, state.payout_up)
        if isinstance(event, BookReplaced | LevelsChanged):
            used = self.state.used.get(market)
            if used:
                UsedLiquidity(used).refresh(state.books[Outcome.UP])
            return self._book_moved(state, event.received) if self.state.resting.get(market) else []
        if isinstance(event, TradePrinted) and self.state.resting.get(market):
            return self._trade_printed(event)
        return []

    # -- agenda -------------------------------------------------------------------------------------------------------

    def _plan(self, due: int, act: str, subject: str) -> None:
        heapq.heappush(self.state.agenda, (Millis(due), self.state.next_number, act, subject))
        self.state.next_number += 1

    def _arrive(self, subject: str, now: Millis) -> list[VenueReply]:
        intent = self.state.travelling.pop(OrderId(subject))
        state = self.markets.get(intent.market)
        refusal = refusal_on_arrival(intent, state, self._marketable(intent), self.state.account, now)
        if refusal is not None or state is None:
            text = refusal or "No orderbook exists for the requested token id"
            return [OrderRejected(at=now, agent=intent.agent, order=intent.id, text=text)]
        accepted = OrderAccepted(at=now, agent=intent.agent, order=intent.id)
        self._take_on(intent, state.market.window_end)
        order = self.state.orders[intent.id]
        if self._marketable(intent) and state.market.taker_delay_ms:
            order.held = True
            self._plan(now + state.market.taker_delay_ms, "match", intent.id)
            return [accepted]
        return [accepted, *self._match(intent.id, now)]

    def _take_on(self, intent: OrderIntent, window_end: Millis) -> None:
        self.state.orders[intent.id] = VenueOrder(intent=intent, left=intent.shares)
        self.state.account.reserve(intent)
        self._plan(window_end, "end", intent.id)
        if intent.expires_at is not None:
            self._plan(intent.expires_at, "expire", intent.id)

    def _match(self, subject: str, now: Millis) -> list[VenueReply]:
        order = self.state.orders.get(OrderId(subject))
        if order is None:
            return []
        order.held = False
        intent = order.intent
        state = self.markets.get(intent.market)
        if state is None or now >= state.market.window_end:
            return [self._close(order, CloseReason.MARKET_ENDED, now)]
        if intent.limit % state.market.tick:  # re-validated after the hold: the grid may have changed
            return [self._close(order, CloseReason.CANCELLED, now)]
        replies = [] if intent.post_only else self._walk(order, state, now)
        if not order.left:
            return [*replies, self._close(order, CloseReason.FILLED, now)]
        if not intent.time_in_force.rests:
            return [*replies, self._close(order, CloseReason.KILLED, now)]
        self._rest(order, state)
        return replies

    def _cancel(self, subject: str, now: Millis) -> list[VenueReply]:
        order = self.state.orders.get(OrderId(subject))
        if order is None:
            intent = self.state.travelling.get(OrderId(subject))
            if intent is not None:
                return [CancelRefused(at=now, agent=intent.agent, order=intent.id, text="order not found")]
            return []
        if order.held:  # "During either delay, the order is pending and cannot be canceled" (polymarket.md 5.6)
            agent = order.intent.agent
            return [CancelRefused(at=now, agent=agent, order=OrderId(subject), text="order is pending and cannot be canceled")]
        return [self._close(order, CloseReason.CANCELLED, now)]

    def _expire(self, subject: str, now: Millis) -> list[VenueReply]:
        order = self.state.orders.get(OrderId(subject))
        return [self._close(order, CloseReason.EXPIRED, now)] if order is not None else []

    def _end(self, subject: str, now: Millis) -> list[VenueReply]:
        order = self.state.orders.get(OrderId(subject))
        return [self._close(order, CloseReason.MARKET_ENDED, now)] if order is not None else []

    def _finalise(self, subject: str, now: Millis) -> list[VenueReply]:
        fill = self.state.unconfirmed.pop(FillId(subject), None)
        if fill is None:
            return []
        if self.model.fails_on_chain(fill.fill):
            self.state.account.undo(fill)
            return [FillFailed(at=now, agent=fill.agent, fill=fill.fill, order=fill.order, text="FAILED on chain")]
        return [FillConfirmed(at=now, agent=fill.agent, fill=fill.fill, order=fill.order)]

    # -- matching -----------------------------------------------------------------------------------------------------

    def _marketable(self, intent: OrderIntent) -> bool:
        state = self.markets.get(intent.market)
        if state is None:
            return False
        best = state.books[intent.outcome].best_ask if intent.side is Side.BUY else state.books[intent.outcome].best_bid
        if best is None:
            return False
        return intent.limit >= best if intent.side is Side.BUY else intent.limit <= best

    def _walk(self, order: VenueOrder, state: MarketState, now: Millis) -> list[VenueReply]:
        """Take from the book level by level, at the book's prices; FOK takes all of it or nothing."""
        intent = order.intent
        used = UsedLiquidity(self.state.used.setdefault(intent.market, {}))
        if now - state.books[intent.outcome].received > self.model.book_age_ms_max:
            return []
        plan: list[tuple[Price, Shares, Shares, int]] = []
        wanted = order.left
        for price, available, place in takeable(state, used, intent.outcome, intent.side, intent.limit):
            shares = min(wanted, available)
            plan.append((price, shares, available, place))
            wanted = Shares(wanted - shares)
            if not wanted or len(plan) == WALK_LEVELS_MAX:
                break
        if wanted and intent.time_in_force is TimeInForce.FOK:
            return []
        replies: list[VenueReply] = []
        for price, shares, available, place in plan:
            used.take(place, shares)
            fee = state.market.fees.taker_fee(price, shares)
            replies.append(self._fill(order, price, shares, fee, available, Liquidity.TAKER, now))
        return replies

    def _fill(
        self,
        order: VenueOrder,
        price: Price,
        shares: Shares,
        fee: Money,
        available: Shares,
        liquidity: Liquidity,
        now: Millis,
    ) -> FillMatched:
        intent = order.intent
        order.fills += 1
        order.left = Shares(order.left - shares)
        maker = liquidity is Liquidity.MAKER
        fees = self.markets[intent.market].market.fees
        fill = FillMatched(
            at=now,
            agent=intent.agent,
            fill=fill_id(intent.id, order.fills),
            order=intent.id,
            market=intent.market,
            outcome=intent.outcome,
            side=intent.side,
            price=price,
            shares=shares,
            fee=fee,
            liquidity=liquidity,
            available=available,
            rebate_basis=fees.rebate_basis(price, shares) if maker else Money(0),
        )
        self._book_fill(fill)
        return fill

    def _book_fill(self, fill: FillMatched) -> None:
        self.state.account.book(fill)
        self.state.unconfirmed[fill.fill] = fill
        self._plan(fill.at + self.model.confirm_ms, "finalise", fill.fill)

    def _close(self, order: VenueOrder, reason: CloseReason, now: Millis) -> OrderClosed:
        intent = order.intent
        del self.state.orders[intent.id]
        self.state.account.release(intent.id)
        queue = self.state.resting.get(intent.market)
        if queue:
            queue[:] = [resting for resting in queue if resting.order != intent.id]
        return OrderClosed(at=now, agent=intent.agent, order=intent.id, reason=reason)

    # -- resting orders -----------------------------------------------------------------------------------------------

    def _rest(self, order: VenueOrder, state: MarketState) -> None:
        intent = order.intent
        size = state.books[intent.outcome].size_at(intent.side, intent.limit)
        place = place_of(intent.outcome, intent.side, intent.limit)
        resting = Resting(order=intent.id, place=place, left=order.left, ahead=size, level=size)
        self.state.resting.setdefault(intent.market, []).append(resting)

    def _book_moved(self, state: MarketState, now: Millis) -> list[VenueReply]:
        """Let resting orders see their level; those the other side now stands at or through are matched with it."""
        up = state.books[Outcome.UP]
        replies: list[VenueReply] = []
        for resting in tuple(self.state.resting[state.market.id]):
            is_bid, price = resting.place < 0, Price(abs(resting.place))
            resting.see_level(up.size_at(Side.BUY if is_bid else Side.SELL, price))
            if resting.ahead == 0 and resting.level == 0:
                replies += self._crossed(resting, state, now)
        return replies

    def _crossed(self, resting: Resting, state: MarketState, now: Millis) -> list[VenueReply]:
        order = self.state.orders[resting.order]
        intent = order.intent
        used = UsedLiquidity(self.state.used.setdefault(intent.market, {}))
        replies: list[VenueReply] = []
        for _, available, place in takeable(state, used, intent.outcome, intent.side, intent.limit):
            shares = min(resting.left, available)
            used.take(place, shares)
            replies += self._maker_fill(resting, shares, available, now)
            if resting.left == 0:
                break
        return replies

    def _trade_printed(self, trade: TradePrinted) -> list[VenueReply]:
        """A trade takes what rests at its price or better, best price first, oldest first, never more than its size."""
        opposite = Side.SELL if trade.side is Side.BUY else Side.BUY
        level = place_of(trade.outcome, opposite, trade.price)  # where the maker stood, in Up's book
        same_side = [r for r in self.state.resting[trade.market] if (r.place < 0) == (level < 0)]
        replies: list[VenueReply] = []
        left = trade.size
        for resting in sorted(same_side, key=lambda r: r.place):  # bids: highest first; asks: lowest first
            if resting.place < level:  # a better price than the trade's: it went through us
                resting.ahead = Shares(0)
                reached = left
            elif resting.place == level:
                reached = min(left, resting.see_trade(trade.size))
            else:
                break
            shares = min(resting.left, reached)
            if shares:
                replies += self._maker_fill(resting, shares, reached, trade.received)
                left = Shares(left - shares)
        return replies

    def _maker_fill(self, resting: Resting, shares: Shares, available: Shares, now: Millis) -> list[VenueReply]:
        order = self.state.orders[resting.order]
        resting.left = Shares(resting.left - shares)
        fill = self._fill(order, order.intent.limit, shares, Money(0), available, Liquidity.MAKER, now)
        return [fill] if order.left else [fill, self._close(order, CloseReason.FILLED, now)]

    # -- start-up -----------------------------------------------------------------------------------------------------

    def restore(self, fact: AnyFact) -> None:
        """Take in a fact journaled after the checkpoint this state came from. A fact known already changes nothing.

        An order the journal shows as accepted is matched again at the venue's next chance, from the back of the queue.
        An intent with no answer is unknown here: it never arrived.
        """
        match fact:
            case IntentRecorded():
                self._intents[fact.intent.id] = fact.intent
            case OrderAccepted(order=order) if order not in self.state.orders:
                self._readopt(order, fact.at)
            case FillMatched() if self._is_new(fact):
                self._refill(fact)
            case FillConfirmed(fill=fill) if fill in self.state.unconfirmed:
                del self.state.unconfirmed[fill]
            case FillFailed(fill=fill) if fill in self.state.unconfirmed:
                self.state.account.undo(self.state.unconfirmed.pop(fill))
            case OrderClosed(order=order, reason=reason) if order in self.state.orders:
                self._close(self.state.orders[order], reason, fact.at)
            case MarketSettled():
                self.state.account.settle(fact.market, fact.payout_up)
            case _:
                pass

    def _readopt(self, order: OrderId, at: Millis) -> None:
        intent = self.state.travelling.pop(order, None) or self._intents[order]
        state = self.markets.get(intent.market)
        end = state.market.window_end if state is not None else at
        self._take_on(intent, end)
        self._plan(at + (state.market.taker_delay_ms if state is not None else 0), "match", order)

    def _is_new(self, fill: FillMatched) -> bool:
        order = self.state.orders.get(fill.order)
        return order is not None and fill.fill == fill_id(fill.order, order.fills + 1)

    def _refill(self, fill: FillMatched) -> None:
        order = self.state.orders[fill.order]
        order.fills += 1
        order.left = Shares(order.left - fill.shares)
        self._book_fill(fill)


def new_simulator_state(cash: Money) -> SimulatorState:
    """An empty venue with so much in our wallet, in millionths of a pUSD."""
    return SimulatorState(account=Account(cash=cash))
