"""The floor boss: opens the floor, allots the capital, starts and watches the agents, keeps checkpoints (R1)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

from loguru import logger

from polybot.clock import Clock
from polybot.desk.room import TradingRoom, equal_allocation
from polybot.domain.errors import PolybotError
from polybot.domain.events import (
    AgentChanged,
    AgentState,
    AnyFact,
    RunEnded,
    RunStarted,
    Severity,
    SystemNoted,
    TradingPaused,
    TradingResumed,
)
from polybot.domain.ids import AgentId
from polybot.domain.units import Money
from polybot.floor.dispatch import Dispatcher
from polybot.floor.reconciler import Reconciler
from polybot.floor.supervisor import AgentSpec, Supervisor

BOSS = AgentId("boss")
AUDITOR_AWAY = "auditor_away"
WATCH_EVERY_S = 0.25


class FloorFailed(PolybotError):
    """Something the floor cannot do without is gone; the process must end and be started again."""


class Boss:
    """Orchestrates everything; the decisions themselves are in pure code elsewhere."""

    def __init__(
        self,
        room: TradingRoom,
        dispatcher: Dispatcher,
        clock: Clock,
        keep_checkpoint: Callable[[], Awaitable[None]],
        checkpoint_s: float,
        watch_s: float = WATCH_EVERY_S,
    ) -> None:
        self.room, self.dispatcher, self._clock = room, dispatcher, clock
        self._keep_checkpoint, self._checkpoint_s, self._watch_s = keep_checkpoint, checkpoint_s, watch_s
        self._fatal: PolybotError | None = None
        self.last_look = clock.monotonic()
        """When it last looked after the floor, in the clock's monotonic seconds."""
        self._watching = False
        self._benched: set[AgentId] = set()

    # -- opening ------------------------------------------------------------------------------------------------------

    async def open(self, supervisor: Supervisor, reconciler: Reconciler, started: RunStarted, capital: Money) -> None:
        """Write down that the floor is open, put its books in order, start the agents in order."""
        now = self._clock.now_ms()
        running = AgentChanged(at=now, agent=BOSS, role="boss", state=AgentState.RUNNING)
        await self.dispatcher.commit([started, running])
        if self.room.capital() == 0:
            await self.dispatcher.commit(equal_allocation(self.room, capital, now))
        await self._note_newcomers()
        unsent = await reconciler.look_at_all()
        if unsent:
            text = f"{unsent} orders were written down but never reached the venue; they are closed, not re-sent"
            await self.dispatcher.note(Severity.WARNING, "recovery", text)
        await self.dispatcher.commit_due(now)
        await supervisor.start()

    async def _note_newcomers(self) -> None:
        """An agent that joins a run later finds the capital allotted already; say so rather than let people wonder."""
        for desk in self.room.desks.values():
            if desk.state.capital == 0:
                text = f"{desk.agent} joined after the capital was allotted and has none; `polybot reset` starts anew"
                await self.dispatcher.note(Severity.WARNING, "boss", text)

    # -- watching -----------------------------------------------------------------------------------------------------

    async def watch(self, supervisor: Supervisor) -> None:
        """Never returns; raises FloorFailed when the floor cannot go on. Keeps a checkpoint from time to time."""
        last_checkpoint = self.last_look = self._clock.monotonic()
        self._watching = True
        try:
            await self._watch(supervisor, last_checkpoint)
        finally:
            self._watching = False

    def silent_for(self) -> float:
        """Seconds since it last looked after the floor; 0 while that is not its work. From any thread."""
        return self._clock.monotonic() - self.last_look if self._watching else 0.0

    async def _watch(self, supervisor: Supervisor, last_checkpoint: float) -> NoReturn:
        while True:
            await asyncio.sleep(self._watch_s)
            now = self.last_look = self._clock.monotonic()
            failure = self._fatal or self.dispatcher.failure or supervisor.failure()
            if failure is not None:
                raise FloorFailed(f"the floor cannot go on: {failure}") from failure
            if now - last_checkpoint >= self._checkpoint_s and self.dispatcher.settled:
                last_checkpoint = now
                await self._keep_checkpoint()

    async def on_agent_change(self, spec: AgentSpec, state: AgentState, text: str) -> None:
        """The supervisor's report: who is there is a fact, and without an auditor nobody trades (D10)."""
        now = self._clock.now_ms()
        away = state is not AgentState.RUNNING
        if spec.name in self.room.desks:
            (self.room.absent.add if away else self.room.absent.discard)(spec.name)
        facts: list[AnyFact] = [AgentChanged(at=now, agent=spec.name, role=spec.role, state=state, text=text)]
        if state in (AgentState.CRASHED, AgentState.BENCHED):
            severity = Severity.CRITICAL if state is AgentState.BENCHED else Severity.ERROR
            facts.append(SystemNoted(at=now, severity=severity, component=spec.name, text=text))
        facts += self._trader_change(spec.name, state)
        if spec.role == "auditor":
            facts += self._auditor_change(state, text)
        try:
            await self.dispatcher.commit(facts)
        except PolybotError as error:  # the journal is gone: the watch loop ends the floor
            self._fatal = error
            logger.bind(action="journal_failed").critical("{}", error)

    def _trader_change(self, agent: AgentId, state: AgentState) -> list[AnyFact]:
        """Traders sit out one by one and come back by themselves; with all of them out, a person should know."""
        if state is not AgentState.BENCHED:
            self._benched.discard(agent)
            return []
        if agent not in self.room.desks:
            return []
        self._benched.add(agent)
        if len(self._benched) < len(self.room.desks):
            return []
        text = "every trader is on the bench: nothing is traded until one is back; settling and auditing go on"
        return [SystemNoted(at=self._clock.now_ms(), severity=Severity.CRITICAL, component="boss", text=text)]

    def _auditor_change(self, state: AgentState, text: str) -> list[AnyFact]:
        now, paused = self._clock.now_ms(), AUDITOR_AWAY in self.room.state.pauses
        if state is AgentState.BENCHED and not paused:
            words = f"no trading without an auditor: {text}"
            return [TradingPaused(at=now, agent=None, breaker=AUDITOR_AWAY, value=1, limit=0, text=words, until=None)]
        if state is AgentState.RUNNING and paused:
            return [TradingResumed(at=now, agent=None, breaker=AUDITOR_AWAY, text="the auditor is back")]
        return []

    # -- closing ------------------------------------------------------------------------------------------------------

    async def close(self, supervisor: Supervisor, reason: str, *, finished: bool) -> None:
        """Stop the agents in reverse order, write down why, keep a last checkpoint."""
        self.dispatcher.closing = True
        await self.dispatcher.drained()
        await supervisor.stop()
        await self.dispatcher.finished()
        if self._fatal is not None:
            return
        now = self._clock.now_ms()
        stopped = AgentChanged(at=now, agent=BOSS, role="boss", state=AgentState.STOPPED)
        await self.dispatcher.commit([stopped, RunEnded(at=now, reason=reason, finished=finished)])
        await self._keep_checkpoint()
