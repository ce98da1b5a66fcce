"""The breaker on venue calls: an outage pauses the floor, no order is the probe, an answered look-up resumes it."""

import asyncio

from polybot.circuit import CircuitState
from polybot.domain.events import (
    OrderClosed,
    OrderRejected,
    Severity,
    SignalRefused,
    SystemNoted,
    TradingPaused,
    TradingResumed,
)
from polybot.floor.venue_calls import FAILURES_MAX, OPEN_MS_FIRST, VENUE_CALLS
from polybot.risk.gate import Approved
from polybot.risk.limits import Limits
from polybot.venue.base import VenueBusy
from tests.floor.venues import VenueStage

BUSY = VenueBusy("503 Service Unavailable")


async def open_the_circuit(stage: VenueStage) -> None:
    """So many orders in a row come to nothing."""
    stage.venue.takes_orders = stage.venue.answers = False
    assert len(await stage.send()) == FAILURES_MAX
    assert stage.dispatcher.calls.circuit.state is CircuitState.OPEN


async def late_orders(stage: VenueStage) -> list[Approved]:
    """Decided while all was well, and not carried out yet when the circuit opens."""
    stage.venue.takes_orders = stage.venue.answers = False
    first, rest = (orders := stage.decide())[:FAILURES_MAX], orders[FAILURES_MAX:]
    await stage.dispatcher.carry_out(first, stage.clock.now_ms())
    return rest


def paused(stage: VenueStage) -> bool:
    return VENUE_CALLS in stage.room.state.pauses


# -- it opens ---------------------------------------------------------------------------------------------------------


def test_failures_in_a_row_pause_the_floor_by_one_fact_that_no_time_ends() -> None:
    async def script(stage: VenueStage) -> None:
        await open_the_circuit(stage)
        (fact,) = stage.of(TradingPaused)
        assert (fact.agent, fact.breaker, fact.until) == (None, VENUE_CALLS, None)
        assert (fact.value, fact.limit) == (1.0, 0.1)
        assert fact.text == "5 venue calls in a row failed, 100% of the last ones"

    VenueStage(agents=FAILURES_MAX).play(script)


def test_one_failure_less_pauses_nothing() -> None:
    async def script(stage: VenueStage) -> None:
        stage.venue.takes_orders = False
        await stage.send()
        assert not paused(stage)

    VenueStage(agents=FAILURES_MAX - 1).play(script)


def test_more_failures_among_many_calls_than_the_owners_limit_pause_the_floor_too() -> None:
    async def script(stage: VenueStage) -> None:
        for number, order in enumerate(stage.decide()):
            stage.venue.takes_orders = number % 5 != 0  # one call in five fails, never two in a row
            await stage.dispatcher.carry_out([order], stage.clock.now_ms())
        (fact,) = stage.of(TradingPaused)
        assert fact.breaker == VENUE_CALLS
        assert fact.value > 0.1

    VenueStage(agents=25).play(script)


def test_ten_percent_is_tolerated() -> None:
    async def script(stage: VenueStage) -> None:
        for number, order in enumerate(stage.decide()):
            stage.venue.takes_orders = number % 10 != 9
            await stage.dispatcher.carry_out([order], stage.clock.now_ms())
        assert not paused(stage)

    VenueStage(agents=30).play(script)


def test_nothing_leaves_a_paused_floor_and_the_gate_names_the_pause() -> None:
    async def script(stage: VenueStage) -> None:
        stage.venue.error = BUSY  # definite: the desks are free to want more
        await open_the_circuit(stage)
        placed = len(stage.venue.placed)
        event = stage.a_book()
        state = stage.room.observe(event)
        assert state is not None
        verdicts = stage.room.step(event, state, stage.clock.now_ms())
        assert [v.rule for v in verdicts if isinstance(v, SignalRefused)] == ["floor_paused"] * FAILURES_MAX
        await stage.dispatcher.carry_out(verdicts, stage.clock.now_ms())
        assert len(stage.venue.placed) == placed

    VenueStage(agents=FAILURES_MAX, orders_per_window=2).play(script)


# -- an order is never the probe --------------------------------------------------------------------------------------


def test_an_order_decided_before_the_circuit_opened_is_not_sent_and_that_is_definite() -> None:
    async def script(stage: VenueStage) -> None:
        late = await late_orders(stage)
        placed = len(stage.venue.placed)
        await stage.dispatcher.carry_out(late, stage.clock.now_ms())
        assert len(stage.venue.placed) == placed
        rejected = {fact.order: fact.text for fact in stage.of(OrderRejected)}
        assert rejected == {order.intent.id: "not sent: the floor is paused (venue_calls)" for order in late}
        assert all(stage.room.desks[order.intent.agent].state.exposure == 0 for order in late)

    VenueStage(agents=FAILURES_MAX + 3).play(script)


def test_when_the_time_for_a_probe_has_come_an_order_is_not_it() -> None:
    async def script(stage: VenueStage) -> None:
        (late,) = await late_orders(stage)
        await asyncio.sleep(2 * OPEN_MS_FIRST / 1000)
        assert stage.dispatcher.calls.circuit.wait_ms(stage.clock.now_ms()) == 0
        placed = len(stage.venue.placed)
        await stage.dispatcher.carry_out([late], stage.clock.now_ms())
        assert len(stage.venue.placed) == placed
        assert stage.dispatcher.calls.circuit.state is CircuitState.OPEN

    VenueStage(agents=FAILURES_MAX + 1).play(script)


