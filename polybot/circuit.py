"""A circuit breaker (R9): stops calls to what keeps failing, lets one try through now and then, and closes again.

    CLOSED ── too many failures ──▶ OPEN ── its time is up: one probe ──▶ HALF_OPEN ── it went well ──▶ CLOSED
                                     ▲─────────────────── it failed, was lost ────────────────┘

After M. Nygard, "Release It!", ch. 5. Pure: times are milliseconds of one clock of the caller's, chance is handed in.
"""

import enum
import random
from collections import deque
from typing import NewType

import msgspec

from polybot.domain.units import UNIT, Millis

CALLS_REMEMBERED_MAX = 10_000
DOUBLINGS_MAX = 30


class CircuitState(enum.StrEnum):
    """CLOSED lets every call through, OPEN none, HALF_OPEN has one probe under way and lets no other through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


Ticket = NewType("Ticket", int)
"""One call that was let through; its outcome is told with it, so that a late answer is not taken for the probe's."""


class CircuitPlan(msgspec.Struct, frozen=True, kw_only=True):
    """When a circuit opens: after `failures_max` failures in a row, or when, of at least `calls_min` calls of the last
    `window_ms`, more than `failure_share_max` (millionths) failed.

    It stays open `open_ms_first`, doubled each time it opens again within `window_ms`, never above `open_ms_max`; the
    last half of it is drawn. A probe without an outcome after `probe_ms_max` counts as failed.
    """

    failures_max: int = 3
    window_ms: int = 60_000
    calls_min: int = 20
    failure_share_max: int = UNIT // 2
    open_ms_first: int = 500
    open_ms_max: int = 5_000
    probe_ms_max: int = 120_000


class CircuitSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A circuit at one moment. `failures` in a row; `error_rate` over the window, None while it saw no call.

    `trips` counts the times it opened after having been closed; `next_probe_at` is None unless it is open.
    """

    name: str
    state: CircuitState
    since: Millis
    failures: int
    trips: int
    next_probe_at: Millis | None
    error_rate: float | None


class Circuit:
    """Ask `admit` before each call, and tell its outcome with the ticket: succeeded, failed, or abandoned."""

    def __init__(self, name: str, plan: CircuitPlan, chance: random.Random, now: Millis) -> None:
        self.name, self.plan, self._chance = name, plan, chance
        self._state, self._since = CircuitState.CLOSED, now
        self._failures = 0
        self._trips = 0
        self._opened_in_a_row = 0
        self._closed_at = now
        self._next_probe_at = now
        self._tickets = 0
        self._first_ticket = 0  # of the present state: earlier ones are answers to an earlier time
        self._calls = _Outcomes()

    @property
    def state(self) -> CircuitState:
        return self._state

    @property
    def failures(self) -> int:
        """In a row, the last call's included."""
        return self._failures

    @property
    def next_probe_at(self) -> Millis | None:
        """When the next probe may go, while open."""
        return self._next_probe_at if self._state is CircuitState.OPEN else None

    def admit(self, now: Millis) -> Ticket | None:
        """A ticket for one call, or None: do not call. While open, the first to ask after the time is up probes."""
        self._give_up_lost_probe(now)
        if self._state is CircuitState.HALF_OPEN or self.wait_ms(now) > 0:
            return None
        self._tickets += 1
        if self._state is CircuitState.OPEN:
            self._become(CircuitState.HALF_OPEN, now)
        return Ticket(self._tickets)

    def wait_ms(self, now: Millis) -> int:
        """How long until a call may be let through, as far as is known; 0 while closed.

        A clock that went back to before the circuit opened must not keep it open: then it may be tried at once.
        """
        if self._state is CircuitState.HALF_OPEN:
            return max(0, self._since + self.plan.probe_ms_max - now) if now >= self._since else 0
        if self._state is CircuitState.CLOSED or now < self._since:
            return 0
        return max(0, self._next_probe_at - now)

    def succeeded(self, ticket: Ticket, now: Millis) -> None:
        """The call went well: the probe's success closes the circuit."""
        if ticket < self._first_ticket:
            return
        if self._state is CircuitState.HALF_OPEN:
            self._closed_at = now
            self._calls = _Outcomes()
            self._become(CircuitState.CLOSED, now)
        self._failures = 0
        self._calls.note(now, ok=True)

    def failed(self, ticket: Ticket, now: Millis) -> bool:
        """The call failed, or nobody knows; returns whether the circuit opened just now."""
        if ticket < self._first_ticket:
            return False
        self._failures += 1
        self._calls.note(now, ok=False)
        if self._state is CircuitState.HALF_OPEN:
            self._open(now)
            return True
        if self._state is CircuitState.CLOSED and self._asks_for_opening(now):
            if now - self._closed_at > self.plan.window_ms:
                self._opened_in_a_row = 0  # it was well for long: this is a new trouble
            self._trips += 1
            self._open(now)
            return True
        return False

    def abandoned(self, ticket: Ticket, now: Millis) -> None:
        """The caller was stopped before there was an outcome: it says nothing, but a probe's place is free again."""
        if self._state is CircuitState.HALF_OPEN and ticket >= self._first_ticket:
            self._next_probe_at = now
            self._become(CircuitState.OPEN, now)

    def pause_seconds(self, now: Millis, chance: random.Random, *, first: float, most: float) -> float:
        """After a failure: until the circuit may be asked again, or while it is closed a growing wait of the caller's.

        `first` and `most` in seconds, as in `growing_wait`.
        """
        wait_ms = self.wait_ms(now)
        return wait_ms / 1000 if wait_ms else growing_wait(max(1, self._failures), chance, first=first, most=most)

    def snapshot(self, now: Millis) -> CircuitSnapshot:
        return CircuitSnapshot(
            name=self.name,
            state=self._state,
            since=self._since,
            failures=self._failures,
            trips=self._trips,
            next_probe_at=self.next_probe_at,
            error_rate=self._calls.failure_rate(now, self.plan.window_ms),
        )

    # -- inside -------------------------------------------------------------------------------------------------------

    def _asks_for_opening(self, now: Millis) -> bool:
        plan = self.plan
        if self._failures >= plan.failures_max:
            return True
        total, failed = self._calls.count(now, plan.window_ms)
        return total >= plan.calls_min and failed * UNIT > total * plan.failure_share_max

    def _open(self, now: Millis) -> None:
        self._opened_in_a_row += 1
        plan = self.plan
        wait = growing_wait(
            self._opened_in_a_row, self._chance, first=float(plan.open_ms_first), most=float(plan.open_ms_max)
        )
        self._next_probe_at = Millis(now + max(1, round(wait)))
        self._become(CircuitState.OPEN, now)

    def _give_up_lost_probe(self, now: Millis) -> None:
        """Its caller is gone without a word: one that never answers must not keep the circuit half open for ever."""
        if self._state is CircuitState.HALF_OPEN and self.wait_ms(now) == 0:
            self._failures += 1
            self._open(now)

    def _become(self, state: CircuitState, now: Millis) -> None:
        self._state, self._since = state, now
        # the probe's own ticket is the newest; everything after it, and nothing before it, speaks of the new state
        self._first_ticket = self._tickets if state is CircuitState.HALF_OPEN else self._tickets + 1


class _Outcomes:
    """Outcomes of calls over a sliding window; at most CALLS_REMEMBERED_MAX, the oldest go first."""

    def __init__(self) -> None:
        self._calls: deque[tuple[Millis, bool]] = deque()
        self._failed = 0

    def note(self, at: Millis, *, ok: bool) -> None:
        if len(self._calls) >= CALLS_REMEMBERED_MAX:
            self._forget_oldest()
        self._calls.append((at, ok))
        self._failed += not ok

    def count(self, now: Millis, window_ms: int) -> tuple[int, int]:
        """All and the failed ones."""
        while self._calls and self._calls[0][0] <= now - window_ms:
            self._forget_oldest()
        return len(self._calls), self._failed

    def failure_rate(self, now: Millis, window_ms: int) -> float | None:
        total, failed = self.count(now, window_ms)
        return failed / total if total else None

    def _forget_oldest(self) -> None:
        _, ok = self._calls.popleft()
        self._failed -= not ok


def growing_wait(times: int, chance: random.Random, *, first: float, most: float) -> float:
    """The wait after `times` (1 or more) in a row: between half and all of first * 2 ** (times - 1), in their unit.

    Never above `most`. The jitter keeps many clients of a server that came back from knocking all at once.
    """
    ceiling = min(most, first * 2.0 ** min(times - 1, DOUBLINGS_MAX))
    return ceiling * (0.5 + 0.5 * chance.random())
