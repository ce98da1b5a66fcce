"""Starts agents in order, restarts the ones that crash or hang, benches the ones that will not stop, stops in reverse.

The only place in the project that catches whatever an agent may raise: a bug crashes the agent, not the floor (D13).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import NoReturn

import msgspec
from loguru import logger

from polybot.agents.base import Agent
from polybot.clock import Clock
from polybot.domain.events import AgentState
from polybot.domain.ids import AgentId
from polybot.floor.crash_budget import Bench, CrashBudget, CrashTerms

WATCH_S = 0.1
LEFT_BEHIND_MAX = 20
"""So many runs of one agent that would not end, still there: only a new process gets rid of them, and it begins one."""


class AgentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An agent as a specification (D10): everything needed to start it, as often as it takes."""

    name: AgentId
    role: str
    build: Callable[[], Agent]
    terms: CrashTerms = CrashTerms()
    hang_s: float = 10.0
    stop_s: float = 5.0


Report = Callable[[AgentSpec, AgentState, str], Awaitable[None]]


class AgentHung(Exception):
    """The agent had work waiting and did none of it."""


class AgentGone(Exception):
    """The agent's coroutine is over though nobody stopped it: agents run until they are stopped."""


class AgentQuit(Exception):
    """The agent raised what is meant to end a process or a coroutine; it ends the agent like any other bug."""


class TooManyLeftBehind(Exception):
    """An agent's old runs swallow their cancellation and pile up: a fault of the floor, which is then begun anew."""


