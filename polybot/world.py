"""Where a floor's market data, time and venue come from: a tape here, the live venue in live.py. Part of app.py.

The two differ in what is asked of a `World`, and in nothing else of the floor (design.md D1).
"""

from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from typing import Protocol

from polybot.circuit import CircuitSnapshot
from polybot.clock import Clock, ReplayClock
from polybot.domain.events import MarketEvent
from polybot.domain.units import Millis
from polybot.floor.player import play
from polybot.floor.status import AccountStatus, FeedHealth
from polybot.house import House, Play
from polybot.recovery import Recovered
from polybot.settings import Settings
from polybot.storage.tape import TapeReader
from polybot.venue.base import Venue
from polybot.venue.paper import PaperVenue


class World(Protocol):
    """One per run. Asked in this order: `market_events`, `open`, `wire`, `play`."""

    name: str
    """For the record: a data folder holds runs on one world alone."""
    lockstep: bool
    """After each market event wait for the traders it woke: a tape must not be too fast for them."""
    events_total: int | None
    windows_total: int | None

    def market_events(self) -> Iterable[MarketEvent]:
        """From the first on, where they can be had again; a restart brings the markets back with them."""
        ...

    async def open(self, was: Recovered, stack: AsyncExitStack) -> tuple[Clock, Venue]:
        """The floor's time, and where its orders go; `stack` closes what was opened."""
        ...

    def wire(self, house: House) -> None:
        """What the world needs done beside the floor (House.beside)."""
        ...

    def play(self, house: House) -> Play:
        """Brings market events onto the floor until stopped (False) or until there are no more (True)."""
        ...

    def circuit_looks(self) -> list[Callable[[], CircuitSnapshot]]:
        """The breakers on what this world depends on."""
        ...

    def feed(self) -> FeedHealth | None:
        """How the market data's connection is; None where there is none."""
        ...

    def account(self) -> AccountStatus | None:
        """How the account at the venue is; None with paper money."""
        ...


class TapeWorld:
    """A recorded market: its time is the floor's, the venue is paper."""

    lockstep = True

    def __init__(self, settings: Settings) -> None:
        """Raises TapeError for a tape that cannot be read."""
        self._settings, self._tape = settings, TapeReader(settings.tape)
        totals = self._tape.totals
        self.name = f"tape {self._tape.header.name}"
        self.events_total = totals.events if totals else None
        self.windows_total = len(totals.markets) if totals else None
        self._clock = ReplayClock()

    def market_events(self) -> Iterable[MarketEvent]:
        return self._tape.events()

    async def open(self, was: Recovered, stack: AsyncExitStack) -> tuple[Clock, Venue]:
        totals = self._tape.totals
        self._clock = ReplayClock(was.now or Millis(totals.first_ms if totals else 0))
        return self._clock, PaperVenue(was.paper_venue(self._settings.venue.model(self._settings.seed)))

    def wire(self, house: House) -> None:
        """Nothing goes on beside a tape."""

    def play(self, house: House) -> Play:
        events = self._tape.events(start=house.room.state.position)
        return lambda dispatcher, stop: play(events, dispatcher, self._clock, self._settings.speed, stop)

    def circuit_looks(self) -> list[Callable[[], CircuitSnapshot]]:
        return []

    def feed(self) -> FeedHealth | None:
        return None

    def account(self) -> AccountStatus | None:
        return None
