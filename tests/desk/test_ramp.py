"""The ramp on the desks: small orders first, larger ones once live trading has shown something."""

import msgspec

from polybot.desk.room import RoomState, TradingRoom
from polybot.domain.events import IntentRecorded, TradeSettled
from polybot.domain.units import UNIT, Millis, Money
from polybot.risk.limits import Limits
from polybot.risk.ramp import RampPlan, RampRecord, ramp_order_cost
from polybot.settings import load_plans, load_settings
from tests.builders import Floor, first_windows, shipped_tape

RAMP = RampPlan(order_cost_first=Money(4 * UNIT), growth=2, trades=2, days=0, losses_max=1_000)


def ramped() -> Floor:
    settings = load_settings()
    model = settings.venue.model(settings.seed)
    at = shipped_tape()[0].received
    return Floor(*load_plans(settings), limits=Limits(ramp=RAMP), model=model, at=at).play(*first_windows(6))


def test_no_order_costs_more_than_the_trades_settled_before_it_allow():
    floor, record = ramped(), RampRecord()
    costs: list[int] = []
    for fact in floor.facts:
        match fact:
            case IntentRecorded():
                assert fact.intent.cost_max <= min(ramp_order_cost(record, RAMP), 20 * UNIT)
                costs.append(fact.intent.cost_max)
            case TradeSettled():
                record.take(Millis(fact.at), fact.pnl)
            case _:
                pass
    assert costs[0] <= 4 * UNIT
    assert max(costs) > 8 * UNIT, "it never grew: nothing was tried"
    assert floor.room.state.ramp == record


def test_a_restart_finds_the_ramp_where_it_was():
    floor = ramped()
    again = TradingRoom(floor.plans, floor.limits)
    for fact in floor.facts:
        again.apply(fact)
    assert again.order_cost_max() == floor.room.order_cost_max() != RAMP.order_cost_first
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(floor.room.state), type=RoomState)
    assert kept.ramp == floor.room.state.ramp


def test_without_a_ramp_nothing_is_lowered():
    assert TradingRoom(load_plans(load_settings()), Limits()).order_cost_max() is None
