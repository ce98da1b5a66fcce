"""The life of orders: taken or refused, held, matched, rested, killed, expired, cancelled. Pure; see engine.py.

An order that would trade at once is held for the market's taker delay, and then looked at anew against the book as it
is by then (polymarket.md 5.6).
"""

from collections.abc import Iterable

import msgspec

from polybot.domain.ids import MarketId
from polybot.domain.market import Outcome, Side
from polybot.domain.order import TimeInForce
from polybot.domain.units import UNIT, Millis, Money, Price, Shares
from polybot.exchange.core import entrance
from polybot.exchange.core.accounts import reserve_of
from polybot.exchange.core.matching import (
    Match,
    Plan,
    Taker,
    client_taker,
    crowd_taker,
    is_marketable,
    plan,
    share_step,
    trade_of,
)
from polybot.exchange.core.model import (
    STREET,
    Accepted,
    Answer,
    NewOrder,
    Order,
    OrderHash,
    OrderStatus,
    OwnerKey,
    Refused,
    Trade,
)
from polybot.exchange.core.news import BookShown, LevelShown, OrderAnswered, TradeShown
from polybot.exchange.core.pool import Resting
from polybot.exchange.core.settlement import Settlement
from polybot.exchange.core.state import EngineState, MarketBoard

BOTH = (Outcome.UP, Outcome.DOWN)
KILLED = (TimeInForce.FOK, TimeInForce.FAK)
NOT_FOUND = "order can't be found - already canceled or matched"
"""What the venue says of an order that is over, or that it never saw, without saying which."""


