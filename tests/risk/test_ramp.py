"""Small positions first: the ramp grows only by what was shown, and goes back by what was lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polybot.domain.errors import BadInput
from polybot.domain.units import DAY_MS, UNIT, Millis, Money
from polybot.risk.ramp import COST_MAX, RampPlan, RampRecord, ramp_order_cost, ramp_stage

PLAN = RampPlan(order_cost_first=Money(5 * UNIT), growth=2, trades=20, days=1, losses_max=5)
trades = st.lists(st.tuples(st.integers(0, 10), st.integers(-5 * UNIT, 5 * UNIT)), max_size=200)
plans = st.builds(
    RampPlan,
    order_cost_first=st.integers(1, 100 * UNIT),
    growth=st.integers(1, 5),
    trades=st.integers(1, 30),
    days=st.integers(0, 3),
    losses_max=st.integers(1, 10),
)


def record(*settled: tuple[int, int]) -> RampRecord:
    """Trades as days after the first, and profit."""
    made, at = RampRecord(), 20_000 * DAY_MS
    for later, pnl in settled:
        at += later * DAY_MS
        made.take(Millis(at), Money(pnl))
    return made


def test_it_begins_with_the_first_order():
    assert ramp_order_cost(RampRecord(), PLAN) == 5 * UNIT


def test_trades_alone_lead_no_stage_on_nor_do_days():
    assert ramp_stage(record(*[(0, 0)] * 1000), PLAN) == 0
    assert ramp_stage(record(*[(1, 0)] * 19), PLAN) == 0


def test_trades_and_days_together_do():
    assert ramp_order_cost(record(*[(0, 0)] * 19, (1, 0)), PLAN) == 10 * UNIT


def test_a_fall_of_so_many_whole_orders_leads_a_stage_back_and_the_way_up_leads_on_again():
    grown = [(0, UNIT)] * 40 + [(1, 0), (1, 0)]
    assert ramp_order_cost(record(*grown), PLAN) == 20 * UNIT
    assert ramp_order_cost(record(*grown, (0, -100 * UNIT + 1)), PLAN) == 20 * UNIT
    assert ramp_order_cost(record(*grown, (0, -100 * UNIT)), PLAN) == 10 * UNIT
    assert ramp_order_cost(record(*grown, (0, -200 * UNIT)), PLAN) == 5 * UNIT
    assert ramp_order_cost(record(*grown, (0, -200 * UNIT), (0, 200 * UNIT)), PLAN) == 20 * UNIT


def test_a_trade_that_settles_late_counts_for_the_newest_day():
    late = record((0, 0), (2, 0), (-1, 0), (1, 0))
    assert (late.trades, late.days) == (4, 1)


@pytest.mark.parametrize(
    "wrong", [{"order_cost_first": 0}, {"growth": 0}, {"trades": 0}, {"losses_max": 0}, {"days": -1}]
)
def test_a_ramp_that_shrinks_or_begins_with_nothing_is_refused(wrong):
    with pytest.raises(BadInput):
        RampPlan(**{"order_cost_first": Money(UNIT)} | wrong)


@given(trades, plans)
def test_it_never_begins_below_the_first_order_nor_ends_without_a_bound(settled, plan):
    cost = ramp_order_cost(record(*settled), plan)
    assert min(plan.order_cost_first, COST_MAX) <= cost <= COST_MAX


@given(trades, plans)
def test_a_stage_takes_its_trades_and_its_days(settled, plan):
    seen = record(*settled)
    stage = ramp_stage(seen, plan)
    assert stage * plan.trades <= len(settled)
    assert stage * plan.days <= seen.days


@given(trades, plans, st.integers(-5 * UNIT, 0))
def test_a_loss_on_the_same_day_never_widens_it_unless_it_completes_a_stage(settled, plan, loss):
    before = record(*settled)
    after = record(*settled, (0, loss))
    if after.trades // plan.trades == before.trades // plan.trades:
        assert ramp_order_cost(after, plan) <= ramp_order_cost(before, plan)


@given(trades)
def test_the_record_is_the_same_however_often_it_is_interrupted_and_kept(settled):
    kept, at = RampRecord(), 20_000 * DAY_MS
    for later, pnl in settled:
        at += later * DAY_MS
        kept = RampRecord(trades=kept.trades, days=kept.days, day=kept.day, pnl=kept.pnl, best=kept.best)
        kept.take(Millis(at), Money(pnl))
    assert kept == record(*settled)
