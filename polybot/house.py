"""The floor put together from its parts. A tape, a live feed and a chaos hunt differ only in the parts they hand in."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from polybot import __version__
from polybot.agents.auditor import AUDITOR, AuditorAgent
from polybot.agents.base import Heart
from polybot.agents.monitor import MONITOR, MonitorAgent
from polybot.agents.trader import Trader
from polybot.clock import Clock
from polybot.desk.desk import AgentPlan, Desk
from polybot.domain.errors import BadInput
from polybot.domain.events import AnyFact, Journaled, MarketEvent, RunStarted
from polybot.domain.ids import AgentId
from polybot.domain.units import Millis, Money, format_units
from polybot.floor.boss import WATCH_EVERY_S, Boss
from polybot.floor.dispatch import Dispatcher
from polybot.floor.kill_switch import KillSwitch
from polybot.floor.reconciler import LOOK_EVERY_S, Reconciler
from polybot.floor.supervisor import AgentSpec, Supervisor
from polybot.recovery import FloorMemory, Recovered, decode_audit, encode_audit, encode_memory, recover
from polybot.risk.limits import Limits
from polybot.venue.base import Venue

LOCKSTEP_PATIENCE_FACTOR = 2.0


class FloorJournal(Protocol):
    """The memory of record, as the floor needs it: storage/journal.py, or one on a simulated disk."""

    genesis: bytes

    async def append(self, facts: Sequence[AnyFact], position: int) -> list[Journaled]: ...

    def read(self, after_seq: int = 0) -> Iterator[Journaled]: ...


KeepCheckpoint = Callable[[int, int, Millis, bytes], Awaitable[None]]
"""Keeps the floor's memory: the last fact in it, the last market event, the time, the encoded memory."""
Play = Callable[[Dispatcher, asyncio.Event], Coroutine[Any, Any, bool]]
"""Brings market events onto the floor until stopped (False) or until there are no more (True)."""


class HouseTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a floor is opened with. `source` names where its market data comes from; `settings` is for the record.

    `lockstep`: after each market event wait for the traders it woke, so that a tape is never too fast for them.
    """

    plans: list[AgentPlan]
    limits: Limits
    capital: Money
    seed: int
    mode: str
    source: str
    settings: dict[str, Any] = {}
    agent_hang_s: float = 10.0
    checkpoint_s: float = 30.0
    watch_s: float = WATCH_EVERY_S
    reconcile_s: float = LOOK_EVERY_S
    lockstep: bool = False


def restore(
    terms: HouseTerms, memory: FloorMemory, journal: FloorJournal, market_events: Iterable[MarketEvent]
) -> Recovered:
    """Recovery is start-up: the same path for a first start and for the next after any end.

    Raises BadInput where what is kept is another run than the one asked for.
    """
    was = recover(memory, journal.read(memory.seq), market_events, terms.plans, terms.limits)
    if was.memory.source not in ("", terms.source):
        raise BadInput(
            f"the data folder holds a run on {was.memory.source}, and this is {terms.source}: "
            "set POLYBOT_DATA_DIR to another folder, or type `polybot reset` to put that run away"
        )
    if was.room.capital() not in (0, terms.capital):
        raise BadInput(
            f"the run in the data folder began with {format_units(was.room.capital())}, and POLYBOT_CAPITAL "
            f"is now {format_units(terms.capital)}: set it back, or put that run away: `polybot reset`"
        )
    gone = [agent for agent in was.memory.room.desks if agent not in was.room.desks]
    if gone:
        raise BadInput(
            f"{', '.join(gone)} took part in the run in the data folder and is not configured any more: "
            "give back its file in configs/strategies, or type `polybot reset` to put that run away"
        )
    return was


class House:
    """The wired parts of one open floor."""

    def __init__(
        self,
        terms: HouseTerms,
        was: Recovered,
        venue: Venue,
        journal: FloorJournal,
        clock: Clock,
        keep: KeepCheckpoint,
    ) -> None:
        self.terms, self.was, self.journal, self.clock, self._keep = terms, was, journal, clock, keep
        self.room = was.room
        self.room.absent.update(self.room.desks)  # until their agents run: nobody has looked at anything yet
        self._audit_kept = encode_audit(was.memory.audit)
        self._kept: tuple[int, int, bool] | None = None
        self._auditor: AuditorAgent | None = None
        patience_s = LOCKSTEP_PATIENCE_FACTOR * terms.agent_hang_s
        self.dispatcher = Dispatcher(was.room, venue, journal, clock, lockstep=terms.lockstep, patience_s=patience_s)
        self.dispatcher.follow(self._remember)
        self.reconciler = Reconciler(was.room, venue, self.dispatcher, clock, terms.reconcile_s)
        self._reconciles = venue.may_lose_replies
        if self._reconciles:
            for desk in self.room.desks.values():
                desk.prove_ends()
        self.boss = Boss(was.room, self.dispatcher, clock, self._keep_checkpoint, terms.checkpoint_s, terms.watch_s)
        self.supervisor = Supervisor(self._specs(), clock, self.boss.on_agent_change, random.Random(terms.seed))
        self.kill_switch: KillSwitch | None = None
        """What people stop it with; a simulation has none."""
        self.leads: Callable[[], bool] = lambda: True
        """Whether this floor leads its account now, whatever else keeps it from trading."""
        self._beside: list[Callable[[], Coroutine[Any, Any, None]]] = []

    def beside(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have `work` done while the floor runs; it never returns, and what it raises ends the floor."""
        self._beside.append(work)

    async def run(self, play: Play, stop: asyncio.Event, at_end: Callable[[], None] = lambda: None) -> tuple[bool, str]:
        """Open, play until there is no more to play or somebody stops it, close in order; whether it is finished, why.

        `at_end` is called when playing is over or something failed, before anything is closed.
        Raises FloorFailed, or what the market's source raises, when only a restart can help.
        """
        await self.boss.open(self.supervisor, self.reconciler, self._started(), self.terms.capital)
        playing = asyncio.create_task(play(self.dispatcher, stop), name="market-events")
        vital = [playing, asyncio.create_task(self.boss.watch(self.supervisor), name="boss-watch")]
        if self._reconciles:
            vital.append(asyncio.create_task(self.reconciler.run(), name="reconciler"))
        vital += [asyncio.create_task(work(), name="beside") for work in self._beside]
        in_order = False
        try:
            await asyncio.wait(vital, return_when=asyncio.FIRST_COMPLETED)
            at_end()
            for task in vital:
                if task.done():
                    task.result()  # a fault ends the floor here
            finished = playing.result()
            reason = "the tape is over" if finished else "stopped by request"
            await self.boss.close(self.supervisor, reason, finished=finished)
            in_order = True
        finally:
            for task in vital:
                task.cancel()
            await asyncio.wait(vital)
            if not in_order:  # whatever failed, what is running must not go on trading
                self.dispatcher.closing = True
                await self.supervisor.stop()
        return finished, reason

    def _started(self) -> RunStarted:
        terms = self.terms
        return RunStarted(
            at=self.clock.now_ms(),
            run=self.journal.genesis.hex()[:12],
            source=terms.source,
            mode=terms.mode,
            capital=terms.capital,
            seed=terms.seed,
            version=__version__,
            settings=terms.settings,
        )

    # -- what the agents need -----------------------------------------------------------------------------------------

    def _specs(self) -> list[AgentSpec]:
        """Auditor and monitor first, so that nothing is traded unseen; they stop last."""
        hang_s = self.terms.agent_hang_s
        specs = [
            AgentSpec(name=AUDITOR, role="auditor", build=self._build_auditor, hang_s=hang_s),
            AgentSpec(name=MONITOR, role="monitor", build=self._build_monitor, hang_s=hang_s),
        ]
        for agent, desk in self.room.desks.items():
            specs.append(AgentSpec(name=agent, role="trader", build=self._trader_builder(desk), hang_s=hang_s))
        return specs

    def _trader_builder(self, desk: Desk) -> Callable[[], Trader]:
        attach, looked = self.dispatcher.attach_mailbox, self.dispatcher.looked
        return lambda: Trader(
            desk,
            Heart(self.clock.monotonic),
            self.dispatcher,
            self.dispatcher.carry_out,
            lambda box: attach(desk.agent, box),
            lambda wake, decided: looked(desk.agent, wake, decided),
        )

    def _build_auditor(self) -> AuditorAgent:
        """From the last books known to be good: those of one that crashed may be half done."""
        self._auditor = AuditorAgent(
            decode_audit(self._audit_kept, self.room.limits),
            Heart(self.clock.monotonic),
            self.clock,
            self,
            self.dispatcher.commit,
            lambda feed: self.dispatcher.attach_feed(AUDITOR, feed),
        )
        return self._auditor

    def _build_monitor(self) -> MonitorAgent:
        return MonitorAgent(
            self.was.memory.board.performance,
            Heart(self.clock.monotonic),
            self.dispatcher.commit,
            lambda feed: self.dispatcher.attach_feed(MONITOR, feed),
        )

    def past(self, after_seq: int) -> Iterable[Journaled]:
        return self.journal.read(after_seq)

    def desk_cash(self) -> Mapping[AgentId, Money] | None:
        if not self.dispatcher.settled:
            return None
        return {desk.agent: desk.state.cash for desk in self.room.desks.values()}

    # -- remembering --------------------------------------------------------------------------------------------------

    def _remember(self, facts: list[Journaled]) -> None:
        memory = self.was.memory
        for entry in facts:
            memory.take(entry)

    async def _keep_checkpoint(self) -> None:
        """Unless nothing has happened since the last. A tape's position is where it goes on; a live feed has none."""
        memory, audited = self.was.memory, self._auditor is not None and self._auditor.caught_up
        now = (memory.seq, self.room.state.position if self.terms.lockstep else 0, audited)
        if now == self._kept:
            return
        if self._auditor is not None and audited:
            memory.audit = self._auditor.memory
            self._audit_kept = encode_audit(memory.audit)
        else:
            memory.audit = decode_audit(self._audit_kept, self.room.limits)
        state = encode_memory(memory)
        await self._keep(memory.seq, self.room.state.position, self.clock.now_ms(), state)
        self._kept = now