class Dealing:
    """Works on the engine's state; owns none of its own."""

    def __init__(self, state: EngineState) -> None:
        self.state = state
        self._settlement = Settlement(state)

    def advance(self, now: Millis) -> None:
        state = self.state
        for due, act, subject in state.pop_due(now):
            at = Millis(max(due, state.now))
            state.now = at
            if act == "match":
                self._end_hold(OrderHash(subject), at)
            elif act == "expire":
                self._expire(OrderHash(subject), at)
            elif act == "close":
                self._close_market(subject, at)
            else:
                self._settlement.act(act, subject, at)
        state.now = Millis(max(now, state.now))

    # -- placing ------------------------------------------------------------------------------------------------------

    def place(self, new: NewOrder, now: Millis) -> Answer | None:
        board = self.state.by_token.get(new.token)
        if board is None or not board.accepting:
            return entrance.NO_ORDERBOOK
        if now < board.listing.ready_at:
            return entrance.NOT_READY
        if new.id in self.state.orders:
            return entrance.duplicated(new)
        order = entrance.order_of(new, board.listing, board.tick, now)
        if isinstance(order, Refused):
            return order
        if not self.state.rules.market_buy_spends:
            order = entrance.sized_by_shares(order)
        refused = self._refused_now(board, order)
        if refused is not None:
            return refused
        self.state.keep_order(order)
        if is_marketable(board.pool, order) and board.listing.market.taker_delay_ms:
            self.state.keep_order(msgspec.structs.replace(order, status=OrderStatus.DELAYED))
            self.state.plan(now + board.listing.market.taker_delay_ms, "match", order.id)
            return None
        return self._enter(board, order, now)

    def _end_hold(self, order_id: OrderHash, now: Millis) -> None:
        held = self.state.orders.get(order_id)
        if held is None:
            return
        order = msgspec.structs.replace(held, status=OrderStatus.LIVE)
        board = self.state.boards[order.market]
        refused = self._refused_now(board, order) if board.accepting else entrance.NO_ORDERBOOK
        answer = self._kill(order, refused, now) if refused else self._enter(board, order, now)
        self.state.say(OrderAnswered(now, order_id, answer))

    def _refused_now(self, board: MarketBoard, order: Order) -> Refused | None:
        """What depends on the book and the account as they are."""
        account = self.state.bank.account(order.account)
        marketable = is_marketable(board.pool, order)
        refused = entrance.refused_marketable(order) if marketable else None
        if refused is not None:
            return refused
        if not account.approved:
            return entrance.NO_ALLOWANCE
        if order.side is Side.SELL:
            return None if account.free_shares(order.token) >= order.left else entrance.NO_BALANCE
        needed = int(reserve_of(order))
        if marketable:
            planned = plan(board.pool, order, board.listing.market.fees)
            rest = (
                order.price * (order.left - planned.shares) // UNIT
                if order.spend is None
                else order.spend - planned.cost
            )
            needed = planned.cost + planned.fee + max(0, rest)
        return None if account.free_cash >= needed else entrance.NO_BALANCE

    def _enter(self, board: MarketBoard, order: Order, now: Millis) -> Answer:
        """Match what can be matched now; the rest stays, or is killed."""
        planned = plan(board.pool, order, board.listing.market.fees)
        if order.order_type is TimeInForce.FOK and not planned.whole:
            return self._kill(order, entrance.FOK_KILLED, now)
        if order.order_type is TimeInForce.FAK and not planned.bites:
            return self._kill(order, entrance.FAK_KILLED, now)
        self.state.keep_order(order)
        self.state.say_order("PLACEMENT", order, now)
        order = self._take(board, order, planned, now)
        order = self._rest(board, order, now) if order.order_type.rests else self._finish(order)
        status = "matched" if order.matched else "live"
        making, taking = (order.paid, order.matched) if order.side is Side.BUY else (order.matched, order.paid)
        return Accepted(order=order, status=status, making=making, taking=taking, trades=order.trades)

    def _kill(self, order: Order, refused: Refused, now: Millis) -> Refused:
        """An order that was taken in and comes to nothing: its owner's stream hears of it in the venue's words."""
        status = OrderStatus.CANCELED if order.order_type in KILLED else OrderStatus.INVALID
        killed = msgspec.structs.replace(order, status=status, status_text=f"CANCELED_{refused.text}")
        self.state.keep_order(killed)
        self.state.say_order("CANCELLATION", killed, now)
        return refused

    def _finish(self, order: Order) -> Order:
        """A market order is over, however much was filled; one that got more shares than it named is as large."""
        size = Shares(max(order.size, order.matched))
        return self.state.keep_order(msgspec.structs.replace(order, status=OrderStatus.MATCHED, size=size, spend=None))

    def _rest(self, board: MarketBoard, order: Order, now: Millis) -> Order:
        if not order.left:
            return self.state.keep_order(msgspec.structs.replace(order, status=OrderStatus.MATCHED))
        side = board.pool.of(order.is_bid)
        level = side.level(order.up_price)
        level.queue.append(Resting(order.id, order.left, level.crowd))
        self.state.resting[order.id] = None
        self.state.bank.reserve(order, +1)
        expiry = entrance.expires_at(order)
        if expiry is not None:
            self.state.plan(expiry, "expire", order.id)
        size = side.size_at(order.up_price)
        self.state.say_levels(board, (LevelShown(side.side, order.up_price, size, order.id),), now)
        return order

    # -- matching -----------------------------------------------------------------------------------------------------

    def _take(self, board: MarketBoard, order: Order, planned: Plan, now: Millis) -> Order:
        """Carry a plan out: one trade for each price level. The whole book is shown afterwards, as the venue does."""
        other = board.pool.of(not order.is_bid)
        for bucket, bite in enumerate(planned.bites):
            level = other.levels[bite.price]
            parts = [(self.state.orders[resting.order], shares) for resting, shares in bite.makers]
            level.take_crowd(bite.crowd)
            trade = self._deal(board, client_taker(order), Match(bite.price, parts, bite.crowd), now, bucket)
            paid = Money(order.paid + abs(trade.legs[0].cash))
            order = self.state.keep_order(
                msgspec.structs.replace(
                    order,
                    matched=Shares(order.matched + trade.shares),
                    paid=paid,
                    spend=None if order.spend is None else Money(order.spend - abs(trade.legs[0].cash)),
                    trades=(*order.trades, trade.id),
                )
            )
            status = OrderStatus.MATCHED if not order.left else order.status
            self.state.say_order("UPDATE", msgspec.structs.replace(order, status=status), now)
            other.tidy(bite.price)
        if planned.bites:
            self.state.say(BookShown(now, board.market, BOTH))
            self.state.say_top(board, now)
        return order

    def _deal(self, board: MarketBoard, taker: Taker, match: Match, now: Millis, bucket: int = 0) -> Trade:
        """Make one trade, and let every maker's order have its part of it."""
        fees = None if taker.account == STREET else board.listing.market.fees
        trade = trade_of(board.listing, taker, match, fees, self.state.new_deal(now, bucket))
        for maker, shares in match.parts:
            self._fill_maker(board, maker, shares, trade, now)
        self._settlement.open(board, trade, now)
        self.state.say(
            TradeShown(now, board.market, trade.outcome, trade.side, trade.price, trade.shares, trade.transaction_hash)
        )
        return trade

    def _fill_maker(self, board: MarketBoard, maker: Order, shares: Shares, trade: Trade, now: Millis) -> None:
        self.state.bank.reserve(maker, -1)
        matched = Shares(maker.matched + shares)
        status = OrderStatus.MATCHED if matched == maker.size else OrderStatus.LIVE
        paid = Money(maker.paid + maker.price * shares // UNIT)
        order = msgspec.structs.replace(
            maker, matched=matched, paid=paid, status=status, trades=(*maker.trades, trade.id)
        )
        self.state.keep_order(order)
        queue = board.pool.of(order.is_bid).level(order.up_price).queue
        for resting in [resting for resting in queue if resting.order == order.id]:
            resting.left = order.left
            if not order.left:
                queue.remove(resting)
        board.pool.of(order.is_bid).tidy(order.up_price)
        if order.left:
            self.state.bank.reserve(order, +1)
        self.state.say_order("UPDATE", order, now)

    # -- the crowd ----------------------------------------------------------------------------------------------------

    def cross(self, board: MarketBoard, now: Millis) -> None:
        """The recorded depth has moved onto our clients' orders: what it offers there, it has traded with them."""
        bid, ask = board.pool.top
        if not board.accepting or bid is None or ask is None or bid < ask:
            return
        for is_bid in (True, False):
            for order in self._queue(board, is_bid):
                self._cross_one(board, order, now)

    def _cross_one(self, board: MarketBoard, order: Order, now: Millis) -> None:
        other = board.pool.of(not order.is_bid)
        step = share_step(order.price)
        for price in other.best_first():
            if not order.left or not other.reaches(order.up_price, price):
                return
            level = other.levels[price]
            part = int(min(order.left, level.crowd))
            part -= part % step
            if not part:
                continue
            level.take_crowd(part)
            self._crowd_fills(board, order, Shares(part), now)
            order = self.state.orders[order.id]
            self.state.say_levels(board, (LevelShown(other.side, price, other.size_at(price)),), now)

    def crowd_trades(
        self, board: MarketBoard, outcome: Outcome, side: Side, price: Price, shares: Shares, now: Millis
    ) -> None:
        """A recorded taker came by: better-priced orders of ours had it first, those at its price after their queue."""
        up_price = price if outcome is Outcome.UP else Price(UNIT - price)
        is_bid = (side is Side.BUY) == (outcome is Outcome.UP)
        hit = board.pool.of(not is_bid)
        left = int(shares)
        for level_price in hit.best_first() if board.accepting else []:
            if not left or not hit.reaches(up_price, level_price):
                return
            level, is_through = hit.levels[level_price], level_price != up_price
            for resting, offered in list(level.offers()):
                if resting is None:
                    gone = 0 if is_through else min(left, offered)
                    level.pass_crowd(gone)
                    left -= gone
                    continue
                order = self.state.orders[resting.order]
                part = min(left, offered)
                part -= part % share_step(order.price)
                if part:
                    left -= part
                    self._crowd_fills(board, order, Shares(part), now)

    def _crowd_fills(self, board: MarketBoard, order: Order, shares: Shares, now: Millis) -> None:
        side, price = board.pool.of(order.is_bid), order.up_price
        self._deal(board, crowd_taker(order), Match(price, [(order, shares)]), now)
        self.state.say_levels(board, (LevelShown(side.side, price, side.size_at(price), order.id),), now)

    def _queue(self, board: MarketBoard, is_bid: bool) -> list[Order]:
        """Our clients' orders on one side: best price first, then the oldest."""
        orders = [
            order for order in self.state.open_orders() if order.market == board.market and order.is_bid == is_bid
        ]
        return sorted(orders, key=lambda order: -order.up_price if is_bid else order.up_price)

    # -- closing ------------------------------------------------------------------------------------------------------

    def cancel(
        self, owner: OwnerKey, ids: Iterable[OrderHash], now: Millis
    ) -> tuple[list[OrderHash], dict[OrderHash, str]]:
        done: list[OrderHash] = []
        refused: dict[OrderHash, str] = {}
        for order_id in dict.fromkeys(ids):
            order = self.state.orders.get(order_id)
            why = _not_cancellable(order, owner)
            if order is not None and why is None:
                self.close(order, now)
                done.append(order_id)
            else:
                refused[order_id] = why or ""
        return done, refused

    def close(self, order: Order, now: Millis, status: OrderStatus = OrderStatus.CANCELED) -> None:
        """Take a resting order out of the book, whatever the reason."""
        board = self.state.boards[order.market]
        side = board.pool.of(order.is_bid)
        level = side.level(order.up_price)
        level.queue = [resting for resting in level.queue if resting.order != order.id]
        side.tidy(order.up_price)
        self.state.bank.reserve(order, -1)
        closed = self.state.keep_order(msgspec.structs.replace(order, status=status))
        self.state.say_order("CANCELLATION", closed, now)
        change = LevelShown(side.side, order.up_price, side.size_at(order.up_price), order.id)
        self.state.say_levels(board, (change,), now)

    def cancel_resolved(self, board: MarketBoard, now: Millis) -> None:
        for order in [order for order in self.state.open_orders() if order.market == board.market]:
            self.close(order, now, OrderStatus.CANCELED_MARKET_RESOLVED)

    def _expire(self, order_id: OrderHash, now: Millis) -> None:
        order = self.state.orders.get(order_id)
        if order is not None and order_id in self.state.resting:
            self.close(order, now, OrderStatus.CANCELED_EXPIRED_ORDER)

    def _close_market(self, market: str, now: Millis) -> None:
        board = self.state.boards.get(MarketId(market))
        if board is not None:
            self.state.close_board(board, now)


def _not_cancellable(order: Order | None, owner: OwnerKey) -> str | None:
    if order is None or order.owner != owner:
        return NOT_FOUND
    if order.status is OrderStatus.LIVE:
        return None
    if order.status is OrderStatus.DELAYED:
        return "order is pending and cannot be canceled"
    return "order already matched" if order.status is OrderStatus.MATCHED else NOT_FOUND
