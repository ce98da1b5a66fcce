"""Keeps background work going that the floor can do without for a while: an end by a bug is told, shown, made good.

What the floor cannot do without (the vital tasks of house.py, agents, journal, lease) is not kept here: its end is the
floor's, or the supervisor's business (D10).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
from loguru import logger

from polybot.circuit import growing_wait
from polybot.clock import Clock
from polybot.domain.events import Severity
from polybot.domain.units import Millis

WAIT_S_FIRST, WAIT_S_MAX = 1.0, 60.0
STEADY_S = 10.0
"""Having run for so long it is well again, and a next end is the first of its kind."""
END_S_MAX = 10.0

Work = Callable[[], Coroutine[Any, Any, None]]
Note = Callable[[Severity, str, str], Awaitable[None]]
"""Writes a system event: how bad, which part, in words."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Work that ended though nobody stopped it. `since`: UTC milliseconds of its first end in a row."""

    since: Millis
    times: int
    text: str


async def only_logged(severity: Severity, component: str, text: str) -> None:
    """For as long as there is no journal to write to."""
    logger.bind(action=component).log(severity.value, "{}", text)


class Upkeep:
    """Each piece of work is a coroutine function that runs until it is cancelled; returning means it is done."""

    def __init__(self, clock: Clock, chance: random.Random, note: Note = only_logged) -> None:
        self._clock, self._chance, self.note = clock, chance, note
        self.faults: dict[str, Fault] = {}
        self._keeping: list[asyncio.Task[None]] = []

    def keep(self, name: str, work: Work) -> None:
        """Have `work` done from now on, again and again if need be."""
        self._keeping.append(asyncio.create_task(self._keep(name, work), name=f"keep-{name}"))

    async def once(self, name: str, work: Work) -> None:
        """Have `work` done once; a bug in it is told likewise, and forgotten when it goes well the next time."""
        error = await self._ended(asyncio.create_task(work(), name=name))
        if error is None:
            self.faults.pop(name, None)
        else:
            await self._failed(name, error, 0)

    async def end(self) -> None:
        """Stop all of it, within END_S_MAX."""
        keeping, self._keeping = self._keeping, []
        for task in keeping:
            task.cancel()
        if keeping:
            await asyncio.wait(keeping, timeout=END_S_MAX)

    def fault(self, *names: str) -> Fault | None:
        """The oldest fault of these pieces of work, None while all are well."""
        found = [self.faults[name] for name in names if name in self.faults]
        return min(found, key=lambda fault: fault.since, default=None)

    async def _keep(self, name: str, work: Work) -> None:
        while True:
            running = asyncio.create_task(work(), name=name)
            error = await self._ended(running, self._well_again(name, running))
            if error is None:
                return
            times = self.faults[name].times + 1 if name in self.faults else 1
            wait_s = growing_wait(times, self._chance, first=WAIT_S_FIRST, most=WAIT_S_MAX)
            await self._failed(name, error, wait_s)
            await asyncio.sleep(wait_s)

    async def _ended(
        self, running: asyncio.Task[None], meanwhile: Coroutine[Any, Any, None] | None = None
    ) -> BaseException | None:
        """Wait for a task, whatever it raises: the error, None where it returned. It ends with whoever waits."""
        tasks = [running, *([asyncio.create_task(meanwhile)] if meanwhile is not None else [])]
        try:
            await asyncio.wait([running])
        finally:
            ending = [task for task in tasks if not task.done()]
            for task in ending:
                task.cancel()
            if ending:
                await asyncio.wait(ending)
        if running.cancelled():
            return asyncio.CancelledError("it was cancelled from within")
        return running.exception()

    async def _failed(self, name: str, error: BaseException, wait_s: float) -> None:
        was, now = self.faults.get(name), self._clock.now_ms()
        again = f"; it is begun again in {wait_s:.1f} s" if wait_s else ""
        text = f"{name} ended unexpectedly: {type(error).__name__}: {error}"
        times = was.times + 1 if was is not None else 1
        self.faults[name] = Fault(since=was.since if was is not None else now, times=times, text=text)
        logger.bind(action="upkeep").opt(exception=error).error("{}", text)
        often = f", for the {times}. time in a row" if times > 1 else ""
        await self._tell(Severity.ERROR, name, f"{text}{often}{again}")

    async def _well_again(self, name: str, running: asyncio.Task[None]) -> None:
        if name not in self.faults:
            return
        await asyncio.sleep(STEADY_S)
        if not running.done():
            was = self.faults.pop(name)
            away_s = (self._clock.now_ms() - was.since) / 1000
            await self._tell(Severity.INFO, name, f"{name} runs again, {away_s:.0f} s after it ended")

    async def _tell(self, severity: Severity, name: str, text: str) -> None:
        """A journal that is gone ends the floor by itself, and is no reason to let this go as well."""
        telling = asyncio.ensure_future(self.note(severity, name, text))
        error = await self._ended(telling)
        if error is not None:
            logger.bind(action="upkeep").error("{} (not written down: {})", text, error)
