"""A floor of the shipped agents on the first windows of the shipped tape, as a tape run and as a live one."""

import asyncio
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from polybot.backtest.rerun import Comparison, Rerun, listing_of, lockstep_looks
from polybot.clock import ReplayClock
from polybot.desk.desk import AgentPlan
from polybot.domain.events import AnyFact, Journaled, MarketEvent, MarketListed
from polybot.domain.ids import MarketId
from polybot.domain.snapshot import market_events
from polybot.domain.units import Millis
from polybot.floor.dispatch import Dispatcher
from polybot.floor.player import play
from polybot.house import House, HouseTerms, restore
from polybot.paths import tapes_dir
from polybot.recovery import new_memory
from polybot.settings import load_plans, load_settings, public_settings
from polybot.storage.recorder import Recorder, RecorderTerms
from polybot.storage.tape import TapeReader, read_tape
from polybot.storage.tape_recording import Segment, segments, sessions_of
from polybot.venue.paper import PaperVenue
from tests.builders import CAPITAL, first_windows, market_of, shipped_tape
from tests.test_house import KeptJournal

TAPE = tapes_dir() / "btc15m_l2.tape"
BURST = 4
WINDOWS = 2
LAST = 1 + shipped_tape().index(first_windows(WINDOWS)[-1])
"""So many events, those of the windows after them among them."""


class SlowJournal(KeptJournal):
    """A disk that takes several turns of the loop, in which the market goes on."""

    async def append(self, facts: Sequence[AnyFact], position: int) -> list[Journaled]:
        rows = await super().append(facts, position)
        for _ in range(3):
            await asyncio.sleep(0)
        return rows


class PastRun:
    """What a floor left behind: its journal, and of a live one its recording. `lives`: where each one ends."""

    def __init__(
        self,
        folder: Path,
        *,
        lockstep: bool,
        lives: Sequence[int] = (),
        plans: list[AgentPlan] | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """`chance`, where given, says how many turns the agents get after an event; else some after each BURST."""
        settings = load_settings()
        self.plans, self._chance = plans or load_plans(settings), chance
        self.limits = settings.limits.limits()
        self.terms = HouseTerms(
            plans=self.plans,
            limits=self.limits,
            capital=CAPITAL,
            seed=1,
            mode="paper",
            source=f"tape {TapeReader(TAPE).header.name}" if lockstep else "here",
            settings=public_settings(settings),
            lockstep=lockstep,
        )
        self.folder, self.journal = folder, SlowJournal()
        for first, end in zip((0, *lives), (*lives, LAST), strict=True):
            asyncio.run(self._live(first, end))

    async def _live(self, first: int, end: int) -> None:
        """One life of the process, from the journal alone."""
        was = restore(self.terms, new_memory(CAPITAL), self.journal, ())
        clock = ReplayClock(was.now or first_windows(1)[0].received)
        settings = load_settings()
        venue = PaperVenue(was.paper_venue(settings.venue.model(settings.seed)))
        house = House(self.terms, was, venue, self.journal, clock, self._keep)
        events = [event for number, event in enumerate(some_windows()) if first <= number < end]
        if self.terms.lockstep:
            await house.run(lambda floor, stop: play(events, floor, clock, 0, stop), asyncio.Event())
            return
        recorder = Recorder(
            self.folder,
            clock,
            lambda at: market_events(house.room.markets, at),
            source="here",
            run=self.journal.genesis.hex()[:12],
            position=house.room.state.position,
            facts=was.memory.seq,
            terms=RecorderTerms(free_bytes_min=1, segment_s_max=240.0),
        )
        house.dispatcher.record(recorder)
        known = [MarketListed(was.now, was.now, market) for market in house.room.state.markets.values()]
        await house.run(lambda floor, stop: self._in_bursts([*known, *events], floor, clock), asyncio.Event())
        recorder.close()

    async def _in_bursts(self, events: Iterable[MarketEvent], dispatcher: Dispatcher, clock: ReplayClock) -> bool:
        """As a live feed does: the traders get their turn now and then, and see only the newest."""
        for number, event in enumerate(events):
            clock.move_to(event.received)
            await dispatcher.publish(event)
            turns = number % BURST == 0 if self._chance is None else self._chance.choice((0, 0, 0, 1, 1, 2, 5))
            for _ in range(turns):
                await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        return True

    async def _keep(self, seq: int, position: int, at: Millis, state: bytes) -> None: ...

    @property
    def facts(self) -> list[Journaled]:
        return self.journal.kept

    @property
    def markets(self) -> list[MarketId]:
        return list(dict.fromkeys(market for event in first_windows(WINDOWS) if (market := market_of(event))))

    def on_tape(self, market: MarketId, facts: list[Journaled] | None = None) -> Comparison:
        facts = facts or self.facts
        rerun = Rerun(market, self.plans, self.limits, facts, since=1)
        looks = lockstep_looks(enumerate(some_windows(), 1), self.plans, self.limits, facts)
        difference = rerun.run(listing_of(market, enumerate(some_windows(), 1)), looks)
        return compared(rerun, difference)

    def recorded(self, market: MarketId, facts: list[Journaled] | None = None) -> Comparison:
        (life,) = sessions_of(market, self.journal.genesis.hex()[:12], segments(self.folder))
        rerun = Rerun(market, self.plans, self.limits, facts or self.facts, since=1)
        looks = [look for segment in life for look in segment.looks()]
        difference = rerun.run(listing_of(market, numbered(life)), looks)
        return compared(rerun, difference)


def compared(rerun: Rerun, difference: Any) -> Comparison:
    rows = list(rerun.rows.values())
    return Comparison(market=rerun.market, events=rerun.events, rows=rows, difference=difference, notes=rerun.notes)


def some_windows() -> Iterator[MarketEvent]:
    """Read anew each time: a book takes the lists of its snapshot over."""
    return (event for _, event in zip(range(LAST), read_tape(TAPE), strict=False))


def numbered(life: list[Segment]) -> Iterator[tuple[int, MarketEvent]]:
    return (pair for segment in life for pair in segment.events())
