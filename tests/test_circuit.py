"""The circuit breaker against its rules, by examples and by a machine that tries every order of events."""

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from polybot.circuit import CALLS_REMEMBERED_MAX, Circuit, CircuitPlan, CircuitState, Ticket, growing_wait
from polybot.domain.units import Millis

PLAN = CircuitPlan(
    failures_max=3,
    window_ms=1_000,
    calls_min=10,
    failure_share_max=100_000,
    open_ms_first=100,
    open_ms_max=800,
    probe_ms_max=500,
)


def circuit_at(now: int, plan: CircuitPlan = PLAN) -> Circuit:
    return Circuit("venue", plan, random.Random(1), Millis(now))


def state(circuit: Circuit) -> CircuitState:
    """Asked anew: mypy would take the last answer for the next."""
    return circuit.state


def call(circuit: Circuit, now: int, *, ok: bool) -> bool:
    """Whether the call was let through; its outcome is told at once."""
    ticket = circuit.admit(Millis(now))
    if ticket is None:
        return False
    if ok:
        circuit.succeeded(ticket, Millis(now))
    else:
        circuit.failed(ticket, Millis(now))
    return True


def opened(now: int = 0) -> Circuit:
    circuit = circuit_at(now)
    for _ in range(PLAN.failures_max):
        assert call(circuit, now, ok=False)
    assert state(circuit) is CircuitState.OPEN
    return circuit


def test_it_opens_after_so_many_failures_in_a_row_and_a_success_between_starts_the_count_anew() -> None:
    circuit = circuit_at(0)
    for ok in (False, False, True, False, False):
        call(circuit, 0, ok=ok)
    assert state(circuit) is CircuitState.CLOSED
    call(circuit, 0, ok=False)
    assert state(circuit) is CircuitState.OPEN
    assert circuit.snapshot(Millis(0)).trips == 1


def test_it_opens_on_more_than_a_tenth_of_ten_calls_or_more_failing_and_not_on_a_tenth() -> None:
    circuit = circuit_at(0)
    for number in range(10):
        call(circuit, number, ok=number != 5)
    assert circuit.snapshot(Millis(10)).error_rate == 0.1
    assert state(circuit) is CircuitState.CLOSED
    call(circuit, 10, ok=False)
    assert state(circuit) is CircuitState.OPEN


def test_failures_that_left_the_window_count_no_more() -> None:
    circuit = circuit_at(0)
    for number in range(20):
        call(circuit, number, ok=number % 10 != 0 or number == 0)
    for number in range(9):
        call(circuit, 2_000 + number, ok=True)
    call(circuit, 2_010, ok=False)
    assert circuit.snapshot(Millis(2_010)).error_rate == 0.1
    assert state(circuit) is CircuitState.CLOSED


def test_while_open_nothing_passes_then_one_probe_and_its_success_closes() -> None:
    circuit = opened()
    due = circuit.next_probe_at
    assert due is not None
    assert 50 <= due <= 100
    assert circuit.admit(Millis(due - 1)) is None
    probe = circuit.admit(due)
    assert probe is not None
    assert circuit.admit(due) is None
    assert state(circuit) is CircuitState.HALF_OPEN
    circuit.succeeded(probe, due)
    assert state(circuit) is CircuitState.CLOSED
    assert circuit.snapshot(due).error_rate == 0.0


def test_each_failed_probe_doubles_the_wait_up_to_its_bound() -> None:
    circuit, now, waits = opened(), 0, []
    for _ in range(8):
        waits.append(circuit.wait_ms(Millis(now)))
        now += waits[-1]
        assert call(circuit, now, ok=False)
    ceilings = [100, 200, 400, 800, 800, 800, 800, 800]
    assert all(most / 2 <= wait <= most for wait, most in zip(waits, ceilings, strict=True)), waits
    assert circuit.snapshot(Millis(now)).trips == 1


def test_one_that_opens_again_soon_waits_longer_and_after_a_calm_time_begins_anew() -> None:
    circuit = opened()
    now = circuit.wait_ms(Millis(0))
    call(circuit, now, ok=True)
    for _ in range(3):
        call(circuit, now, ok=False)
    assert 100 <= circuit.wait_ms(Millis(now)) <= 200
    now += circuit.wait_ms(Millis(now))
    call(circuit, now, ok=True)
    now += PLAN.window_ms + 1
    for _ in range(3):
        call(circuit, now, ok=False)
    assert 50 <= circuit.wait_ms(Millis(now)) <= 100


def test_late_answers_to_calls_of_before_are_not_taken_for_the_probes() -> None:
    circuit = circuit_at(0)
    late = [circuit.admit(Millis(0)) for _ in range(5)]
    for ticket in late[:3]:
        assert ticket is not None
        circuit.failed(ticket, Millis(0))
    due = circuit.next_probe_at
    assert due is not None
    assert circuit.admit(due) is not None
    assert late[3] is not None
    assert late[4] is not None
    circuit.succeeded(late[3], due)
    assert state(circuit) is CircuitState.HALF_OPEN
    circuit.failed(late[4], due)
    assert state(circuit) is CircuitState.HALF_OPEN


