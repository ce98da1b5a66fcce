"""The paper venue's matching engine: a pure state machine over recorded or live books, with the live venue's rules.

An order's way (polymarket.md 5.6, 6.1): it travels (latency), is checked on arrival, is held for the market's taker
delay if it would trade at once, is then matched against the book *as it then is*, and what is left rests or is killed.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping

from polybot.domain.book import Book, BookState
from polybot.domain.events import (
    AnyFact,
    BookReplaced,
    CancelRefused,
    FillConfirmed,
    FillFailed,
    LevelsChanged,
    Liquidity,
    MarketEvent,
    OrderAccepted,
    OrderRejected,
    TradePrinted,
    VenueReply,
)
from polybot.domain.fees import WALK_LEVELS_MAX
from polybot.domain.ids import FillId, MarketId, OrderId
from polybot.domain.market import Side
from polybot.domain.markets import MarketState
from polybot.domain.order import CloseReason, OrderIntent, TimeInForce
from polybot.domain.units import Millis, Price, Shares, floor_to_lot
from polybot.venue.arrival import NO_ORDERBOOK, refusal_on_arrival
from polybot.venue.fill_models import VenueModel
from polybot.venue.liquidity import UsedLiquidity, place_of, size_standing, takeable
from polybot.venue.open_orders import OpenOrders, SimulatorState, VenueOrder, new_simulator_state
from polybot.venue.queue import Resting
from polybot.venue.restoring import Restorer

__all__ = ["Simulator", "SimulatorState", "new_simulator_state"]


BOOK_EVENTS = (BookReplaced, LevelsChanged)


class Simulator:
    """`submit` and `cancel` put things on the agenda, `advance` lets them happen, `observe` lets the market move."""

    def __init__(self, model: VenueModel, markets: Mapping[MarketId, MarketState], state: SimulatorState) -> None:
        self.model, self.markets, self.state = model, markets, state
        self._open = OpenOrders(model, markets, state)
        self._restorer = Restorer(self._open)
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
        """Send an order off; it arrives after the model's latency. One that is known already is not sent twice."""
        if self.knows(intent.id):
            return
        self.state.travelling[intent.id] = intent
        self._open.plan(now + self.model.latency_ms(intent.id, "place"), "arrive", intent.id)

    def cancel(self, order: OrderId, now: Millis) -> None:
        """Ask for an order back; its answer comes with the model's latency, and there is none if the order is over."""
        if self.knows(order):
            self._open.plan(now + self.model.latency_ms(order, "cancel"), "cancel", order)

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
            replies += self._acts[act](subject, self._open.moment(due))
        return replies

    def observe(self, event: MarketEvent, state: MarketState | None) -> list[VenueReply]:
        """What an event, already applied to `state`, does to used liquidity and to resting orders."""
        if state is None:
            return []
        market = state.market.id
        if state.payout_up is not None:
            return self._resolved(market, state.payout_up, event.received)
        if isinstance(event, BOOK_EVENTS):
            used = self.state.used.get(market)
            if used:
                UsedLiquidity(used).refresh(state.books)
            return self._book_moved(state, self._open.moment(event.received)) if self.state.resting.get(market) else []
        if isinstance(event, TradePrinted) and self.state.resting.get(market):
            return self._trade_printed(event, self._open.moment(event.received))
        return []

    def restore(self, fact: AnyFact) -> None:
        """Take in a fact journaled after the checkpoint this state came from (restoring.py)."""
        self._restorer.take(fact)

    # -- agenda -------------------------------------------------------------------------------------------------------

    def _arrive(self, subject: str, now: Millis) -> list[VenueReply]:
        intent = self.state.travelling.pop(OrderId(subject), None)
        if intent is None:  # the journal knew its answer already (restoring.py)
            return []
        state = self.markets.get(intent.market)
        marketable = state is not None and is_marketable(intent, state)
        refusal = refusal_on_arrival(intent, state, marketable, self.state.account, now)
        if refusal is not None or state is None:
            return [OrderRejected(at=now, agent=intent.agent, order=intent.id, text=refusal or NO_ORDERBOOK)]
        accepted = OrderAccepted(at=now, agent=intent.agent, order=intent.id)
        order = self._open.take_on(intent, state.market.window_end)
        if marketable and state.market.taker_delay_ms:
            order.held = True
            self._open.plan(now + state.market.taker_delay_ms, "match", intent.id)
            return [accepted]
        return [accepted, *self._match(intent.id, now)]

    def _match(self, subject: str, now: Millis) -> list[VenueReply]:
        order = self.state.orders.get(OrderId(subject))
        if order is None:
            return []
        order.held = False
        intent = order.intent
        state = self.markets.get(intent.market)
        if state is None or now >= state.market.window_end or state.payout_up is not None:
            return [self._open.close(order, CloseReason.MARKET_ENDED, now)]
        if intent.limit % state.market.tick:  # re-validated after the hold: the grid may have changed
            return [self._open.close(order, CloseReason.CANCELLED, now)]
        replies = self._walk(order, state, now) if order.left and not intent.post_only else []
        if not order.left:
            return [*replies, self._open.close(order, CloseReason.FILLED, now)]
        if not intent.time_in_force.rests:
            return [*replies, self._open.close(order, CloseReason.KILLED, now)]
        self._rest(order, state, now)  # below the minimum size too: only an order on arrival must reach it
        return replies

    def _cancel(self, subject: str, now: Millis) -> list[VenueReply]:
        order = self.state.orders.get(OrderId(subject))
        if order is not None and not order.held:
            return [self._open.close(order, CloseReason.CANCELLED, now)]
        intent = order.intent if order is not None else self.state.travelling.get(OrderId(subject))
        if intent is None:
            return []
        # "During either delay, the order is pending and cannot be canceled" (polymarket.md 5.6)
        text = "order not found" if order is None else "order is pending and cannot be canceled"
        return [CancelRefused(at=now, agent=intent.agent, order=intent.id, text=text)]

    def _expire(self, subject: str, now: Millis) -> list[VenueReply]:
        order = self.state.orders.get(OrderId(subject))
        return [self._open.close(order, CloseReason.EXPIRED, now)] if order is not None else []

    def _end(self, subject: str, now: Millis) -> list[VenueReply]:
        order = self.state.orders.get(OrderId(subject))
        return [self._open.close(order, CloseReason.MARKET_ENDED, now)] if order is not None else []

    def _finalise(self, subject: str, now: Millis) -> list[VenueReply]:
        fill = self.state.unconfirmed.pop(FillId(subject), None)
        if fill is None:
            return []
        if self.model.fails_on_chain(fill.fill):
            self.state.account.undo(fill)
            return [FillFailed(at=now, agent=fill.agent, fill=fill.fill, order=fill.order, text="FAILED on chain")]
        self.state.account.confirm(fill)
        return [FillConfirmed(at=now, agent=fill.agent, fill=fill.fill, order=fill.order)]

    def _resolved(self, market: MarketId, payout_up: Price, at: Millis) -> list[VenueReply]:
        """The market is over, be it before its time: its open orders are closed, its shares paid out."""
        self.state.account.settle(market, payout_up)
        self.state.used.pop(market, None)
        mine = [order for order in self.state.orders.values() if order.intent.market == market]
        now = self._open.moment(at) if mine else at
        replies: list[VenueReply] = [self._open.close(order, CloseReason.MARKET_ENDED, now) for order in mine]
        self.state.resting.pop(market, None)
        return replies

    # -- taking -------------------------------------------------------------------------------------------------------

    def _walk(self, order: VenueOrder, state: MarketState, now: Millis) -> list[VenueReply]:
        """Take from the book level by level, at the book's prices; FOK takes all of it or nothing."""
        plan: list[tuple[Price, Shares, Shares, int]] = []
        wanted = order.left
        for price, available, place in self._offers(order.intent, state, now):
            shares = min(wanted, available)
            plan.append((price, shares, available, place))
            wanted = Shares(wanted - shares)
            if not wanted or len(plan) == WALK_LEVELS_MAX:
                break
        if wanted and order.intent.time_in_force is TimeInForce.FOK:
            return []
        used = self._used(state)
        replies: list[VenueReply] = []
        for price, shares, available, place in plan:
            used.take(place, shares)
            replies.append(self._open.fill(order, (price, shares), available, Liquidity.TAKER, now))
        return replies

    def _offers(self, intent: OrderIntent, state: MarketState, now: Millis) -> Iterator[tuple[Price, Shares, int]]:
        if not self._trusted(state.books[intent.outcome], now):
            return iter(())
        return takeable(state, self._used(state), intent.outcome, intent.side, intent.limit)

    def _used(self, state: MarketState) -> UsedLiquidity:
        return UsedLiquidity(self.state.used.setdefault(state.market.id, {}))

    def _trusted(self, book: Book, now: Millis) -> bool:
        return book.state is not BookState.CONTRADICTED and now - book.received <= self.model.book_age_ms_max

    # -- resting ------------------------------------------------------------------------------------------------------

    def _rest(self, order: VenueOrder, state: MarketState, now: Millis) -> None:
        intent = order.intent
        place = place_of(intent.outcome, intent.side, intent.limit)
        size = size_standing(state.books, place)
        blind = not self._trusted(state.books[intent.outcome], now)
        resting = Resting(order=intent.id, place=place, left=order.left, ahead=size, level=size, blind=blind)
        self.state.resting.setdefault(intent.market, []).append(resting)

    def _book_moved(self, state: MarketState, now: Millis) -> list[VenueReply]:
        """Let resting orders see their level; those the other side now stands at or through are matched with it."""
        up, down = state.books
        if not (self._trusted(up, now) and self._trusted(down, now)):
            return []
        replies: list[VenueReply] = []
        for resting in tuple(self.state.resting[state.market.id]):
            resting.see_level(size_standing(state.books, resting.place), now)
            if resting.ahead == 0 and resting.level == 0:
                replies += self._crossed(resting, state, now)
            resting.blind = False
        return replies

    def _crossed(self, resting: Resting, state: MarketState, now: Millis) -> list[VenueReply]:
        """The other side came to us, so we are its maker; an order that may have been there first pays as a taker."""
        order = self.state.orders[resting.order]
        used = self._used(state)
        replies: list[VenueReply] = []
        for _, available, place in self._offers(order.intent, state, now):
            if resting.blind and order.intent.post_only:
                return [self._open.close(order, CloseReason.CANCELLED, now)]
            shares = min(resting.left, available)
            used.take(place, shares)
            replies += self._resting_fill(resting, shares, available, now)
            if resting.left == 0:
                break
        return replies

    def _trade_printed(self, trade: TradePrinted, now: Millis) -> list[VenueReply]:
        """A trade takes what rests at its price or better, best price first, oldest first, never more than its size."""
        opposite = Side.SELL if trade.side is Side.BUY else Side.BUY
        level = place_of(trade.outcome, opposite, trade.price)  # where the maker stood, in Up's book
        same_side = [r for r in self.state.resting[trade.market] if (r.place < 0) == (level < 0)]
        replies: list[VenueReply] = []
        through, at_level = 0, 0  # what our own earlier orders took of the trade, at better prices and at its own
        for resting in sorted(same_side, key=lambda r: r.place):  # bids: highest first; asks: lowest first
            if resting.place > level:
                break
            hit = Shares(trade.size - through)
            if resting.place < level:  # a better price than the trade's: it went through us
                resting.ahead, reached = Shares(0), hit
            else:
                reached = Shares(resting.see_trade(trade.size, hit, now) - at_level)
            shares = min(resting.left, floor_to_lot(max(0, reached)))
            if not shares:
                continue
            replies += self._resting_fill(resting, shares, reached, now)
            if resting.place < level:
                through += shares
            else:
                at_level += shares
        return replies

    def _resting_fill(self, resting: Resting, shares: Shares, available: Shares, now: Millis) -> list[VenueReply]:
        order = self.state.orders[resting.order]
        resting.left = Shares(resting.left - shares)
        liquidity = Liquidity.TAKER if resting.blind and not order.intent.post_only else Liquidity.MAKER
        fill = self._open.fill(order, (order.intent.limit, shares), available, liquidity, now)
        return [fill] if order.left else [fill, self._open.close(order, CloseReason.FILLED, now)]


def is_marketable(intent: OrderIntent, state: MarketState) -> bool:
    """Whether the order's limit reaches the best price on the other side, as the book shows it."""
    book = state.books[intent.outcome]
    if intent.side is Side.BUY:
        return book.best_ask is not None and intent.limit >= book.best_ask
    return book.best_bid is not None and intent.limit <= book.best_bid