def test_an_order_waits_for_no_probe_under_way_either() -> None:
    async def script(stage: VenueStage) -> None:
        (late,) = await late_orders(stage)
        await asyncio.sleep(2 * OPEN_MS_FIRST / 1000)
        stage.venue.answers, stage.venue.look_up_s = True, 5
        looking = asyncio.create_task(stage.reconciler.look())
        await asyncio.sleep(1)
        assert stage.dispatcher.calls.circuit.state is CircuitState.HALF_OPEN
        placed = len(stage.venue.placed)
        await stage.dispatcher.carry_out([late], stage.clock.now_ms())
        assert len(stage.venue.placed) == placed
        await looking

    VenueStage(agents=FAILURES_MAX + 1).play(script)


# -- it closes --------------------------------------------------------------------------------------------------------


def test_a_look_up_that_is_answered_resumes_trading() -> None:
    async def script(stage: VenueStage) -> None:
        stage.venue.error = BUSY
        await open_the_circuit(stage)
        stage.venue.takes_orders = stage.venue.answers = True
        stage.start_looking()
        await asyncio.sleep(OPEN_MS_FIRST / 1000 + 2)
        (resumed,) = stage.of(TradingResumed)
        assert (resumed.agent, resumed.breaker, resumed.text) == (None, VENUE_CALLS, "the venue answers again")
        assert not paused(stage)
        assert len(await stage.send()) == FAILURES_MAX

    VenueStage(agents=FAILURES_MAX, orders_per_window=2).play(script)


def test_while_the_venue_is_silent_the_floor_stays_paused_and_says_so_once() -> None:
    async def script(stage: VenueStage) -> None:
        await open_the_circuit(stage)
        stage.start_looking()
        await asyncio.sleep(600)
        assert paused(stage)
        assert len(stage.of(TradingPaused)) == 1
        assert not stage.of(TradingResumed)

    VenueStage(agents=FAILURES_MAX).play(script)


def test_where_no_order_is_in_doubt_the_venue_is_asked_whether_it_answers() -> None:
    async def script(stage: VenueStage) -> None:
        stage.venue.error = BUSY
        stage.venue.takes_orders = False
        for intent in await stage.send():
            stage.room.proven(intent.agent, intent.id)
        stage.start_looking()
        await asyncio.sleep(OPEN_MS_FIRST / 1000 + 2)
        assert not stage.venue.asked
        assert stage.venue.reached
        assert not paused(stage)
        assert not stage.of(OrderClosed)

    VenueStage(agents=FAILURES_MAX).play(script)


def test_a_pause_left_by_a_former_process_is_lifted_only_after_an_answer() -> None:
    async def script(stage: VenueStage) -> None:
        await open_the_circuit(stage)
        await asyncio.sleep(60)
        stage.restart()
        assert paused(stage)
        await stage.dispatcher.commit_calls()
        assert paused(stage)  # a circuit that has only just begun is closed, and has heard nothing
        await stage.reconciler.look_at_all()
        await stage.reconciler.look()
        assert paused(stage)
        stage.venue.answers = True
        await asyncio.sleep(1)
        await stage.reconciler.look()
        assert not paused(stage)
        assert len(stage.of(TradingPaused)) == len(stage.of(TradingResumed)) == 1

    VenueStage(agents=FAILURES_MAX).play(script)


def test_other_pauses_are_not_its_to_lift() -> None:
    async def script(stage: VenueStage) -> None:
        by_hand = TradingPaused(
            at=stage.clock.now_ms(), agent=None, breaker="by_hand", value=1, limit=0, text="", until=None
        )
        await stage.dispatcher.commit([by_hand])
        stage.start_looking()
        await asyncio.sleep(30)
        assert list(stage.room.state.pauses) == ["by_hand"]
        assert stage.venue.asked == []

    VenueStage().play(script)


def test_a_look_up_that_was_broken_off_does_not_keep_the_probes_place() -> None:
    async def script(stage: VenueStage) -> None:
        await open_the_circuit(stage)
        stage.venue.answers, stage.venue.look_up_s = True, 100
        await asyncio.sleep(2 * OPEN_MS_FIRST / 1000)
        probing = asyncio.create_task(stage.reconciler.look())
        await asyncio.sleep(1)
        probing.cancel()
        await asyncio.wait([probing])
        stage.venue.look_up_s = 0
        await stage.reconciler.look()
        assert not paused(stage)

    VenueStage(agents=FAILURES_MAX).play(script)


# -- what a failed call says of its order -----------------------------------------------------------------------------


def test_busy_is_a_definite_no_and_silence_is_unknown() -> None:
    async def script(stage: VenueStage) -> None:
        stage.venue.takes_orders = False
        silent, busy = stage.decide()
        await stage.dispatcher.carry_out([silent], stage.clock.now_ms())
        stage.venue.error = VenueBusy("429 Too Many Requests")
        await stage.dispatcher.carry_out([busy], stage.clock.now_ms())
        (rejected,) = stage.of(OrderRejected)
        assert (rejected.order, rejected.text) == (busy.intent.id, "429 Too Many Requests")
        assert list(stage.room.desks[silent.intent.agent].state.orders) == [silent.intent.id]
        assert list(stage.dispatcher.doubtful) == [silent.intent.id]
        (note,) = stage.of(SystemNoted)
        assert (note.severity, note.component) == (Severity.WARNING, "venue")
        assert note.text == f"no answer for {silent.intent.id}: timed out"

    VenueStage(agents=2).play(script)


def test_the_limits_are_the_owners() -> None:
    async def script(stage: VenueStage) -> None:
        stage.venue.takes_orders = False
        await stage.send()
        (fact,) = stage.of(TradingPaused)
        assert (fact.value, fact.limit) == (1.0, 0.5)

    VenueStage(agents=2, limits=Limits(call_failure_calls_min=2, call_failure_share_max=500_000)).play(script)
