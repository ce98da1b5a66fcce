"""Starts our own servers again when they die under the floor, which trades on meanwhile (R9, R10).

Under the same address, so that nobody who holds their URL need learn of it; at once the first time, after growing,
jittered waits when it happens again and again. There is no giving up: without them the floor is only less well seen.
"""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from loguru import logger

from polybot.circuit import growing_wait
from polybot.clock import SystemClock
from polybot.domain.errors import PolybotError
from polybot.domain.events import Severity
from polybot.storage.embedded_process import EmbeddedServerError
from polybot.upkeep import Note, Upkeep

WAIT_SECONDS_FIRST = 0.2
WAIT_SECONDS_MAX = 60.0
BUDGET_DEATHS = 5
BUDGET_SECONDS = 300.0
"""More deaths than that in this time are an ERROR, for a person to look at."""


class KeptServer(Protocol):
    """A server of our own: EmbeddedPostgres, EmbeddedValkey."""

    @property
    def name(self) -> str: ...

    async def wait_ended(self) -> str:
        """Wait until it ends; how it did, in words."""
        ...

    async def restart(self) -> None:
        """Start it again where it was. Raises EmbeddedServerError, or OSError where the folder can't be used."""
        ...


@asynccontextmanager
async def kept_running(
    servers: Sequence[KeptServer], note: Note, monotonic: Callable[[], float], chance: random.Random
) -> AsyncIterator[None]:
    """Watch over the servers while the block runs. Leave it before they are stopped in order."""
    upkeep = Upkeep(SystemClock(), chance, note)  # their keepers may have bugs of their own
    for server in servers:
        upkeep.keep(server.name.lower(), _Keeper(server, note, monotonic, chance).run)
    try:
        yield
    finally:
        await upkeep.end()


class _Keeper:
    """Keeps one server."""

    def __init__(self, server: KeptServer, note: Note, monotonic: Callable[[], float], chance: random.Random) -> None:
        self.server, self._note, self._monotonic, self._chance = server, note, monotonic, chance
        self._deaths: deque[float] = deque(maxlen=1_000)

    async def run(self) -> None:
        name = self.server.name
        while True:
            how = await self.server.wait_ended()
            died_at = self._monotonic()
            deaths = self._count_death(died_at)
            severity = Severity.ERROR if deaths > BUDGET_DEATHS else Severity.WARNING
            often = f", for the {deaths}. time within {BUDGET_SECONDS / 60:g} minutes" if deaths > 1 else ""
            await self._tell(severity, f"our own {name} {how}{often}; it is started again")
            if deaths > 1:  # the first may be anybody's slip
                first, most = WAIT_SECONDS_FIRST, WAIT_SECONDS_MAX
                await asyncio.sleep(growing_wait(deaths - 1, self._chance, first=first, most=most))
            try:
                await self.server.restart()
            except (EmbeddedServerError, OSError) as error:
                await self._tell(Severity.ERROR, f"our own {name} does not start: {error}")
            else:
                await self._tell(Severity.INFO, f"our own {name} runs again after {self._monotonic() - died_at:.1f} s")

    def _count_death(self, now: float) -> int:
        """How many there were lately; a start that failed is one too."""
        self._deaths.append(now)
        while self._deaths[0] < now - BUDGET_SECONDS:
            self._deaths.popleft()
        return len(self._deaths)

    async def _tell(self, severity: Severity, text: str) -> None:
        try:
            await self._note(severity, self.server.name.lower(), text)
        except PolybotError as error:  # the journal is gone, and the floor with it; the server may still be needed
            logger.bind(action="embedded").error("{} (not written down: {})", text, error)
