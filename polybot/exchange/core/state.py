"""What the engine knows, and the few things everybody in it does with that: plan, say, name. Pure."""

import hashlib
import heapq
import random
from collections.abc import Iterator

import msgspec

from polybot.domain.ids import ConditionId, MarketId, TokenId
from polybot.domain.market import Outcome
from polybot.domain.units import UNIT, Millis, Price
from polybot.exchange.core.accounts import Bank
from polybot.exchange.core.matching import Dealt
from polybot.exchange.core.model import Listing, Order, OrderHash, OrderStatus, Rules, Trade, TradeId
from polybot.exchange.core.news import (
    BookShown,
    LevelShown,
    LevelsShown,
    MarketClosed,
    News,
    OrderChanged,
    TopMoved,
    TradeChanged,
    TradeShown,
)
from polybot.exchange.core.pool import Pool


class MarketBoard:
    """One market: its terms, the tick of the moment, its depth, whether it takes orders, and what it paid."""

    __slots__ = ("accepting", "changed_at", "last_trade", "listing", "payout_up", "pool", "tick")

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.tick = listing.market.tick
        self.pool = Pool()
        self.accepting = True
        self.changed_at = Millis(0)
        self.payout_up: Price | None = None
        self.last_trade: TradeShown | None = None

    @property
    def market(self) -> MarketId:
        return self.listing.market.id

    def payouts(self) -> list[tuple[TokenId, int]]:
        """What a share of each token pays, in millionths; nothing before the market is resolved."""
        if self.payout_up is None:
            return []
        return list(zip(self.listing.tokens, (self.payout_up, UNIT - self.payout_up), strict=True))


class EngineState:
    """Owned by the engine. The agenda is ordered by time and then by a running number, never by chance."""

    def __init__(self, *, rules: Rules, bank: Bank, chance: random.Random) -> None:
        self.rules, self.bank, self.chance = rules, bank, chance
        self.now = Millis(0)
        self.boards: dict[MarketId, MarketBoard] = {}
        self.by_token: dict[TokenId, MarketBoard] = {}
        self.by_condition: dict[ConditionId, MarketBoard] = {}
        self.orders: dict[OrderHash, Order] = {}
        self.resting: dict[OrderHash, None] = {}
        self.trades: dict[TradeId, Trade] = {}
        self.news: list[News] = []
        self._agenda: list[tuple[Millis, int, str, str]] = []
        self._counted = 0

    # -- agenda -------------------------------------------------------------------------------------------------------

    def plan(self, due: int, act: str, subject: str) -> None:
        self._counted += 1
        heapq.heappush(self._agenda, (Millis(due), self._counted, act, subject))

    def pop_due(self, now: Millis) -> Iterator[tuple[Millis, str, str]]:
        """What is due by `now`, in order; more may be planned meanwhile."""
        while self._agenda and self._agenda[0][0] <= now:
            due, _, act, subject = heapq.heappop(self._agenda)
            yield due, act, subject

    def next_due(self) -> Millis | None:
        return self._agenda[0][0] if self._agenda else None

    # -- names --------------------------------------------------------------------------------------------------------

    def new_deal(self, now: Millis, bucket: int = 0) -> Dealt:
        self._counted += 1
        number = self._counted
        trade_id = TradeId(f"{number >> 32:08x}-0000-4000-8000-{number & 0xFFFFFFFF:012x}")
        return Dealt(id=trade_id, transaction_hash=self.new_transaction(), at=now, bucket=bucket)

    def new_transaction(self) -> str:
        self._counted += 1
        return "0x" + hashlib.sha256(f"transaction {self._counted}".encode()).hexdigest()

    # -- markets, orders, trades --------------------------------------------------------------------------------------

    def add_board(self, listing: Listing) -> MarketBoard:
        board = self.boards[listing.market.id] = MarketBoard(listing)
        self.by_condition[listing.market.condition_id] = board
        self.by_token.update(dict.fromkeys(listing.tokens, board))
        return board

    def forget(self, market: MarketId) -> None:
        board = self.boards.pop(market)
        self.by_condition.pop(board.listing.market.condition_id, None)
        for token in board.listing.tokens:
            self.by_token.pop(token, None)
        self.orders = {name: order for name, order in self.orders.items() if order.market != market}
        self.resting = {name: None for name in self.resting if name in self.orders}
        self.trades = {name: trade for name, trade in self.trades.items() if trade.market != market}

    def open_orders(self) -> Iterator[Order]:
        return (self.orders[name] for name in self.resting)

    def keep_order(self, order: Order) -> Order:
        self.orders[order.id] = order
        if order.status is not OrderStatus.LIVE:
            self.resting.pop(order.id, None)
        return order

    def keep_trade(self, trade: Trade, now: Millis) -> Trade:
        trade = msgspec.structs.replace(trade, updated_at=now)
        self.trades[trade.id] = trade
        self.say(TradeChanged(now, trade))
        return trade

    # -- saying -------------------------------------------------------------------------------------------------------

    def say(self, news: News) -> None:
        if isinstance(news, TradeShown):
            self.boards[news.market].last_trade = news
        elif isinstance(news, LevelsShown | BookShown):
            self.boards[news.market].changed_at = news.at
        self.news.append(news)

    def say_order(self, kind: str, order: Order, now: Millis) -> None:
        self.say(OrderChanged(now, kind, order))

    def close_board(self, board: MarketBoard, now: Millis) -> None:
        """Take no more orders; once."""
        if board.accepting:
            board.accepting = False
            self.say(MarketClosed(now, board.market))

    def say_levels(
        self,
        board: MarketBoard,
        changes: tuple[LevelShown, ...],
        now: Millis,
        shown_to: tuple[Outcome, ...] = (Outcome.UP, Outcome.DOWN),
    ) -> None:
        """Sizes as they are now, whatever moved them."""
        if changes:
            sizes = tuple(
                msgspec.structs.replace(c, size=board.pool.of(c.side == "BUY").size_at(c.price)) for c in changes
            )
            self.say(LevelsShown(now, board.market, shown_to, sizes, *board.pool.top))
        self.say_top(board, now)

    def say_top(self, board: MarketBoard, now: Millis) -> None:
        top = board.pool.top
        if top != board.pool.shown_top:
            board.pool.shown_top = top
            self.say(TopMoved(now, board.market, *top))
