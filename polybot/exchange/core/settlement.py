"""Trades on their way to the chain and back: MATCHED, MINED, CONFIRMED, or RETRYING and FAILED (a ghost fill). Pure.

Cash and shares move when a trade is mined, never before: until then it only sets aside what it will take.
"""

import msgspec

from polybot.domain.market import Outcome, Side
from polybot.domain.units import UNIT, Millis
from polybot.exchange.core.model import STREET, Trade, TradeId, TradeStatus
from polybot.exchange.core.state import EngineState, MarketBoard


class Settlement:
    def __init__(self, state: EngineState) -> None:
        self.state = state

    def open(self, board: MarketBoard, trade: Trade, now: Millis) -> None:
        """A trade was matched: announce it, set aside what it takes, and send it to the chain."""
        self.state.bank.pend(trade, +1)
        self.state.keep_trade(trade, now)
        self.state.plan(now + self.state.rules.mine_ms, "mine", trade.id)

    def act(self, act: str, subject: str, now: Millis) -> None:
        trade = self.state.trades.get(TradeId(subject))
        if trade is None:  # its market was retired meanwhile
            return
        if act == "mine":
            self._mine(trade, now)
        elif act == "mine_anyway":
            self._post(trade, now)
        elif act == "confirm":
            self._change(trade, TradeStatus.CONFIRMED, now)
        else:
            self._fail(trade, now)

    def _mine(self, trade: Trade, now: Millis) -> None:
        rules, draw = self.state.rules, self.state.chance.random()
        ghost_rate = self._ghost_rate(trade)
        if draw < ghost_rate:
            self._retry(trade, "fail", now)
        elif draw < ghost_rate + rules.retry_rate:
            self._retry(trade, "mine_anyway", now)
        else:
            self._post(trade, now)

    def _retry(self, trade: Trade, then: str, now: Millis) -> None:
        self._change(trade, TradeStatus.RETRYING, now)
        self.state.plan(now + self.state.rules.retry_ms, then, trade.id)

    def _post(self, trade: Trade, now: Millis) -> None:
        bank, board = self.state.bank, self.state.boards[trade.market]
        bank.pend(trade, -1)
        bank.post(trade)
        if board.payout_up is not None:  # mined after the resolution: the crowd settles what it owes at once
            bank.redeem(STREET, trade.market, board.payouts())
        self._change(trade, TradeStatus.MINED, now)
        self.state.plan(now + self.state.rules.confirm_ms, "confirm", trade.id)

    def _fail(self, trade: Trade, now: Millis) -> None:
        self.state.bank.pend(trade, -1)
        self._change(trade, TradeStatus.FAILED, now)

    def _change(self, trade: Trade, status: TradeStatus, now: Millis) -> None:
        self.state.keep_trade(msgspec.structs.replace(trade, status=status), now)

    def _ghost_rate(self, trade: Trade) -> float:
        rules = self.state.rules
        if not rules.ghosts_favour_losers:
            return rules.ghost_rate
        return min(1.0, 2 * rules.ghost_rate) if self._client_gains(trade) else 0.0

    def _client_gains(self, trade: Trade) -> bool:
        """Whether the price has moved in favour of the taker or, where that is the crowd, of the maker."""
        twice_mid = self.state.boards[trade.market].pool.twice_mid
        if twice_mid is None:
            return False
        paid = trade.price if trade.outcome is Outcome.UP else UNIT - trade.price
        taker_is_up = (trade.side is Side.BUY) == (trade.outcome is Outcome.UP)
        client_is_up = taker_is_up if trade.taker_account != STREET else not taker_is_up
        return twice_mid > 2 * paid if client_is_up else twice_mid < 2 * paid
