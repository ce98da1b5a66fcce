"""What the floor remembers only to show it: a fold of the facts, in plain data for the checkpoint. Pure."""

from typing import Any

import msgspec

from polybot.domain.events import (
    AnyFact,
    FillConfirmed,
    FillFailed,
    FillMatched,
    IntentRecorded,
    MarketSettled,
    RunStarted,
    TradeSettled,
    WindowRecorded,
)
from polybot.domain.ids import AgentId, FillId, OrderId
from polybot.domain.order import OrderIntent
from polybot.domain.units import UNIT, Money, Price, Shares, notional_floor
from polybot.floor.status import EQUITY_POINTS_MAX, RECENT_TRADES_MAX, EquityPoint, TradeLine
from polybot.learning.metrics import Performance


class BoardState(msgspec.Struct, kw_only=True):
    """The fold, as plain data for the checkpoint."""

    performance: Performance = msgspec.field(default_factory=Performance)
    intents: dict[OrderId, OrderIntent] = {}
    fills: dict[FillId, FillMatched] = {}
    trades: dict[OrderId, TradeLine] = {}
    curve: list[EquityPoint] = []
    last_records: dict[AgentId, WindowRecorded] = {}
    windows_settled: int = 0

    def apply(self, fact: AnyFact) -> None:
        self.performance.apply(fact)
        match fact:
            case RunStarted() if not self.curve:
                self.curve.append(EquityPoint(at=fact.at, equity=fact.capital))
            case IntentRecorded():
                self.intents[fact.intent.id] = fact.intent
                _keep(self.intents, 4 * RECENT_TRADES_MAX)
            case FillMatched():
                self.fills[fact.fill] = fact
            case FillConfirmed() if fact.fill in self.fills:
                self._trade(self.fills.pop(fact.fill))
            case FillFailed():
                self.fills.pop(fact.fill, None)
            case TradeSettled():
                self._settled(fact)
            case MarketSettled():
                self.windows_settled += 1
            case WindowRecorded():
                self.last_records[fact.agent] = fact
            case _:
                pass

    def _trade(self, fill: FillMatched) -> None:
        """Add a confirmed fill to its order's line; the price shown is the average paid."""
        intent, before = self.intents.get(fill.order), self.trades.get(fill.order)
        cost, shares, fees = notional_floor(fill.price, fill.shares), fill.shares, fill.fee
        if before is not None:
            cost = Money(cost + notional_floor(before.price, before.shares))
            shares, fees = Shares(shares + before.shares), Money(fees + before.fees)
        self.trades[fill.order] = TradeLine(
            at=fill.at if before is None else before.at,
            agent=fill.agent,
            market=fill.market,
            outcome=fill.outcome,
            shares=shares,
            price=Price(cost * UNIT // shares),
            fees=fees,
            reason=intent.reason if intent is not None else "",
        )
        _keep(self.trades, 2 * RECENT_TRADES_MAX)

    def _settled(self, fact: TradeSettled) -> None:
        line = self.trades.get(fact.order)
        if line is not None:
            self.trades[fact.order] = msgspec.structs.replace(line, pnl=fact.pnl)
        curve, equity = self.curve, self.performance.floor.equity
        if curve and curve[-1].at == fact.at:
            curve.pop()
        curve.append(EquityPoint(at=fact.at, equity=equity))
        if len(curve) > EQUITY_POINTS_MAX:
            del curve[1 : EQUITY_POINTS_MAX // 2 : 2]  # thin out the older half, keep the beginning


def _keep(entries: dict[Any, Any], most: int) -> None:
    while len(entries) > most:
        del entries[next(iter(entries))]
