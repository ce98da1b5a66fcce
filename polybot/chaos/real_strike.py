"""Carries out what the plan says: signals to real processes, and what brings the struck ones back."""

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter

from polybot.chaos.real_parts import Servers, Service
from polybot.chaos.real_plan import Deed, Strike, Target
from polybot.clock import SystemClock

COMES_BACK_SECONDS_MAX = 20.0
POLL_SECONDS = 0.01


class Striker:
    """Strikes one service and its servers, and counts. `chance` picks which of PostgreSQL's processes are hit."""

    def __init__(self, service: Service, servers: Servers, chance: random.Random) -> None:
        self._service, self._servers, self._chance = service, servers, chance
        self._clock = SystemClock()
        self.service_killed_at = 0.0
        """Monotonic seconds."""
        self._restoring: dict[Target, asyncio.Task[None]] = {}
        self._thawing: list[asyncio.Task[None]] = []
        self.kills: Counter[Target] = Counter()
        self.freezes: Counter[Target] = Counter()
        self.missed: Counter[Target] = Counter()

    async def strike(self, together: list[Strike]) -> None:
        """All of these at one moment. A server that is away is waited for, and struck when it is back."""
        for target in {strike.target for strike in together} - {Target.SERVICE}:
            await self._presence(target)
        for strike in together:
            pids = self._pids(strike.target)
            if not pids:
                self.missed[strike.target] += 1
            elif strike.deed is Deed.FREEZE:
                self._freeze(strike, pids)
            else:
                self._kill(strike, pids)

    async def settle(self) -> None:
        """Until everything frozen moves again and everything killed is back (but for the service)."""
        for task in (*self._thawing, *self._restoring.values()):
            await task
        self._thawing.clear()
        self._restoring.clear()

    def _pids(self, target: Target) -> list[int]:
        if target is not Target.SERVICE:
            return self._servers.pids(target)
        return [self._service.pid] if self._service.pid is not None else []

    async def _presence(self, target: Target) -> None:
        if target in self._restoring:
            await self._restoring.pop(target)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COMES_BACK_SECONDS_MAX):
                while not self._pids(target) and self._service.pid is not None:  # noqa: ASYNC110 - others' processes
                    await asyncio.sleep(POLL_SECONDS)

    def _kill(self, strike: Strike, pids: list[int]) -> None:
        self.kills[strike.target] += 1
        if strike.target is Target.SERVICE:
            self.service_killed_at = self._clock.monotonic()
            self._service.kill()
        elif strike.part and len(pids) > 1:  # PostgreSQL then ends all its other backends and recovers by itself
            send([self._chance.choice(pids[1:])], signal.SIGKILL)
        else:
            send(pids[:1] if self._chance.random() < 0.5 else pids, signal.SIGKILL)
            self._restoring[strike.target] = asyncio.create_task(self._restore(strike), name="restore")

    async def _restore(self, strike: Strike) -> None:
        await asyncio.sleep(strike.seconds)
        await self._servers.restore(strike.target)

    def _freeze(self, strike: Strike, pids: list[int]) -> None:
        self.freezes[strike.target] += 1
        send(pids, signal.SIGSTOP)
        self._thawing.append(asyncio.create_task(_thaw(pids, strike.seconds), name="thaw"))


async def _thaw(pids: list[int], seconds: float) -> None:
    try:
        await asyncio.sleep(seconds)
    finally:
        send(pids, signal.SIGCONT)


def send(pids: list[int], sign: signal.Signals) -> None:
    """Signal those that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