class Keeper:
    """Looks after one agent for as long as the floor is open."""

    def __init__(self, spec: AgentSpec, clock: Clock, report: Report, chance: Random) -> None:
        self.spec, self._clock, self._report, self._chance = spec, clock, report, chance
        self.budget = CrashBudget(spec.terms)
        self.state = AgentState.STARTING
        self.agent: Agent | None = None
        self.text = ""
        self._running: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._stubborn: list[asyncio.Task[None]] = []

    @property
    def restarts(self) -> int:
        return self.budget.crashes

    @property
    def left_behind(self) -> int:
        """Runs that were let go and have not ended yet. They can do nothing: their doors are shut."""
        self._stubborn = [run for run in self._stubborn if not run.done()]
        return len(self._stubborn)

    async def start(self) -> None:
        """Return once the agent runs (or has crashed for the first time)."""
        started = asyncio.Event()
        self._keeping = asyncio.create_task(self._keep(started), name=f"keeper-{self.spec.name}")
        self._keeping.add_done_callback(lambda _: started.set())  # its own fault must not keep the floor waiting
        await started.wait()

    async def stop(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        await self._end_run()
        await self._change(AgentState.STOPPED, "")

    @property
    def failure(self) -> BaseException | None:
        """Why the keeper itself ended, if it did: a fault of the floor, not of the agent."""
        keeping = self._keeping
        if keeping is None or not keeping.done() or keeping.cancelled():
            return None
        return keeping.exception()

    async def _keep(self, started: asyncio.Event) -> None:
        while True:
            error = await self._run_once(started)
            if self.left_behind > LEFT_BEHIND_MAX:
                raise TooManyLeftBehind(f"{self.left_behind} runs of {self.spec.name} do not end") from error
            answer = self.budget.note(self._clock.monotonic(), self._chance.random())
            text = f"{type(error).__name__}: {error}".encode(errors="backslashreplace").decode()  # a fact is UTF-8
            logger.bind(action="agent_crashed", agent=self.spec.name).opt(exception=error).error(
                "{} crashed: {}", self.spec.name, text
            )
            await self._change(AgentState.CRASHED, text)
            if isinstance(answer, Bench):
                await self._change(AgentState.BENCHED, f"{answer.delay_s:.0f} s on the bench after: {text}")
            started.set()
            await asyncio.sleep(answer.delay_s)

    async def _run_once(self, started: asyncio.Event) -> BaseException:
        """Run the agent until it ends; the reason it did. Ending without one is a crash too."""
        try:
            self.agent = _built(self.spec)
            self._running = asyncio.create_task(_contained(self.agent), name=f"agent-{self.spec.name}")
            await self._change(AgentState.RUNNING, "")
            started.set()
            await self._watch(self._running)
        except Exception as error:  # the one place that may: see the module's first lines
            return error
        finally:
            await self._end_run()

    async def _watch(self, running: asyncio.Task[None]) -> NoReturn:
        """Wait for the agent; raise what it raised, AgentHung, AgentQuit or AgentGone."""
        stuck_s = 0.0
        while not running.done():
            await asyncio.wait([running], timeout=max(WATCH_S, self.spec.hang_s - stuck_s))  # no sooner can it hang
            stuck_s = self.agent.heart.stuck_for() if self.agent is not None else 0.0
            if stuck_s > self.spec.hang_s and not running.done():
                raise AgentHung(f"no progress for {stuck_s:.1f} s with work waiting")
        if running.cancelled():
            raise AgentGone("the agent was cancelled from within")
        error = running.exception()
        if error is None:
            raise AgentGone("the agent ended by itself")
        raise error if isinstance(error, Exception) else _quit(error)

    async def _end_run(self) -> None:
        """Cancel the agent if it still runs, wait a bounded time, and let nobody wait for it further."""
        running, agent = self._running, self.agent
        self._running = self.agent = None
        if agent is not None:
            self._close(agent)
        if running is None or running.done():
            return
        running.add_done_callback(_heard)
        self._stubborn.append(running)  # until it proves otherwise, whoever stops waiting for it meanwhile
        running.cancel()
        await asyncio.wait([running], timeout=self.spec.stop_s)
        if not running.done():  # its doors are shut; what it asked for last is seen through by the dispatcher
            logger.bind(action="agent_abandoned").error("{} does not stop; it is left behind", self.spec.name)

    def _close(self, agent: Agent) -> None:
        try:
            agent.close()
        except Exception as error:  # its last word is no reason to keep a floor from restarting it
            logger.bind(action="agent_crashed", agent=self.spec.name).opt(exception=error).error(
                "{} could not be closed: {}", self.spec.name, error
            )

    async def _change(self, state: AgentState, text: str) -> None:
        self.state, self.text = state, text
        await self._report(self.spec, state, text)


def _built(spec: AgentSpec) -> Agent:
    try:
        return spec.build()
    except (SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError) as error:
        raise _quit(error) from error


async def _contained(agent: Agent) -> None:
    """Run the agent. asyncio lets exactly these two out of a task and through the loop: they would end the process."""
    try:
        await agent.run()
    except (SystemExit, KeyboardInterrupt) as error:
        raise _quit(error) from error


def _quit(error: BaseException) -> AgentQuit:
    quitting = AgentQuit(f"it raised {type(error).__name__}({error})")
    quitting.__cause__ = error
    return quitting


def _heard(running: asyncio.Task[None]) -> None:
    """Take note of how an agent ended, even when nobody waits for it any more."""
    if not running.cancelled():
        running.exception()


class Supervisor:
    """All keepers, in the order of their start."""

    def __init__(self, specs: Sequence[AgentSpec], clock: Clock, report: Report, chance: Random) -> None:
        self.keepers = [Keeper(spec, clock, report, chance) for spec in specs]

    async def start(self) -> None:
        for keeper in self.keepers:
            await keeper.start()

    async def stop(self) -> None:
        """Stop them all, each within its stop_s. What goes wrong with one is raised after the last has been stopped."""
        first: Exception | None = None
        for keeper in reversed(self.keepers):
            try:
                await keeper.stop()
            except Exception as error:
                first = first or error
        if first is not None:
            raise first

    def failure(self) -> BaseException | None:
        """The first keeper's own fault, if any: then the floor cannot go on."""
        for keeper in self.keepers:
            if (failure := keeper.failure) is not None:
                return failure
        return None