def test_an_abandoned_probe_says_nothing_and_leaves_its_place_to_the_next() -> None:
    circuit = opened()
    due = circuit.next_probe_at
    assert due is not None
    probe = circuit.admit(due)
    assert probe is not None
    circuit.abandoned(probe, due)
    assert circuit.admit(due) is not None
    assert circuit.failures == 3


def test_a_probe_that_is_never_heard_of_again_counts_as_failed() -> None:
    circuit = opened()
    due = circuit.next_probe_at
    assert due is not None
    lost = circuit.admit(due)
    assert lost is not None
    assert circuit.admit(Millis(due + PLAN.probe_ms_max)) is None
    assert (state(circuit), circuit.failures) == (CircuitState.OPEN, 4)
    circuit.succeeded(lost, Millis(due + PLAN.probe_ms_max))
    assert state(circuit) is CircuitState.OPEN


def test_a_clock_that_went_back_does_not_keep_it_open() -> None:
    circuit = opened(now=3_600_000)
    assert circuit.admit(Millis(1_000)) is not None


def test_the_outcomes_remembered_are_bounded() -> None:
    circuit = circuit_at(0)
    for _ in range(CALLS_REMEMBERED_MAX + 100):
        call(circuit, 5, ok=True)
    assert len(circuit._calls._calls) == CALLS_REMEMBERED_MAX


def test_waits_grow_to_a_bound_and_are_never_the_same() -> None:
    chance = random.Random(7)
    waits = [growing_wait(times, chance, first=0.2, most=10.0) for times in range(1, 40)]
    assert all(wait <= 10.0 for wait in waits)
    assert 0.1 <= waits[0] <= 0.2
    assert all(wait >= 5.0 for wait in waits[6:])
    assert len(set(waits)) == len(waits)


class AnyCallers(RuleBasedStateMachine):
    """Callers that ask when they like and answer late, never, or in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = Millis(1_000_000)
        self.circuit = circuit_at(self.now)
        self.out: list[Ticket] = []
        self.probe: Ticket | None = None
        self.probe_at = self.now

    @rule(ms=st.integers(0, 400))
    def time_passes(self, ms: int) -> None:
        self.now = Millis(self.now + ms)

    @rule()
    def somebody_asks(self) -> None:
        before, due = self.circuit.state, self.circuit.next_probe_at
        failures_before = self.circuit.failures
        ticket = self.circuit.admit(self.now)
        if before is CircuitState.CLOSED:
            assert ticket is not None
        elif before is CircuitState.OPEN:
            assert due is not None
            assert (ticket is not None) == (self.now >= due), "open: nothing before its time, one probe from then on"
            self.probe, self.probe_at = ticket, self.now
        else:
            assert ticket is None, "never two probes at once"
            if self.now - self.probe_at >= PLAN.probe_ms_max:
                assert self.circuit.state is CircuitState.OPEN
                assert self.circuit.failures == failures_before + 1
        if ticket is not None:
            self.out.append(ticket)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), outcome=st.sampled_from(["succeeded", "failed", "abandoned"]))
    def somebody_answers(self, data: st.DataObject, outcome: str) -> None:
        ticket = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        before = self.circuit.state
        getattr(self.circuit, outcome)(ticket, self.now)
        after = self.circuit.state
        if before is CircuitState.OPEN:
            assert after is before, "while open, no late answer changes anything"
        if before is CircuitState.HALF_OPEN and ticket == self.probe:
            expected = CircuitState.CLOSED if outcome == "succeeded" else CircuitState.OPEN
            assert after is expected
        elif before is CircuitState.HALF_OPEN:
            assert after is before, "only the probe's own answer counts"
        if before is CircuitState.CLOSED and outcome != "failed":
            assert after is before

    @invariant()
    def the_wait_is_bounded(self) -> None:
        assert 0 <= self.circuit.wait_ms(self.now) <= max(PLAN.open_ms_max, PLAN.probe_ms_max)
        due = self.circuit.next_probe_at
        assert (due is not None) == (self.circuit.state is CircuitState.OPEN)

    @invariant()
    def the_error_rate_is_a_share(self) -> None:
        rate = self.circuit.snapshot(self.now).error_rate
        assert rate is None or 0 <= rate <= 1

    def teardown(self) -> None:
        """Whatever happened: who keeps asking and is answered well finds it closed within the two longest waits."""
        now = self.now
        for _ in range(4):
            now = Millis(now + self.circuit.wait_ms(now))
            ticket = self.circuit.admit(now)
            if ticket is not None:
                self.circuit.succeeded(ticket, now)
        assert self.circuit.state is CircuitState.CLOSED
        assert now - self.now <= PLAN.probe_ms_max + PLAN.open_ms_max


AnyCallers.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestAnyCallers = AnyCallers.TestCase
