"""The matching engine: accounts, markets, orders and trades of one exchange, as a pure state machine.

Nothing here knows the clock, chance or the network: every call says what time it is (`now`, UTC milliseconds, never
going back), a seeded generator is handed in, and what happened is read with `take_news`. `advance` lets what is due
happen; `next_due` says when there is more. The public surface:

    accounts    account deposit                              positions   split merge redeem
    markets     list_market replace_depth change_depth print_trade change_tick close_market resolve retire_market
    orders      place cancel cancel_where                    reading     book_of open_orders trades_of order trade
"""

import random
from collections.abc import Callable, Iterable, Sequence

from polybot.domain.errors import BadInput, LedgerError
from polybot.domain.events import LevelChange
from polybot.domain.ids import ConditionId, MarketId, TokenId
from polybot.domain.market import Outcome, Side
from polybot.domain.units import UNIT, Millis, Money, Price, Shares
from polybot.exchange.core.accounts import Account, Bank
from polybot.exchange.core.dealing import Dealing
from polybot.exchange.core.model import (
    STREET,
    Address,
    Answer,
    Listing,
    NewOrder,
    Order,
    OrderHash,
    OwnerKey,
    Rules,
    Trade,
    TradeId,
)
from polybot.exchange.core.news import (
    BookShown,
    LevelShown,
    MarketOpened,
    MarketSettled,
    News,
    PositionsMoved,
    TickMoved,
    TradeShown,
)
from polybot.exchange.core.pool import BookSide
from polybot.exchange.core.state import EngineState, MarketBoard

BOTH = (Outcome.UP, Outcome.DOWN)
Levels = Sequence[tuple[Price, Shares]]


