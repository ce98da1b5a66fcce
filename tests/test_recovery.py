"""Cut a run anywhere, start again from what was kept, and the story ends as every story must."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.backtest.replay import Replay
from polybot.desk.desk import AgentPlan
from polybot.domain.errors import BadInput
from polybot.domain.events import (
    AnyFact,
    IntentRecorded,
    Journaled,
    MarketEvent,
    MarketOpened,
    MarketSettled,
    OrderAccepted,
    OrderClosed,
    OrderRejected,
    RunEnded,
    RunStarted,
    TradeSettled,
    WindowRecorded,
)
from polybot.domain.ids import AgentId, OrderId
from polybot.domain.order import CloseReason
from polybot.domain.units import Millis
from polybot.floor.board_state import BoardState
from polybot.floor.reconciler import never_sent
from polybot.recovery import FloorMemory, decode_memory, encode_memory, new_memory, recover
from polybot.risk.limits import Limits
from polybot.venue.fill_models import VenueModel
from tests.builders import (
    CAPITAL,
    INSTANT,
    Floor,
    a_plan,
    book,
    first_windows,
    listed,
    one_sided,
    resolved,
    shipped_floor,
    shipped_tape,
)
from tests.desk.worlds import a_floor, a_tape, seeds

EVERY = 6
"""A checkpoint is kept this many facts apart (at the end of an event, as the floor does)."""


class Was:
    """A floor as it was, and its paper venue."""

    def __init__(self, memory, later, tape, plans, limits, model):
        recovered = recover(memory, later, tape, plans, limits)
        self.room, self.memory, self.now = recovered.room, recovered.memory, recovered.now
        self.facts_read = len(recovered.later)
        self.venue = recovered.paper_venue(model)

    def unanswered(self):
        """What the reconciler says of the orders that the venue does not know (floor/reconciler.py)."""
        open_orders = [order for desk in self.room.desks.values() for order in desk.state.orders.values()]
        return [never_sent(o.intent, self.now) for o in open_orders if not self.venue.knows(o.intent.id)]


class Kept:
    """A whole run: its facts as journaled, and the checkpoints kept on the way."""

    def __init__(self, floor: Floor, tape: Sequence[MarketEvent]) -> None:
        self.floor, self.tape = floor, tape
        self.allotted = len(floor.facts)  # the capital is allotted in one batch, which the journal takes whole or not
        self.checkpoints: list[bytes] = []
        board, kept = BoardState(), 0
        for event in tape:
            floor.replay.play(event)
            if len(floor.facts) - kept >= EVERY:
                for fact in floor.facts[kept:]:
                    board.apply(fact)
                kept = len(floor.facts)
                memory = FloorMemory(seq=kept, room=floor.room.state, venue=floor.venue.state, board=board)
                self.checkpoints.append(encode_memory(memory))
        self.journal = [
            Journaled(seq=number, position=position, fact=fact)
            for number, (fact, position) in enumerate(zip(floor.facts, floor.positions, strict=True), start=1)
        ]

    def memory(self, cut: int, *, checkpoint: bool) -> FloorMemory:
        """Nothing, or the newest checkpoint at or before the cut."""
        if checkpoint:
            for data in reversed(self.checkpoints):
                memory = decode_memory(data)
                if memory.seq <= cut:
                    return memory
        return new_memory(self.floor.capital)

    def recovered(self, cut: int, *, checkpoint: bool) -> Was:
        memory = self.memory(cut, checkpoint=checkpoint)
        later = self.journal[memory.seq : cut]
        return Was(memory, later, iter(self.tape), self.floor.plans, self.floor.limits, self.floor.model)

    def gone_on(self, cut: int, *, checkpoint: bool) -> tuple[list[AnyFact], Was, Counter[str]]:
        """The facts of both lives of a run that was cut after its fact number `cut`, and what was sent in each."""
        was = self.recovered(cut, checkpoint=checkpoint)
        facts = [entry.fact for entry in self.journal[:cut]]
        sent: Counter[str] = Counter(f.order for f in facts if isinstance(f, OrderAccepted | OrderRejected))
        submit = was.venue.submit

        def counted(intent: Any, now: Millis) -> None:
            sent[intent.id] += 1
            submit(intent, now)

        was.venue.submit = counted  # type: ignore[method-assign]
        replay = Replay(was.room, was.venue, facts.append)
        if was.room.capital() == 0:
            replay.allocate(self.floor.capital, was.now)
        for closed in was.unanswered():
            replay._commit(closed)
        replay.settle_due(was.now)
        replay.run(self.tape[was.room.state.position :])
        return facts, was, sent


def require_whole(kept: Kept, cut: int, *, checkpoint: bool) -> None:
    """What must be true of every run that was cut and went on."""
    facts, was, sent = kept.gone_on(cut, checkpoint=checkpoint)
    last = type(kept.journal[cut - 1].fact).__name__ if cut else "nothing"
    place = f"cut after fact {cut} ({last}), checkpoint {checkpoint}"
    windows = {f.market for f in kept.floor.of(WindowRecorded)}
    rows = Counter((f.agent, f.market) for f in facts if isinstance(f, WindowRecorded))
    assert rows == {(agent, market): 1 for agent in kept.floor.room.desks for market in windows}, place
    settled = Counter(f.market for f in facts if isinstance(f, MarketSettled))
    assert settled == {f.market: 1 for f in kept.floor.of(MarketSettled)}, place
    pnl = sum(f.pnl for f in facts if isinstance(f, TradeSettled))
    cash = sum(desk.state.cash for desk in was.room.desks.values())
    assert cash == was.venue.state.account.cash == kept.floor.capital + pnl, place
    assert was.room.exposure() == 0, place
    intents = Counter(f.intent.id for f in facts if isinstance(f, IntentRecorded))
    assert max(intents.values(), default=1) == 1, place
    assert max(sent.values(), default=1) == 1, f"{place}: sent twice"


@cache
def shipped() -> Kept:
    return Kept(shipped_floor(()), first_windows(4))


@pytest.mark.parametrize(
    "checkpoint", [False, True], ids=["from the journal alone", "from a checkpoint and the journal"]
)
def test_a_run_cut_after_any_of_its_facts_goes_on_to_the_same_end(checkpoint):
    kept = shipped()
    assert len(kept.journal) > 60
    for cut in (0, *range(kept.allotted, len(kept.journal) + 1)):
        require_whole(kept, cut, checkpoint=checkpoint)


def test_a_run_cut_late_in_the_whole_tape_tells_no_old_window_again():
    kept = Kept(shipped_floor(()), shipped_tape())
    for cut in range(100, len(kept.journal), 29):
        require_whole(kept, cut, checkpoint=True)


@settings(max_examples=60, deadline=None)
@given(seeds, st.floats(0, 1), st.booleans())
def test_so_does_a_run_in_any_world_with_failing_fills_and_resting_orders(seed, where, checkpoint):
    kept = Kept(a_floor(seed, agents=3), a_tape(seed, 100))
    cut = round(where * len(kept.journal))
    require_whole(kept, cut if cut >= kept.allotted else 0, checkpoint=checkpoint)


def test_a_first_start_is_a_recovery_from_nothing():
    was = Was(new_memory(CAPITAL), [], iter(shipped_tape()), [a_plan()], Limits(), INSTANT)
    assert (was.facts_read, was.room.state.position, was.room.capital()) == (0, 0, 0)
    assert was.venue.state.account.cash == CAPITAL


def test_only_as_many_market_events_are_taken_as_had_been_applied():
    kept = shipped()
    events = iter(kept.tape)
    memory = kept.memory(20, checkpoint=True)
    was = Was(memory, kept.journal[memory.seq : 20], events, kept.floor.plans, kept.floor.limits, kept.floor.model)
    assert next(events) is kept.tape[was.room.state.position]


def test_the_books_and_indicators_are_where_they_were():
    kept = shipped()
    was = kept.recovered(len(kept.journal) // 2, checkpoint=True)
    live = shipped_floor(kept.tape[: was.room.state.position]).room.markets.by_id
    assert live
    for market, state in live.items():
        mine = was.room.markets.by_id[market]
        assert [(b.bid_prices, b.ask_sizes, b.state) for b in mine.books] == [
            (b.bid_prices, b.ask_sizes, b.state) for b in state.books
        ]
        assert [i.value for i in mine._indicators] == [i.value for i in state._indicators]


def scripted(cut_after: type[AnyFact]) -> tuple[Kept, int]:
    market = one_sided()
    floor = Floor(a_plan(), model=VenueModel(latency_median_ms=100, latency_spread=0, confirm_ms=3_000))
    tape: list[MarketEvent] = [
        listed(market),
        *(book(market, at) for at in range(60_000, 66_000, 500)),
        resolved(market),
    ]
    kept = Kept(floor, tape)
    cut = next(e.seq for e in kept.journal if isinstance(e.fact, cut_after))
    return kept, cut


def test_an_order_written_down_but_never_sent_is_closed_not_sent_again():
    kept, cut = scripted(IntentRecorded)
    was = kept.recovered(cut, checkpoint=False)
    (closed,) = was.unanswered()
    assert (closed.order, closed.reason) == (OrderId("scripted-000001"), CloseReason.NEVER_SENT)
    was.room.apply(closed)
    assert was.room.exposure() == 0


def test_an_order_on_its_way_at_the_checkpoint_arrives_after_the_restart():
    kept, cut = scripted(IntentRecorded)
    live = Floor(*kept.floor.plans, model=kept.floor.model).play(*kept.tape[:2])
    memory = FloorMemory(seq=cut, room=live.room.state, venue=live.venue.state, board=BoardState())
    was = Was(
        decode_memory(encode_memory(memory)), [], iter(kept.tape), kept.floor.plans, kept.floor.limits, kept.floor.model
    )
    assert was.unanswered() == []
    Replay(was.room, was.venue, live.facts.append).run(kept.tape[2:])
    assert len(live.of(OrderAccepted)) == len(live.of(TradeSettled)) == 1


def test_an_order_on_its_way_at_the_checkpoint_whose_answer_is_journaled_does_not_arrive_twice():
    kept, cut = scripted(OrderAccepted)
    live = Floor(*kept.floor.plans, model=kept.floor.model).play(*kept.tape[:2])
    seq = len(live.facts)
    memory = FloorMemory(seq=seq, room=live.room.state, venue=live.venue.state, board=BoardState())
    was = Was(
        decode_memory(encode_memory(memory)),
        kept.journal[seq:cut],
        iter(kept.tape),
        kept.floor.plans,
        kept.floor.limits,
        kept.floor.model,
    )
    facts: list[AnyFact] = []
    Replay(was.room, was.venue, facts.append).run(kept.tape[was.room.state.position :])
    assert not [f for f in facts if isinstance(f, OrderAccepted)]
    assert len([f for f in facts if isinstance(f, TradeSettled)]) == 1


def test_an_old_market_read_again_from_the_tape_is_not_opened_again():
    kept = shipped()
    was = kept.recovered(len(kept.journal), checkpoint=True)
    assert not [f for f in was.room.due(was.now) if isinstance(f, MarketOpened)]


def test_the_latest_time_seen_is_the_time_of_the_last_event_or_fact():
    kept, cut = scripted(OrderClosed)
    closed = kept.journal[cut - 1]
    assert kept.recovered(cut, checkpoint=False).now == closed.fact.at > kept.tape[closed.position - 1].received


def test_the_memory_follows_the_source_and_the_end_of_runs():
    memory = new_memory(CAPITAL)
    started = RunStarted(
        at=Millis(1), run="r", source="tape x", mode="paper", capital=CAPITAL, seed=1, version="0", settings={}
    )
    memory.take(Journaled(seq=1, position=0, fact=started))
    assert (memory.seq, memory.source, memory.finished) == (1, "tape x", False)
    memory.take(Journaled(seq=2, position=0, fact=RunEnded(at=Millis(2), reason="over", finished=True)))
    assert (memory.seq, memory.finished) == (2, True)


@pytest.mark.parametrize("data", [b"", b"\x00", msgspec.msgpack.encode({"seq": "three"})])
def test_a_checkpoint_of_another_make_is_refused_in_words(data):
    with pytest.raises(BadInput, match="rebuilt from the journal"):
        decode_memory(data)


def test_a_plan_that_left_keeps_its_state_for_when_it_returns():
    plans: list[AgentPlan] = [a_plan("stays"), a_plan("leaves")]
    floor = Floor(*plans)
    memory = decode_memory(
        encode_memory(FloorMemory(room=floor.room.state, venue=floor.venue.state, board=BoardState()))
    )
    was = Was(memory, [], iter(()), plans[:1], Limits(), INSTANT)
    assert set(was.room.desks) == {"stays"}
    assert was.memory.room.desks[AgentId("leaves")].cash > 0
