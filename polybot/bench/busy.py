"""A trader that orders at a steady rate, to measure what orders cost. It has no opinion and no other use."""

from typing import Annotated

import msgspec

from polybot.desk.desk import AgentPlan
from polybot.desk.sizing import Execution
from polybot.domain.ids import AgentId
from polybot.domain.market import Outcome
from polybot.domain.signal import Signal
from polybot.domain.units import UNIT, Money, Price
from polybot.risk.limits import Limits
from polybot.strategies.base import BaseStrategy, MarketView, StrategyParameters

ASK_MAX = 0.9
CAPITAL = Money(1_000_000 * UNIT)
"""Enough, with the limits below, that the gate judges every order and refuses none for want of money."""
NO_LIMITS = Limits(
    order_capital_share=20,  # $20 an order, as with the shipped settings
    agent_capital_share=UNIT,
    floor_capital_share=UNIT,
    daily_loss_share=UNIT,
    daily_drawdown_share=UNIT,
    loss_streak_max=1_000_000,
)


class EveryNth(StrategyParameters, frozen=True, kw_only=True):
    messages: Annotated[int, msgspec.Meta(ge=1)]


class Busy(BaseStrategy):
    """Buys Up on every so-manieth look at a market."""

    name = "bench_busy"
    parameters_type = EveryNth

    def __init__(self, parameters: EveryNth) -> None:
        super().__init__(parameters)
        self._looks = 0

    def generate_signal(self, view: MarketView) -> Signal | None:
        self._looks += 1
        mid = view.mid()
        if self._looks < self.parameters.messages or mid is None or mid > ASK_MAX:
            return view.passed("not_yet", self._looks, self.parameters.messages)
        self._looks = 0
        return Signal(outcome=Outcome.UP, fair_value=Price(990_000), reason="it is time", inputs={"mid": mid})


def busy_plan(messages: int) -> AgentPlan:
    strategy = Busy(EveryNth(messages=messages))
    execution = Execution(orders_per_window=1_000, slippage_ticks=5)
    return AgentPlan(agent=AgentId("busy"), strategy=strategy, execution=execution)
