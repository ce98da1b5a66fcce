"""Whatever is done in whatever order, no money and no share is made or lost, and nobody owes anything."""

import contextlib
import random
from collections import Counter
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.domain.errors import LedgerError
from polybot.domain.events import LevelChange
from polybot.domain.market import Outcome, Side
from polybot.domain.order import TimeInForce
from polybot.domain.units import UNIT, Money, Price, Shares, format_units
from polybot.exchange.core.accounts import reserve_of
from polybot.exchange.core.model import STREET, Address, Rules, TradeStatus
from tests.exchange.trading import ALICE, BOB, Trading, a_listing

CENT = 10_000
CLIENTS, OUTCOMES, SIDES = (ALICE, BOB), tuple(Outcome), tuple(Side)
KINDS = (*TimeInForce, TimeInForce.GTC, TimeInForce.GTC)


class AnyTrading:
    """A market with some depth and two clients with money and shares; each method is something that may happen."""

    def __init__(self) -> None:
        self.trading = Trading(a_listing(taker_delay_ms=250), Rules(retry_rate=0.2))
        self.engine, self.market = self.trading.engine, self.trading.market
        self.trading.depth(bids=[("0.49", "77.123456")], asks=[("0.51", "88.654321"), ("0.52", "20")])
        for account in (ALICE, BOB):
            self.engine.split(account, self.market, Money(300 * UNIT), self.trading.now)

    # -- what may happen ----------------------------------------------------------------------------------------------

    def order(self, who: tuple[Address, Side, Outcome], price: Price, size: Shares, kind: TimeInForce) -> None:
        account, side, outcome = who
        size = size if kind.rests else Shares(size - size % UNIT)  # whole shares: 2 decimals of pUSD at any cent
        self.trading.place(
            account,
            side,
            format_units(price),
            format_units(size),
            outcome=outcome,
            order_type=kind,
            post_only=kind.rests and size % (7 * CENT) == 0,
            expiration=self.trading.now // 1000 + 300 if kind is TimeInForce.GTD else 0,
        )

    def level(self, outcome: Outcome, side: Side, price: Price, size: Shares) -> None:
        self.engine.change_depth(self.market, [LevelChange(outcome, side, price, size)], self.trading.now)

    def snapshot(self, mid: int, size: Shares, outcome: Outcome) -> None:
        bids = [(Price((mid - step) * CENT), size) for step in range(1, 4)]
        asks = [(Price((mid + step) * CENT), size) for step in range(1, 4)]
        self.engine.replace_depth(self.market, outcome, bids, asks, self.trading.now)

    def crowd_trade(self, outcome: Outcome, side: Side, price: Price, size: Shares) -> None:
        self.engine.print_trade(self.market, outcome, side, price, size, self.trading.now)

    def time(self, ms: int) -> None:
        self.trading.wait(ms)

    def cancel_all(self, account: Address) -> None:
        self.engine.cancel_where(lambda order: order.account == account, self.trading.now)

    def sets(self, account: Address, amount: int) -> None:
        make = self.engine.split if amount > 0 else self.engine.merge
        with contextlib.suppress(LedgerError):
            make(account, self.market, Money(abs(amount)), self.trading.now)

    def chain(self, rate: float, biased: bool) -> None:
        self.engine.rules = Rules(ghost_rate=rate, retry_rate=0.2, ghosts_favour_losers=biased)

    def tick(self, fine: bool) -> None:
        self.engine.change_tick(self.market, Price(1_000 if fine else CENT), self.trading.now)

    def resolve(self, payout: int) -> None:
        self.engine.resolve(self.market, Price(payout), self.trading.now)

    def redeem(self, account: Address) -> None:
        with contextlib.suppress(LedgerError):
            self.engine.redeem(account, self.market, self.trading.now)

    def end(self) -> None:
        """Every trade is final, nothing is set aside for one any more, and the market has paid all it owes."""
        self.trading.wait(60_000)
        assert all(trade.status.is_final for trade in self.engine.trades())
        assert all(account.pending_cash == 0 for account in self.engine.bank.accounts.values())
        if self.engine.board(self.market).payout_up is not None:
            for account in (ALICE, BOB):
                self.redeem(account)
            assert 0 <= self.engine.bank.locked[self.market] <= 3  # what rounding down half a millionth leaves
        self.check()

    def check(self) -> None:
        self.all_money_is_somewhere()
        self.every_share_has_its_opposite_and_its_collateral()
        self.nobody_owes_and_what_is_set_aside_is_what_is_open()
        self.the_queue_is_the_open_orders()
        self.every_trade_is_paid_in_whole_millionths_rounded_down_and_every_client_in_full()
        self.no_order_got_more_than_it_asked_for_or_paid_more_than_its_limit()

    # -- what always holds --------------------------------------------------------------------------------------------

    def all_money_is_somewhere(self) -> None:
        assert self.engine.bank.held() == self.engine.bank.deposited

    def every_share_has_its_opposite_and_its_collateral(self) -> None:
        if self.engine.board(self.market).payout_up is not None:
            return
        up, down = (
            sum(account.shares_of(token) for account in self.engine.bank.accounts.values())
            for token in self.trading.listing.tokens
        )
        assert up == down == self.engine.bank.locked[self.market]

    def nobody_owes_and_what_is_set_aside_is_what_is_open(self) -> None:
        reserved, pending = Counter[str](), Counter[str]()
        for order in self.engine.open_orders():
            reserved[order.account] += reserve_of(order) if order.side is Side.BUY else 0
        for trade in self.engine.trades():
            if trade.status in (TradeStatus.MATCHED, TradeStatus.RETRYING):
                for leg in trade.legs:
                    pending[leg.account] += max(0, leg.fee - leg.cash)
        for address, account in self.engine.bank.accounts.items():
            if address != STREET:
                assert account.free_cash >= 0
                assert all(account.free_shares(token) >= 0 for token in self.trading.listing.tokens)
                assert (account.reserved, account.pending_cash) == (reserved[address], pending[address])

    def the_queue_is_the_open_orders(self) -> None:
        pool = self.engine.board(self.market).pool
        queued = {
            resting.order: resting.left
            for side in (pool.bids, pool.asks)
            for level in side.levels.values()
            for resting in level.queue
        }
        assert queued == {order.id: order.left for order in self.engine.open_orders()}
        assert all(left > 0 for left in queued.values())

    def every_trade_is_paid_in_whole_millionths_rounded_down_and_every_client_in_full(self) -> None:
        for trade in self.engine.trades():
            assert abs(trade.legs[0].cash) == trade.price * trade.shares // UNIT
            assert all(fill.price * fill.shares % UNIT == 0 for fill in trade.makers if fill.account != STREET)
            assert sum(leg.shares for leg in trade.legs if leg.token == trade.token) in (0, trade.minted)
            assert trade.shares == sum(fill.shares for fill in trade.makers)

    def no_order_got_more_than_it_asked_for_or_paid_more_than_its_limit(self) -> None:
        for order in self.engine.orders():
            assert order.matched <= order.size
            if order.side is Side.BUY:
                assert order.paid * UNIT <= order.price * order.matched
            else:
                assert order.paid * UNIT >= order.price * order.matched


