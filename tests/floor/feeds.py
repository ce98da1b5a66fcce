"""A market data feed played by hand, a floor that keeps what it is told, and virtual time to play them in."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Set
from typing import Any

from polybot.chaos.clock import VirtualClock
from polybot.chaos.loop import VirtualLoop
from polybot.desk.room import TradingRoom
from polybot.domain.events import (
    BookReplaced,
    MarketEvent,
    MarketListed,
    MarketResolved,
    Severity,
)
from polybot.domain.ids import MarketId
from polybot.domain.market import Market, Outcome
from polybot.domain.units import Millis
from polybot.floor.feed_watch import WatchTerms
from polybot.floor.feeder import Feeder, FeedPace
from polybot.risk.limits import Limits
from polybot.venue.base import VenueUnavailable
from tests.builders import a_plan
from tests.facts import START, a_market, price, shares


class HandFeed:
    """A venue's socket: `say` puts an event on it, `gone` ends it; `answers` False freezes it though it looks open."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.listings: list[MarketListed | MarketResolved] = []
        self.connects = self.closed = 0
        self.asked: list[tuple[int, MarketId]] = []
        self.followed: list[list[MarketId]] = []
        self.followed_at: list[int] = []
        self.catalogs: list[tuple[int, Millis, Millis]] = []
        self.answers = self.accepts = True
        self.snapshot_at: Callable[[], int] = clock.now_ms
        self._queue: asyncio.Queue[MarketEvent | None] = asyncio.Queue()
        self._now: set[MarketId] = set()

    def say(self, event: MarketEvent) -> None:
        self._queue.put_nowait(event)

    def gone(self) -> None:
        self._queue.put_nowait(None)

    async def connect(self) -> None:
        self.connects += 1
        self._queue, self._now = asyncio.Queue(), set()
        if not self.accepts:
            raise VenueUnavailable("connection refused")

    async def catalog(self, since: Millis, until: Millis) -> list[MarketListed | MarketResolved]:
        self.catalogs.append((self.clock.now_ms(), since, until))
        if not self.accepts:
            raise VenueUnavailable("no answer")
        return list(self.listings)

    async def follow(self, markets: Set[MarketId]) -> None:
        self.followed.append(sorted(markets))
        self.followed_at.append(self.clock.now_ms())
        fresh, self._now = sorted(markets - self._now), set(markets)
        for market in fresh:
            self._snapshot(market)

    async def refresh(self, market: MarketId) -> None:
        self.asked.append((self.clock.now_ms(), market))
        self._snapshot(market)

    def _snapshot(self, market: MarketId) -> None:
        if self.answers:
            for outcome in Outcome:
                self.say(snapshot(market, self.clock.now_ms(), at=self.snapshot_at(), outcome=outcome))

    async def next(self) -> MarketEvent:
        event = await self._queue.get()
        if event is None:
            raise VenueUnavailable("the connection is gone")
        return event

    async def close(self) -> None:
        self.closed += 1


class NotingFloor:
    """A dispatcher that only lets the room look, and keeps what it was told."""

    def __init__(self) -> None:
        self.room = TradingRoom([a_plan()], Limits())
        self.room.state.began = START
        self.events: list[MarketEvent] = []
        self.ticks: list[Millis] = []
        self.notes: list[tuple[Severity, str]] = []

    async def publish(self, event: MarketEvent) -> None:
        await asyncio.sleep(0)
        self.room.observe(event)
        self.events.append(event)
        if isinstance(event, MarketListed):
            self.room.state.markets[event.market.id] = event.market

    async def tick(self, now: Millis) -> None:
        self.ticks.append(now)

    async def note(self, severity: Severity, component: str, text: str) -> None:
        self.notes.append((severity, text))

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class Stage:
    """Virtual time from a minute into the first window; `play` runs the feeder while a script acts."""

    def __init__(self, *, watch: WatchTerms | None = None, pace: FeedPace | None = None) -> None:
        self.loop = VirtualLoop()
        self.clock = VirtualClock(self.loop, Millis(START + 60_000))
        self.floor = NotingFloor()
        self.feed = HandFeed(self.clock)
        self.feed.listings = [listing(a_market(n)) for n in range(3)]
        self.watch, self.pace = watch, pace
        self.clock_notes: list[str] = []

    def play(self, script: Callable[["Stage"], Awaitable[None]]) -> None:
        async def everything() -> None:
            self.feeder = Feeder(
                self.feed, self.floor, self.clock, random.Random(7), watch=self.watch, pace=self.pace,
                clock_notes=self._take_notes,
            )  # fmt: skip
            self.stop = asyncio.Event()
            running = asyncio.create_task(self.feeder.run(self.stop))
            try:
                await script(self)
            finally:
                self.stop.set()
                await running

        with self.loop:
            self.loop.run_until_complete(everything())

    def _take_notes(self) -> list[str]:
        notes, self.clock_notes = self.clock_notes, []
        return notes

    @property
    def state(self) -> Any:
        return self.floor.room.markets.by_id[a_market().id]

    @property
    def books(self) -> Any:
        return self.state.books


def listing(market: Market, at: int = START) -> MarketListed:
    return MarketListed(Millis(at), Millis(at), market)


def snapshot(
    market: MarketId, received: int, *, at: int | None = None, outcome: Outcome = Outcome.UP, bid: str = "0.50"
) -> BookReplaced:
    return BookReplaced(
        Millis(received if at is None else at), Millis(received), market, outcome,
        [price(bid)], [shares("40")], [price("0.52")], [shares("30")],
    )  # fmt: skip