class Engine:
    """One exchange. Not thread-safe, and never asynchronous: an edge calls it and then drains `take_news`."""

    def __init__(self, rules: Rules, chance: random.Random) -> None:
        self.state = EngineState(rules=rules, bank=Bank(), chance=chance)
        self._dealing = Dealing(self.state)

    @property
    def rules(self) -> Rules:
        return self.state.rules

    @rules.setter
    def rules(self, rules: Rules) -> None:
        """Rules hold for what is matched from now on."""
        self.state.rules = rules

    @property
    def bank(self) -> Bank:
        return self.state.bank

    def account(self, address: Address) -> Account:
        """The account of a wallet, opened empty where there was none."""
        return self.bank.account(address)

    def deposit(self, address: Address, amount: Money) -> None:
        """Money from outside, or (negative) to there. Raises LedgerError where more is taken than is free."""
        self.bank.deposit(address, amount)

    # -- time ---------------------------------------------------------------------------------------------------------

    def advance(self, now: Millis) -> None:
        """Let happen what is due: holds that end, orders that expire, markets that close, trades that are mined."""
        self._dealing.advance(now)

    def next_due(self) -> Millis | None:
        return self.state.next_due()

    def take_news(self) -> list[News]:
        """What has happened since this was last asked, in order."""
        news, self.state.news = self.state.news, []
        return news

    # -- markets ------------------------------------------------------------------------------------------------------

    def list_market(self, listing: Listing, now: Millis) -> None:
        """Open a market. Its book takes orders at once and until `listing.ends_at`. Raises BadInput without tokens."""
        if listing.market.tokens is None:
            raise BadInput(f"{listing.market.id} has no tokens to trade")
        self.advance(now)
        board = self.state.add_board(listing)
        self.state.plan(listing.ends_at, "close", board.market)
        self.state.say(MarketOpened(now, listing))

    def boards(self) -> Iterable[MarketBoard]:
        """Every market not yet retired: its listing, tick, pool, whether it takes orders, and its payout."""
        return self.state.boards.values()

    def board(self, market: MarketId) -> MarketBoard:
        """Raises KeyError for a market that is not listed."""
        return self.state.boards[market]

    def find_board(self, market: MarketId) -> MarketBoard | None:
        """The same for whoever hears of a market late: None once it is retired."""
        return self.state.boards.get(market)

    def board_of_token(self, token: TokenId) -> MarketBoard | None:
        return self.state.by_token.get(token)

    def board_of_condition(self, condition: ConditionId) -> MarketBoard | None:
        return self.state.by_condition.get(condition)

    def replace_depth(
        self,
        market: MarketId,
        outcome: Outcome,
        bids: Levels,
        asks: Levels,
        now: Millis,
        shown_to: tuple[Outcome, ...] = BOTH,
    ) -> None:
        """Put a recorded snapshot in place of the crowd's whole depth; clients' orders it crosses trade with it.

        Up and Down are one pool: give one outcome's book, or either in turn, never the sum. `shown_to`: the outcomes
        whose subscribers are sent a `book`; name one only where the tape has the other's snapshot as well.
        """
        self.advance(now)
        board = self.state.boards[market]
        sides = (bids, asks) if outcome is Outcome.UP else (asks, bids)
        for side, levels in zip((board.pool.bids, board.pool.asks), sides, strict=True):
            _record(side, {price if outcome is Outcome.UP else Price(UNIT - price): size for price, size in levels})
        self.state.say(BookShown(now, market, shown_to))
        self._dealing.cross(board, now)
        self.state.say_top(board, now)

    def change_depth(
        self, market: MarketId, changes: Iterable[LevelChange], now: Millis, shown_to: tuple[Outcome, ...] = BOTH
    ) -> None:
        """Set levels of the crowd's depth to their recorded absolute sizes (0: gone), in one `price_change`."""
        self.advance(now)
        board = self.state.boards[market]
        shown: list[LevelShown] = []
        for change in changes:
            side = board.pool.of((change.side is Side.BUY) == (change.outcome is Outcome.UP))
            price = change.price if change.outcome is Outcome.UP else Price(UNIT - change.price)
            side.level(price).record(change.size)
            side.tidy(price)
            shown.append(LevelShown(side.side, price, side.size_at(price)))
        self._dealing.cross(board, now)
        self.state.say_levels(board, tuple(dict.fromkeys(shown)), now, shown_to)

    def print_trade(
        self, market: MarketId, outcome: Outcome, side: Side, price: Price, shares: Shares, now: Millis
    ) -> None:
        """A recorded trade of the crowd, `side` its taker's: it fills clients' orders it went through or reached."""
        self.advance(now)
        board = self.state.boards[market]
        self.state.say(TradeShown(now, market, outcome, side, price, shares, self.state.new_transaction()))
        self._dealing.crowd_trades(board, outcome, side, price, shares, now)
        self.state.say_top(board, now)

    def change_tick(self, market: MarketId, tick: Price, now: Millis) -> None:
        self.advance(now)
        board = self.state.boards[market]
        old, board.tick = board.tick, tick
        if old != tick:
            self.state.say(TickMoved(now, market, old, tick))

    def close_market(self, market: MarketId, now: Millis) -> None:
        """Take no more orders; what rests stays and does not trade. Comes by itself at `listing.ends_at`."""
        self.state.close_board(self.state.boards[market], now)

    def resolve(self, market: MarketId, payout_up: Price, now: Millis) -> None:
        """The venue's word: `payout_up` millionths a share of Up, the rest of 1 for Down. Ends all resting orders."""
        self.advance(now)
        board = self.state.boards[market]
        self.close_market(market, now)
        board.payout_up = payout_up
        self._dealing.cancel_resolved(board, now)
        self.bank.redeem(STREET, market, board.payouts())
        self.state.say(MarketSettled(now, market, payout_up))

    def retire_market(self, market: MarketId) -> None:
        """Forget a market, its orders and its trades, so that weeks of windows do not fill the memory.

        What its tokens were is gone with it: redeem first. Unredeemed shares stay in the accounts and `bank.locked`.
        """
        self.state.forget(market)

    # -- positions ----------------------------------------------------------------------------------------------------

    def split(self, address: Address, market: MarketId, amount: Money, now: Millis) -> None:
        """pUSD into as many complete sets. Raises LedgerError where not so much is free, or the market is resolved."""
        self._make_sets(address, market, amount, now)

    def merge(self, address: Address, market: MarketId, amount: Money, now: Millis) -> None:
        """Complete sets into pUSD. Raises LedgerError where not so many are free, or the market is resolved."""
        self._make_sets(address, market, Money(-amount), now)

    def redeem(self, address: Address, market: MarketId, now: Millis) -> Money:
        """Burn the wallet's balance of a resolved market, losers included, for its payout, which is returned.

        Raises LedgerError while the market is not resolved.
        """
        self.advance(now)
        board = self.state.boards[market]
        if board.payout_up is None:
            raise LedgerError(f"{market} is not resolved: result for condition not received yet")
        account, tokens = self.account(address), board.listing.tokens
        before = [account.shares_of(token) for token in tokens]
        paid = self.bank.redeem(address, market, board.payouts())
        up, down = (Shares(account.shares_of(token) - had) for token, had in zip(tokens, before, strict=True))
        self.state.say(PositionsMoved(now, "REDEEM", address, market, paid, (up, down)))
        return paid

    def _make_sets(self, address: Address, market: MarketId, amount: Money, now: Millis) -> None:
        self.advance(now)
        board = self.state.boards[market]
        if board.payout_up is not None:
            raise LedgerError(f"{market} is resolved: its sets are neither made nor merged any more")
        self.bank.mint(address, market, board.listing.tokens, amount)
        kind, shares = ("SPLIT" if amount > 0 else "MERGE"), Shares(amount)
        self.state.say(PositionsMoved(now, kind, address, market, Money(-amount), (shares, shares)))

    # -- orders -------------------------------------------------------------------------------------------------------

    def place(self, new: NewOrder, now: Millis) -> Answer | None:
        """Take an order, or say in the venue's words why not. None: it is held for the market's taker delay, and
        `OrderAnswered` will tell; until then it can't be cancelled (polymarket.md 5.6)."""
        self.advance(now)
        return self._dealing.place(new, now)

    def cancel(
        self, owner: OwnerKey, ids: Iterable[OrderHash], now: Millis
    ) -> tuple[list[OrderHash], dict[OrderHash, str]]:
        """Take orders of one API key back: those cancelled, and why the others are not."""
        self.advance(now)
        return self._dealing.cancel(owner, ids, now)

    def cancel_where(self, wanted: Callable[[Order], bool], now: Millis) -> list[OrderHash]:
        """Take back every resting order for which `wanted` holds: cancel-all, a market's, a dead man's."""
        self.advance(now)
        ids = [order.id for order in self.state.open_orders() if wanted(order)]
        for order_id in ids:
            self._dealing.close(self.state.orders[order_id], now)
        return ids

    # -- reading ------------------------------------------------------------------------------------------------------

    def book_of(
        self, market: MarketId, outcome: Outcome
    ) -> tuple[list[tuple[Price, Shares]], list[tuple[Price, Shares]]]:
        """Bids and asks of one outcome, each ascending by price."""
        pool = self.state.boards[market].pool
        bids, asks = _ascending(pool.bids), _ascending(pool.asks)
        if outcome is Outcome.UP:
            return bids, asks
        return _mirrored(asks), _mirrored(bids)

    def open_orders(self) -> list[Order]:
        """Every order that rests, oldest first."""
        return list(self.state.open_orders())

    def order(self, order_id: OrderHash) -> Order | None:
        return self.state.orders.get(order_id)

    def orders(self) -> Iterable[Order]:
        return self.state.orders.values()

    def trade(self, trade_id: TradeId) -> Trade | None:
        return self.state.trades.get(trade_id)

    def trades(self) -> Iterable[Trade]:
        """Every trade of a market not yet retired, oldest first."""
        return self.state.trades.values()

    def last_trade(self, market: MarketId) -> TradeShown | None:
        return self.state.boards[market].last_trade


def _record(side: BookSide, levels: dict[Price, Shares]) -> None:
    for price in [price for price in side.levels if price not in levels]:
        side.levels[price].record(Shares(0))
        side.tidy(price)
    for price, size in levels.items():
        side.level(price).record(size)
        side.tidy(price)


def _ascending(side: BookSide) -> list[tuple[Price, Shares]]:
    return sorted((price, side.size_at(price)) for price in side.best_first())


def _mirrored(levels: list[tuple[Price, Shares]]) -> list[tuple[Price, Shares]]:
    return [(Price(UNIT - price), size) for price, size in reversed(levels)]
