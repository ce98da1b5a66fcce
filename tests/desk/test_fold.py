"""Facts are all there is: folded over an empty room they give the live one, whatever the market and the venue did."""

from collections import Counter, defaultdict

import msgspec
from hypothesis import given, settings

from polybot.desk.room import RoomState, TradingRoom
from polybot.desk.state import Holding, fill_cost
from polybot.domain.events import FillFailed, FillMatched, IntentRecorded, TradeSettled, WindowRecorded
from polybot.domain.ledger import CASH
from polybot.domain.units import UNIT
from tests.builders import Floor
from tests.desk.worlds import a_floor, a_tape, seeds

STEPS = 150


def fold(floor: Floor, facts: int | None = None) -> TradingRoom:
    room = TradingRoom(floor.plans, floor.limits)
    for fact in floor.facts[:facts]:
        room.apply(fact)
    return room


def as_kept(state: RoomState) -> RoomState:
    """What a checkpoint holds of a room: through bytes and back."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=RoomState)


def without_looks(state: RoomState) -> RoomState:
    """The state without what no fact tells: how often a desk looked in a window still open, and what it just missed."""
    kept = as_kept(state)
    kept.position = 0
    for desk in kept.desks.values():
        for tally in desk.tallies.values():
            tally.evaluations = tally.rank = 0
            tally.code = tally.text = ""
            tally.value = tally.threshold = tally.shortfall = 0.0
            tally.refusals = {}
        desk.tallies = {market: tally for market, tally in desk.tallies.items() if tally.orders or tally.fills}
    return kept


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_at_the_end_the_facts_alone_give_the_same_state_to_the_last_field(seed):
    tape = a_tape(seed, STEPS)
    floor = a_floor(seed).play(*tape)
    room = fold(floor)
    room.state.position = floor.room.state.position
    assert room.due(tape[-1].received) == []  # nothing is due that was not done
    assert as_kept(room.state) == as_kept(floor.room.state)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_and_in_the_middle_of_everything_too_but_for_what_desks_only_looked_at(seed):
    floor, tape = a_floor(seed), a_tape(seed, STEPS)
    for part in range(0, len(tape), 40):
        floor.play(*tape[part : part + 40])
        live, told = without_looks(floor.room.state), without_looks(fold(floor).state)
        told.markets, told.payouts, told.told = live.markets, live.payouts, live.told  # forgotten without a fact
        for agent, desk in told.desks.items():
            mine = live.desks[agent]
            desk.resolved, desk.recorded, desk.ended, desk.final = mine.resolved, mine.recorded, mine.ended, mine.final
        assert told == live


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_the_sums_kept_up_with_every_fill_are_those_of_the_lots_at_any_moment(seed):
    floor, tape = a_floor(seed), a_tape(seed, STEPS)
    for part in range(0, len(tape), 10):
        floor.play(*tape[part : part + 10])
        for desk in (desk.state for desk in floor.room.desks.values()):
            lots: list[Holding | FillMatched] = [*desk.holdings.values(), *desk.provisional.values()]
            shares: defaultdict[tuple[str, int], int] = defaultdict(int)
            for lot in lots:
                shares[lot.market, lot.outcome] += lot.shares
            kept = {(market, outcome): n for market, held in desk.positions.items() for outcome, n in held.items()}
            assert kept == shares
            confirmed = sum(lot.cost + lot.fees for lot in desk.holdings.values())
            assert desk.invested == confirmed + sum(fill_cost(fill) + fill.fee for fill in desk.provisional.values())


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_money_is_conserved_between_desks_and_venue(seed):
    floor = a_floor(seed).play(*a_tape(seed, STEPS))
    pnl = sum(fact.pnl for fact in floor.of(TradeSettled))
    assert floor.desk_cash() == floor.venue.state.account.cash == floor.capital + pnl == floor.room.equity()
    assert floor.room.exposure() == 0
    assert floor.venue.state.account.reserved == {}
    for desk in floor.room.desks.values():
        assert desk.state.ledger.held == {}
        assert desk.state.ledger.total(CASH) == 0


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_every_window_has_one_record_per_agent_that_agrees_with_the_fills(seed):
    floor = a_floor(seed).play(*a_tape(seed, STEPS))
    records = floor.of(WindowRecorded)
    windows = {record.market for record in records}
    assert Counter((r.agent, r.market) for r in records) == {(a, m): 1 for a in floor.room.desks for m in windows}
    undone = {fact.fill for fact in floor.of(FillFailed)}
    stood = Counter((fill.agent, fill.market) for fill in floor.of(FillMatched) if fill.fill not in undone)
    assert {(r.agent, r.market): r.fills for r in records if r.verdict == "TRADED"} == dict(stood)


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_the_limits_hold_on_a_floor_that_wants_more_than_it_may(seed):
    """With every agent trying up to 20 orders a window and half the usual limits, at every fact."""
    floor = a_floor(seed, order_capital_share=20_000, agent_capital_share=50_000, floor_capital_share=120_000)
    largest: defaultdict[str, int] = defaultdict(int)

    def watch(fact):
        keep(fact)
        base = floor.room.capital_base()
        if isinstance(fact, IntentRecorded):
            desk = floor.room.desks[fact.agent].state
            for name, value in (
                ("order", fact.intent.cost_max),
                ("agent", desk.exposure),
                ("floor", floor.room.exposure()),
            ):
                largest[name] = max(largest[name], -(-value * UNIT // base))
            assert desk.cash_available >= 0

    keep, floor.replay._sink = floor.replay._sink, watch
    floor.play(*a_tape(seed, STEPS))
    assert largest["order"] <= 20_000
    assert largest["agent"] <= 50_000
    assert largest["floor"] <= 120_000


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_no_order_costs_more_than_it_was_approved_for(seed):
    floor = a_floor(seed).play(*a_tape(seed, STEPS))
    spent: Counter[str] = Counter()
    for fill in floor.of(FillMatched):
        spent[fill.order] += fill_cost(fill) + fill.fee
    approved = {fact.intent.id: fact.intent.cost_max for fact in floor.of(IntentRecorded)}
    assert all(cost <= approved[order] for order, cost in spent.items())  # type: ignore[index]


def test_the_worlds_are_worth_it_many_orders_fills_failures_and_settlements():
    kinds: Counter[str] = Counter()
    for seed in range(20):
        kinds.update(type(fact).__name__ for fact in a_floor(seed).play(*a_tape(seed, STEPS)).facts)
    for kind in ("IntentRecorded", "OrderRejected", "FillConfirmed", "FillFailed", "OrderClosed", "TradeSettled"):
        assert kinds[kind] >= 5, kinds
