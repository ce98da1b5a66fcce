"""Shows the floor to the outside through Redis: ticks over pub/sub, last states as keys (design.md D16). One way only.

The floor lives without it: `offer` never waits and never fails. What is offered between two flushes is conflated, the
newest per key; while Redis is away ticks are dropped and counted, states wait for it, the newest of each.
"""

import asyncio
import random
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from polybot.circuit import Circuit, CircuitPlan
from polybot.clock import Clock
from polybot.domain.errors import PolybotError
from polybot.domain.units import Millis

TICKS = "ticks:"
CIRCUIT = "circuit:"
KEYS_MAX = 1_000
FLUSH_SECONDS = 0.2
IDLE_SECONDS = 5.0
"""With nothing to send, Redis is still asked this often, so that /health learns of an outage."""
REFRESH_SECONDS = 20.0
"""Breakers change seldom: they are written again this often, well within their expiry, and after every outage."""
SEND_SECONDS_MAX = 5.0
CLOSE_SECONDS_MAX = 1.0
RETRY_SECONDS_FIRST = 0.1
RETRY_SECONDS_MAX = 1.0
REDIS_CIRCUIT = CircuitPlan(failures_max=2, open_ms_first=300, open_ms_max=2_000)

Payload = bytes | dict[str, Any]


class BusAwayError(PolybotError):
    """Redis does not answer, or refuses. Whether it took some of the values is not known, and does no harm."""


class Line(Protocol):
    """Where values go (redis_line.py; the chaos hunt's fails on demand). Sending the same again is safe."""

    async def send(self, values: Mapping[str, Payload]) -> None:
        """Publish `ticks:...`, set the others with an expiry; with nothing to send, ask for a sign of life.

        Raises BusAwayError.
        """
        ...

    async def close(self) -> None: ...


class BusStatus(msgspec.Struct, frozen=True, kw_only=True):
    """For /health: `away_since` (UTC milliseconds) and `error` while Redis is away; `connected` once it answered.

    Counted since the start: values `sent`, those replaced by a newer one before they went out, and those lost.
    """

    connected: bool
    away_since: Millis | None
    error: str | None
    sent: int
    conflated: int
    dropped: int


class Bus:
    """Offer from anywhere on the event loop; run `run()` as a task, end it by cancelling it, then `close()`."""

    def __init__(
        self,
        line: Line,
        clock: Clock,
        circuit: Circuit,
        chance: random.Random,
        *,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        """`clock` tells wall time for the status and spans for the waits, `chance` spreads the waits between tries."""
        self._line, self._clock, self._chance, self._flush_seconds = line, clock, chance, flush_seconds
        self.circuit = circuit
        self._pending: dict[str, Payload] = {}
        self._circuits: dict[str, Payload] = {}
        self._connected = False
        self._away_since: Millis | None = None
        self._error: str | None = None
        self._sent = self._conflated = self._dropped = 0
        self._spoke_at = self._refreshed_at = float("-inf")

    def status(self) -> BusStatus:
        return BusStatus(
            connected=self._connected,
            away_since=self._away_since,
            error=self._error,
            sent=self._sent,
            conflated=self._conflated,
            dropped=self._dropped,
        )

    def offer(self, key: str, payload: Payload) -> None:
        """Show `payload` under `key` at the next flush, instead of an older one that has not gone out yet.

        `ticks:...` is published to the channel of that name, anything else set under the key, with an expiry. A dict
        becomes JSON at the flush: do not change it afterwards. Beyond KEYS_MAX different keys, new ones are dropped. A
        breaker's state that is offered again unchanged goes out with the refresh.
        """
        if key in self._pending:
            self._conflated += 1
        elif self._circuits.get(key) == payload:
            return
        elif len(self._pending) >= KEYS_MAX:
            self._dropped += 1
            return
        self._pending[key] = payload
        if key.startswith(CIRCUIT):
            self._circuits[key] = payload

    async def run(self) -> None:
        """Flush at a fixed pace for ever; while Redis is away, try again after growing, jittered waits."""
        while True:
            if await self._tried_flush():
                await asyncio.sleep(self._flush_seconds)
            else:
                self._drop_ticks()
                await asyncio.sleep(self._pause_seconds())
                self._drop_ticks()

    async def close(self) -> None:
        """Send what is left, once and briefly, and hang up."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                if self._pending and self._away_since is None:
                    await self._tried_flush()
        except TimeoutError:
            pass  # Redis hangs; whoever looks at it sees the keys expire
        await self._line.close()

    async def _tried_flush(self) -> bool:
        """Whether Redis took what is pending; False while the circuit lets nothing through, too."""
        now = self._clock.now_ms()
        ticket = self.circuit.admit(now)
        if ticket is None:
            return False
        answered = False
        try:
            async with asyncio.timeout(SEND_SECONDS_MAX):
                await self._flush()
            answered = True
        except (BusAwayError, TimeoutError) as error:
            answered = True
            self.circuit.failed(ticket, self._clock.now_ms())
            self._connected = False
            self._away_since = self._away_since or now
            self._error = str(error) or "no answer in time"
            self._refreshed_at = float("-inf")
            return False
        finally:
            if not answered:
                self.circuit.abandoned(ticket, self._clock.now_ms())
        self.circuit.succeeded(ticket, self._clock.now_ms())
        self._connected, self._away_since, self._error = True, None, None
        return True

    async def _flush(self) -> None:
        """One round trip with everything that is pending; it stays pending unless Redis took it."""
        now = self._clock.monotonic()
        refresh = now - self._refreshed_at >= REFRESH_SECONDS
        going = (self._circuits if refresh else {}) | self._pending
        if not going and self._connected and now - self._spoke_at < IDLE_SECONDS:
            return
        await self._line.send(going)
        self._spoke_at = now
        self._refreshed_at = now if refresh else self._refreshed_at
        self._sent += len(going)
        for key, payload in going.items():
            if self._pending.get(key) is payload:  # a newer one may have been offered while we waited
                del self._pending[key]

    def _pause_seconds(self) -> float:
        now = self._clock.now_ms()
        return self.circuit.pause_seconds(now, self._chance, first=RETRY_SECONDS_FIRST, most=RETRY_SECONDS_MAX)

    def _drop_ticks(self) -> None:
        """Old ticks are of no use to anyone; states wait, the newest of each."""
        ticks = [key for key in self._pending if key.startswith(TICKS)]
        for key in ticks:
            del self._pending[key]
        self._dropped += len(ticks)
