"""Small positions first (R20): how much one live order may cost, by what live trading has shown so far. Pure.

A stage is passed by settled trades *and* by days, and each stage multiplies the order by the same factor. A live record
that lies below its best by several whole orders goes back a stage for each such fall. The owner's limits stay in force
beside it: the ramp can only lower what one order may cost.

    reached = min(trades // trades_per_stage, days // days_per_stage)
    stage   = max(0, reached - fall // (losses_max * cost(reached)))
    cost(n) = order_cost_first * growth ** n
"""

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.units import DAY_MS, Millis, Money

STAGES_MAX = 40
"""Twice as much forty times is a million millions: no limit any more."""
COST_MAX = Money(10**18)


class RampPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`trades` and `days` are what a stage takes; `losses_max` whole orders lost lead a stage back."""

    order_cost_first: Money
    growth: int = 2
    trades: int = 20
    days: int = 1
    losses_max: int = 5

    def __post_init__(self) -> None:
        if min(self.order_cost_first, self.growth, self.trades, self.losses_max) < 1 or self.days < 0:
            raise BadInput("a ramp begins above 0, does not shrink, and its stages take at least one trade")

    def order_cost(self, stage: int) -> Money:
        """The most an order may cost in this stage, fee included, in millionths of a pUSD."""
        return Money(min(COST_MAX, self.order_cost_first * self.growth ** min(stage, STAGES_MAX)))


class RampRecord(msgspec.Struct, kw_only=True):
    """The settled trades of a run, in a few numbers. `days` are the UTC days with trades before the newest such day."""

    trades: int = 0
    days: int = 0
    day: int | None = None
    pnl: Money = Money(0)
    best: Money = Money(0)

    def take(self, at: Millis, pnl: Money) -> None:
        """A trade has settled at `at`. One that settles dated before the newest day counts for that one."""
        day = at // DAY_MS
        if self.day is not None and day > self.day:
            self.days += 1
        self.day = day if self.day is None else max(self.day, day)
        self.trades += 1
        self.pnl = Money(self.pnl + pnl)
        self.best = max(self.best, self.pnl)

    @property
    def fall(self) -> Money:
        """How far the profit is below its best."""
        return Money(self.best - self.pnl)


def ramp_stage(record: RampRecord, plan: RampPlan) -> int:
    reached = min(record.trades // plan.trades, STAGES_MAX)
    if plan.days:
        reached = min(reached, record.days // plan.days)
    return max(0, reached - record.fall // (plan.losses_max * plan.order_cost(reached)))


def ramp_order_cost(record: RampRecord, plan: RampPlan) -> Money:
    """The most one order may cost now, fee included, in millionths of a pUSD."""
    return plan.order_cost(ramp_stage(record, plan))