class Script:
    """What happens, drawn from a seed: few prices close together, or hardly anything would ever meet."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def act(self, trading: AnyTrading) -> None:
        draw = self._random
        price, fine = Price(draw.randint(44, 56) * CENT), Price(draw.randint(440, 560) * 1_000)
        size, crowd = Shares(draw.randint(300, 30_000) * CENT), Shares(draw.choice((0, draw.randint(1, 300 * UNIT))))
        who, outcome, side = draw.choice(CLIENTS), draw.choice(OUTCOMES), draw.choice(SIDES)
        order = partial(trading.order, (who, side, outcome), price, size, draw.choice(KINDS))
        wait = partial(trading.time, draw.choice((1, 250, 2_000, 30_000)))
        others = (
            partial(trading.level, outcome, side, fine, crowd),
            partial(trading.snapshot, draw.randint(46, 54), crowd, outcome),
            partial(trading.crowd_trade, outcome, side, price, crowd),
            partial(trading.cancel_all, who),
            partial(trading.sets, who, draw.randint(-200 * UNIT, 200 * UNIT)),
            partial(trading.chain, draw.choice((0.0, 0.35, 1.0)), draw.random() < 0.5),
            partial(trading.tick, draw.random() < 0.5),
        )
        draw.choice((*[order] * 8, *[wait] * 3, *others))()

    def settle(self, trading: AnyTrading) -> None:
        trading.resolve(self._random.choice((0, UNIT // 2, UNIT)))
        for account in self._random.choices(CLIENTS, k=self._random.randint(0, 3)):
            trading.check()
            trading.time(self._random.choice((1, 1_000, 3_000)))
            trading.redeem(account)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), length=st.integers(5, 80))
def test_no_money_and_no_share_is_made_or_lost_whatever_happens(seed: int, length: int) -> None:
    trading, script = AnyTrading(), Script(seed)
    for _ in range(length):
        script.act(trading)
        trading.check()
    script.settle(trading)
    trading.check()
    trading.end()
