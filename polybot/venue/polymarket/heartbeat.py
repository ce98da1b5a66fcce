"""The order heartbeat: while it beats our orders stand, ten seconds after the last beat the venue cancels them all.

It beats only while the floor makes progress: a loop that hangs, or a process that is gone, loses its resting orders,
which is what a dead man's switch is for (polymarket.md 6.4).
"""

import asyncio
from collections.abc import Callable

from polybot.clock import Clock
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.client import AccountClient
from polybot.venue.polymarket.client_errors import HeartbeatMismatch
from polybot.venue.polymarket.complaint import Complaint

BEAT_EVERY_S = 5.0
DEADLINE_S = 10.0
"""The venue's own: after so long without a beat it cancels."""
PROGRESS_S_MAX = 4.0
"""A floor that has not come round for so long has no beat sent for it."""
CALL_S_MAX = 3.0
AGAIN_S = 1.0
"""After a beat that was not counted: soon, there are ten seconds in all."""


class OrderHeartbeat:
    """`progressed_at` is asked for the monotonic second at which the floor last came round."""

    def __init__(self, client: AccountClient, clock: Clock, progressed_at: Callable[[], float]) -> None:
        self._client, self._clock, self._progressed_at = client, clock, progressed_at
        self._id = ""
        self.beat_at: float | None = None
        """When the venue last counted a beat, monotonic; None before the first: no protection until then."""
        self.withheld = 0
        self.complaint = Complaint("heartbeat", clock)

    @property
    def is_armed(self) -> bool:
        """Whether the venue would cancel if we fell silent now, as far as we know."""
        return self.beat_at is not None and self._clock.monotonic() - self.beat_at < DEADLINE_S

    async def run(self, every_s: float = BEAT_EVERY_S) -> None:
        """For ever."""
        while True:
            counted = await self.beat()
            await asyncio.sleep(every_s if counted else min(AGAIN_S, every_s))

    async def beat(self) -> bool:
        """One beat; True where the venue counted it. Withheld where the floor stands still."""
        idle_s = self._clock.monotonic() - self._progressed_at()
        if idle_s > PROGRESS_S_MAX:
            self.withheld += 1
            self.complaint.tell(
                f"no order heartbeat: the floor has stood still for {idle_s:.1f} s", "the floor stood still"
            )
            return False
        try:
            async with asyncio.timeout(CALL_S_MAX):
                await self._send()
        except (TimeoutError, VenueUnavailable, VenueBusy) as error:
            why = str(error) or f"no answer within {CALL_S_MAX:g} s"
            self.complaint.tell(f"the order heartbeat was not answered: {why}", why)
            return False
        except HeartbeatMismatch as error:
            self._id = error.expected
            return False
        self.beat_at = self._clock.monotonic()
        self.complaint.over("the order heartbeat beats again")
        return True

    async def _send(self) -> None:
        """A wrong id is answered with the right one, which is sent at once; a second wrong one waits its turn."""
        try:
            self._id = await self._client.heartbeat(self._id)
        except HeartbeatMismatch as error:
            self._id = await self._client.heartbeat(error.expected)
