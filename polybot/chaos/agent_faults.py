"""Agents that crash, hang, or will not go: planted into the real supervisor's agents at the planned moments."""

import asyncio
from collections.abc import Callable

import msgspec

from polybot.agents.base import Agent
from polybot.chaos.faults import Episode, Faults
from polybot.domain.ids import AgentId
from polybot.domain.units import Millis
from polybot.floor.supervisor import Keeper, Supervisor

KINDS = ("agent_crash", "agent_hang", "agent_leak")
LEAKS_FOR_S = 600.0
"""An agent that swallows its cancellation goes on doing so for this long."""


class PlantedCrash(Exception):
    """A bug in an agent."""


class FaultyAgent:
    """An agent that does its work until its moment has come, and then what the fault says."""

    def __init__(self, inner: Agent, kind: str, wait_s: float, strike: Callable[[], None]) -> None:
        self.inner, self.heart = inner, inner.heart
        self._kind, self._wait_s, self._strike = kind, wait_s, strike

    async def run(self) -> None:
        work = asyncio.create_task(self.inner.run())
        try:
            await asyncio.wait([work], timeout=self._wait_s)
        except asyncio.CancelledError:
            work.cancel()
            raise
        if work.done():
            work.result()
            return
        work.cancel()
        self._strike()
        if self._kind == "agent_crash":
            raise PlantedCrash("planted")
        if self._kind == "agent_leak":
            await self._cling()
        await asyncio.Event().wait()  # alive, and nothing gets done

    def close(self) -> None:
        self.inner.close()

    async def _cling(self) -> None:
        """Swallow every cancellation for a while."""
        loop = asyncio.get_running_loop()
        until = loop.time() + LEAKS_FOR_S
        while loop.time() < until:
            try:
                await asyncio.sleep(until - loop.time())
            except asyncio.CancelledError:
                continue


class AgentFaults:
    """Wraps what the supervisor builds. Each episode of the plan strikes once, whichever process is alive then."""

    def __init__(self, faults: Faults, now: Callable[[], Millis]) -> None:
        self._faults, self._now = faults, now

    def plant(self, supervisor: Supervisor) -> None:
        names = [keeper.spec.name for keeper in supervisor.keepers]
        for keeper in supervisor.keepers:
            self._plant(keeper, names)

    def _plant(self, keeper: Keeper, names: list[AgentId]) -> None:
        build, name = keeper.spec.build, keeper.spec.name

        def faulty() -> Agent:
            inner = build()
            episode = self._next_for(name, names)
            if episode is None:
                return inner
            wait_s = max(0.0, (episode.start_ms - self._now()) / 1000)
            return FaultyAgent(inner, episode.name, wait_s, lambda: self._faults.note(episode.name, name))

        keeper.spec = msgspec.structs.replace(keeper.spec, build=faulty)

    def _next_for(self, name: AgentId, names: list[AgentId]) -> Episode | None:
        """The next planned fault that falls to this agent and has not struck."""
        now = self._now()
        coming = [
            episode
            for kind in KINDS
            for episode in self._faults.of(kind)
            if episode.start_ms >= now
            and names[int(self._faults.draw("whose", f"{kind}/{episode.start_ms}") * len(names))] == name
        ]
        return min(coming, key=lambda episode: episode.start_ms, default=None)
