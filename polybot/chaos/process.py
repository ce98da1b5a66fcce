"""One life of the whole service in the simulated world: what app.py does for a real one, over simulated parts.

Boss, supervisor, agents, dispatcher, reconciler, feeder, recovery and projector are the real ones.
"""

import asyncio
import random
from typing import TYPE_CHECKING

from polybot.chaos.agent_faults import AgentFaults
from polybot.chaos.feed import SimFeed
from polybot.chaos.invariants import Violated
from polybot.chaos.journal import SimJournal
from polybot.chaos.stores import SimLine
from polybot.chaos.venue_client import ExchangeClient
from polybot.circuit import Circuit, CircuitPlan
from polybot.clock import SteadyClock
from polybot.domain.book import BookState
from polybot.domain.errors import BadInput, PolybotError
from polybot.domain.events import AgentState
from polybot.domain.units import Millis
from polybot.floor.dispatch import Dispatcher
from polybot.floor.feed_watch import WatchTerms
from polybot.floor.feeder import Feeder, FeedPace
from polybot.house import House, restore
from polybot.recovery import FloorMemory, decode_memory, new_memory
from polybot.storage.bus import REDIS_CIRCUIT, Bus
from polybot.storage.projector import DATABASE_CIRCUIT, Projector

if TYPE_CHECKING:
    from polybot.chaos.life import Life
    from polybot.chaos.seed import Seed

WATCHDOG_S = 10.0
SHOW_S = 20.0
PACE, WATCH = FeedPace(tick_s=2.0, look_s=2.5), WatchTerms(refresh_ms=4_000)
IDLE_S, FLUSH_S = 15.0, 20.0
"""How often an idle projector asks the database, and the bus looks whether there is anything to send.

All of these look less often than a live floor's: what is hunted happens between awaits, and polls cost the most.
"""
STALL_EXIT_S = 30.0


class Exited(Exception):
    """The process ends itself, as the real one does with an exit code; the text says why."""


class Process:
    """`main` is the process: it returns when stopped in order, and raises when only a restart can help."""

    def __init__(self, seed: "Seed", life: "Life") -> None:
        self.seed, self.life = seed, life
        self.stop = asyncio.Event()
        self.house: House | None = None
        self.projector: Projector | None = None
        self.trading_at: Millis | None = None
        """When all agents ran and a book was fit to be traded on: recovered."""
        self._parts: list[asyncio.Task[None]] = []

    async def main(self) -> None:
        seed, life = self.seed, self.life
        journal = SimJournal.open(seed.disk, life, seed.loop)
        memory = self._newest_memory(journal)
        was = restore(seed.terms, memory, journal, ())
        told, elapsed = seed.clock.now_ms, seed.clock.monotonic
        clock = SteadyClock(told, elapsed, monotonic=elapsed, not_before=was.now)
        venue = ExchangeClient(seed.exchange, seed.faults, life, seed.clock.true_ms)
        feed = SimFeed(seed.exchange, seed.faults, life, seed.clock.true_ms, clock.now_ms)
        house = self.house = House(seed.terms, was, venue, journal, clock, self._keep_checkpoint)
        house.room.fence = lambda: seed.may_trade
        house.dispatcher.follow(lambda facts: seed.compare_books(house, facts))
        AgentFaults(seed.faults, seed.clock.true_ms).plant(house.supervisor)
        chance = random.Random(life.number)
        feeder = Feeder(feed, house.dispatcher, clock, chance, watch=WATCH, pace=PACE, clock_notes=clock.take_notes)
        circuit = _circuit("database", DATABASE_CIRCUIT, clock)
        self.projector = Projector(journal, seed.database.door(life), clock, circuit, chance, idle_s=IDLE_S)
        self._journal = journal
        line, circuit = SimLine(seed.faults, seed.clock.true_ms, life), _circuit("redis", REDIS_CIRCUIT, clock)
        bus = Bus(line, clock, circuit, chance, flush_seconds=FLUSH_S)
        parts = [
            self._project(self.projector),
            bus.run(),
            self._show(bus, house),
            self._watch_journal(journal),
            self._watch_recovery(house),
        ]
        self._parts = [asyncio.create_task(part) for part in parts]
        try:
            await self._run(house, feeder)
        finally:
            for part in self._parts:
                part.cancel()
        await self.projector.drain(60.0)
        journal.close()

    async def _run(self, house: House, feeder: Feeder) -> None:
        async def play(_: Dispatcher, stop: asyncio.Event) -> bool:
            await feeder.run(stop)
            return False

        running = asyncio.create_task(house.run(play, self.stop))
        await asyncio.wait([running, *self._parts], return_when=asyncio.FIRST_COMPLETED)
        for task in (running, *self._parts):
            if task.done():
                task.result()
        if not running.done():
            running.cancel()
            raise Exited("a part of the process ended by itself")

    def _newest_memory(self, journal: SimJournal) -> FloorMemory:
        found = self.seed.checkpoints.newest(journal)
        if found is None:
            return new_memory(self.seed.terms.capital)
        try:
            return decode_memory(found)
        except BadInput:
            return new_memory(self.seed.terms.capital)

    async def _keep_checkpoint(self, seq: int, position: int, at: Millis, state: bytes) -> None:
        self.seed.state_bytes = len(state)
        self.seed.checkpoints.save(self._journal, seq, position, at, state)

    async def _project(self, projector: Projector) -> None:
        """The real floor goes on when the projector asks for a person; in a hunt nothing calls for one."""
        try:
            await projector.run()
        except PolybotError as error:
            self.seed.fail(Violated("store_equal", str(error)))

    async def _show(self, bus: Bus, house: House) -> None:
        while True:
            await asyncio.sleep(SHOW_S)
            for market in house.room.state.markets.values():
                bus.offer(f"market:{market.series}", market.id.encode())
                bus.offer(f"ticks:{market.series}", market.id.encode())

    async def _watch_journal(self, journal: SimJournal) -> None:
        """The watchdog's part that a virtual loop can have: a disk that never answers ends the process (D11)."""
        while True:
            await asyncio.sleep(WATCHDOG_S)
            waited = journal.oldest_pending_s(self.seed.clock.monotonic())
            if waited > STALL_EXIT_S:
                raise Exited(f"the journal has not answered for {waited:.0f} s")

    async def _watch_recovery(self, house: House) -> None:
        while not _trades(house):  # noqa: ASYNC110 - what it waits for has no event of its own
            await asyncio.sleep(0.05)
        self.trading_at = self.seed.clock.true_ms()
        await asyncio.Event().wait()


def _circuit(name: str, plan: CircuitPlan, clock: SteadyClock) -> Circuit:
    return Circuit(name, plan, random.Random(name), clock.now_ms())


def _trades(house: House) -> bool:
    """Whether it is back at work: every agent runs, and a book is fit to be traded on."""
    return all(keeper.state is AgentState.RUNNING for keeper in house.supervisor.keepers) and any(
        book.state is BookState.VERIFIED for state in house.room.markets.by_id.values() for book in state.books
    )
