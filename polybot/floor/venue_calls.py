"""The breaker on calls to the venue (R9, R14): too many failures pause the floor, a probe that goes well resumes it.

Only look-ups probe: they are safe to repeat, an order is not (D8).
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from polybot.circuit import Circuit, CircuitPlan, CircuitSnapshot, CircuitState, Ticket
from polybot.clock import Clock
from polybot.desk.room import TradingRoom
from polybot.domain.events import AnyFact, TradingPaused, TradingResumed
from polybot.domain.units import UNIT
from polybot.risk.limits import Limits
from polybot.venue.base import VenueBusy, VenueUnavailable

VENUE_CALLS = "venue_calls"
CALL_S_MAX = 8.0
"""A call to the venue is over within this, whatever the venue's own code does: less than an agent may take to hang."""
FAILURES_MAX = 5
OPEN_MS_FIRST, OPEN_MS_MAX = 5_000, 60_000


def circuit_plan(limits: Limits) -> CircuitPlan:
    """Open when more calls fail than the owner's limit allows, or a few in a row."""
    return CircuitPlan(
        failures_max=FAILURES_MAX,
        window_ms=limits.call_failure_window_ms,
        calls_min=limits.call_failure_calls_min,
        failure_share_max=limits.call_failure_share_max,
        open_ms_first=OPEN_MS_FIRST,
        open_ms_max=OPEN_MS_MAX,
    )


class VenueCalls:
    """Asked before each call to the venue, and told how it went. What follows for trading is `due`."""

    def __init__(self, room: TradingRoom, clock: Clock) -> None:
        self._room, self._clock = room, clock
        self._limits = room.limits
        now = clock.now_ms()
        self.circuit = Circuit("polymarket", circuit_plan(room.limits), random.Random(1), now)
        self._answered = False

    def admit_order(self) -> Ticket | None:
        """None: do not send. An order is never the probe."""
        return self.circuit.admit(self._clock.now_ms()) if self.circuit.state is CircuitState.CLOSED else None

    def admit_look_up(self) -> Ticket | None:
        return self.circuit.admit(self._clock.now_ms())

    @asynccontextmanager
    async def call(self, ticket: Ticket) -> AsyncIterator[None]:
        """Make the call within the block: it is bounded, and how it went is told to the circuit.

        Raises VenueBusy, or VenueUnavailable for every other way of not being answered.
        """
        try:
            async with asyncio.timeout(CALL_S_MAX):
                yield
        except TimeoutError as error:
            self.circuit.failed(ticket, self._clock.now_ms())
            raise VenueUnavailable(str(error) or f"none within {CALL_S_MAX:g} s") from error
        except (VenueUnavailable, VenueBusy):
            self.circuit.failed(ticket, self._clock.now_ms())
            raise
        except asyncio.CancelledError:
            self.circuit.abandoned(ticket, self._clock.now_ms())
            raise
        self._answered = True
        self.circuit.succeeded(ticket, self._clock.now_ms())

    @property
    def wants_probe(self) -> bool:
        """Whether the floor waits for the venue to answer before it trades on."""
        return self._is_paused

    def due(self) -> list[AnyFact]:
        """The pause that an open circuit asks for, and its end; one that a former process left ends likewise."""
        now, state = self._clock.now_ms(), self.circuit.state
        if state is not CircuitState.CLOSED and not self._is_paused:
            seen = self.circuit.snapshot(now)
            rate = seen.error_rate or 0.0
            text = f"{seen.failures} venue calls in a row failed, {rate:.0%} of the last ones"
            return [
                TradingPaused(
                    at=now,
                    agent=None,
                    breaker=VENUE_CALLS,
                    value=rate,
                    limit=self._limits.call_failure_share_max / UNIT,
                    text=text,
                    until=None,
                )
            ]
        if state is CircuitState.CLOSED and self._is_paused and self._answered:
            return [TradingResumed(at=now, agent=None, breaker=VENUE_CALLS, text="the venue answers again")]
        return []

    def snapshot(self) -> CircuitSnapshot:
        return self.circuit.snapshot(self._clock.now_ms())

    @property
    def _is_paused(self) -> bool:
        return VENUE_CALLS in self._room.state.pauses
