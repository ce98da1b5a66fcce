"""Live market data as the floor's feeder wants it: a `MarketFeed` (venue/base.py) with everything in one stream.

In it come together one or two market sockets (each message once), the price sockets, and the doubts of the REST check.
A second market socket that ends or freezes is made anew beside the first; only when none is left is the connection
gone. Price sockets look after themselves: their loss is no outage of the market's data, only prices that grow old.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence, Set
from typing import Any

import msgspec
from loguru import logger

from polybot.circuit import growing_wait
from polybot.clock import Clock
from polybot.domain.events import (
    MarketEvent,
    MarketListed,
    MarketResolved,
    ReferencePriced,
    SnapshotRequested,
)
from polybot.domain.ids import MarketId
from polybot.domain.market import Market
from polybot.domain.units import Millis
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.book_check import BookCheck, CheckCounts
from polybot.venue.polymarket.merge import Merger
from polybot.venue.polymarket.prices import PriceHealth, PriceSocket
from polybot.venue.polymarket.stream import MarketStream

TROUBLE = (VenueUnavailable, VenueBusy)
READY_MAX = 5_000
"""Events not yet taken; beyond that the sockets are not read, and what comes then comes late, which the watch sees."""
PRICES_MAX = 1_000
"""Prices not yet taken; the oldest give way, since nobody takes any while there is no market data."""
KEPT_AFTER_MS = 3_600_000
ReadCatalog = Callable[[Millis, Millis], Awaitable[list[MarketListed | MarketResolved]]]


class LaneTerms(msgspec.Struct, frozen=True, kw_only=True):
    """Of two sockets: one that says nothing for `silence_s` while the other does is made anew. Seconds."""

    silence_s: float = 10.0
    look_s: float = 1.0
    retry_s_first: float = 0.5
    retry_s_max: float = 30.0


class LiveHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The feed at one moment; counts since the start. `merged`: repetitions of one socket by the other."""

    sockets: int
    sockets_up: int
    socket_reconnects: int
    unreadable: int
    merged: int
    early_results: int
    price_sockets: list[PriceHealth]
    check: CheckCounts | None


class _Lane:
    """One market socket and what is known of it."""

    def __init__(self, number: int, stream: MarketStream) -> None:
        self.number, self.stream = number, stream
        self.is_up = False
        self.heard_at = 0.0
        self.task: asyncio.Task[None] | None = None


class LiveFeed:
    """Make one per floor. What runs beside the market sockets begins with the first `connect` and ends with `close`."""

    def __init__(
        self,
        catalog: ReadCatalog,
        sockets: Sequence[MarketStream],
        clock: Clock,
        chance: random.Random,
        *,
        prices: Sequence[PriceSocket] = (),
        check: BookCheck | None = None,
        terms: LaneTerms | None = None,
        at_close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`at_close`: what else is closed with it, the catalogue's connections say."""
        self._catalog, self._clock, self._chance = catalog, clock, chance
        self._lanes = [_Lane(number, stream) for number, stream in enumerate(sockets)]
        self._price_sockets, self._check, self._terms = list(prices), check, terms or LaneTerms()
        self._at_close = at_close
        self._merger = Merger(len(self._lanes)) if len(self._lanes) > 1 else None
        self._markets: dict[MarketId, Market] = {}
        self._wanted: frozenset[MarketId] = frozenset()
        self._ready: deque[MarketEvent] = deque()
        self._prices: deque[ReferencePriced] = deque(maxlen=PRICES_MAX)
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._bug: BaseException | None = None
        """Of what runs beside us, and so ours."""
        self._gone = "it was never connected"
        self._beside: list[asyncio.Task[None]] = []
        self._reconnects = self._early_results = 0

    def health(self) -> LiveHealth:
        return LiveHealth(
            sockets=len(self._lanes),
            sockets_up=sum(lane.is_up for lane in self._lanes),
            socket_reconnects=self._reconnects,
            unreadable=sum(lane.stream.unreadable for lane in self._lanes),
            merged=self._merger.dropped if self._merger is not None else 0,
            early_results=self._early_results,
            price_sockets=[socket.health() for socket in self._price_sockets],
            check=self._check.counts if self._check is not None else None,
        )

    # -- the protocol -------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        await self._hang_up()
        self._start_beside()
        errors = [error for error in await asyncio.gather(*map(self._connect_lane, self._lanes)) if error is not None]
        if not any(lane.is_up for lane in self._lanes):
            self._gone = str(errors[0])
            raise errors[0]
        self._gone = ""
        for lane in self._lanes:
            lane.task = self._start(self._attend(lane), f"market-socket-{lane.number}")

    async def catalog(self, since: Millis, until: Millis) -> list[MarketListed | MarketResolved]:
        entries = await self._catalog(since, until)
        kept = self._clock.now_ms() - KEPT_AFTER_MS
        self._markets = {name: market for name, market in self._markets.items() if market.window_end > kept}
        self._markets |= {entry.market.id: entry.market for entry in entries if isinstance(entry, MarketListed)}
        await self._on_lanes(lambda stream: stream.learn(self._markets.values()))
        return entries

    async def follow(self, markets: Set[MarketId]) -> None:
        self._wanted = frozenset(markets)
        if self._merger is not None:
            self._merger.keep_only(markets)
        self._require_lane()
        await self._on_lanes(lambda stream: stream.follow(self._wanted))
        self._require_lane()

    async def refresh(self, market: MarketId) -> None:
        self._require_lane()
        await self._on_lanes(lambda stream: stream.refresh(market))
        self._require_lane()

    async def next(self) -> MarketEvent:
        while True:
            event = self._pop()
            if event is not None:
                if self._check is not None:
                    self._check.note(event)
                return event
            if self._bug is not None:
                raise self._bug
            if self._gone:
                raise VenueUnavailable(self._gone)
            self._news.clear()
            await self._news.wait()

    async def close(self) -> None:
        await self._hang_up()
        beside, self._beside = self._beside, []
        await _end(beside)
        for lane in self._lanes:
            await lane.stream.close()
        if self._check is not None:
            await self._check.close()
        if self._at_close is not None:
            await self._at_close()

    # -- what comes ---------------------------------------------------------------------------------------------------

    def _pop(self) -> MarketEvent | None:
        """In order of receipt, whichever socket it came by."""
        ready, prices = self._ready, self._prices
        if prices and (not ready or prices[0].received <= ready[0].received):
            return prices.popleft()
        if not ready:
            return None
        event = ready.popleft()
        if len(ready) == READY_MAX // 2:
            self._room.set()
        return event

    def _take(self, lane: _Lane, events: Sequence[MarketEvent]) -> None:
        lane.heard_at = self._clock.monotonic()
        for event in events:
            if self._merger is not None and not self._merger.admit(lane.number, event):
                continue
            if type(event) is MarketResolved and self._is_early(event):
                continue
            self._ready.append(event)
        self._news.set()

    def _is_early(self, event: MarketResolved) -> bool:
        """No window has a result before its end; what says so is believed when the catalogue says it too."""
        market = self._markets.get(event.market)
        if market is None or event.received >= market.window_end:
            return False
        self._early_results += 1
        logger.bind(action="early_result").error("{} is said to be resolved before its end: ignored", event.market)
        return True

    def _take_price(self, price: ReferencePriced) -> None:
        self._prices.append(price)
        self._news.set()

    def _doubt(self, market: MarketId) -> None:
        now = self._clock.now_ms()
        self._ready.append(SnapshotRequested(now, now, [market]))
        self._news.set()

    # -- the market sockets -------------------------------------------------------------------------------------------

    async def _connect_lane(self, lane: _Lane) -> VenueUnavailable | VenueBusy | None:
        followed: frozenset[MarketId] | None = None
        try:
            await lane.stream.connect()
            while followed is not self._wanted:  # which may change while we subscribe
                followed = self._wanted
                await lane.stream.learn(self._markets.values())
                await lane.stream.follow(followed)
        except TROUBLE as error:
            return error
        lane.is_up, lane.heard_at = True, self._clock.monotonic()
        return None

    async def _attend(self, lane: _Lane) -> None:
        """Read one socket, and make it anew while another stands. Returns when none does."""
        failures = 0
        while True:
            if lane.is_up:
                reason = await self._read(lane)
                lane.is_up, failures = False, 0
                if not any(other.is_up for other in self._lanes):
                    self._gone = reason
                    self._news.set()
                    return
                logger.bind(action="hang_up").warning("market socket {} is made anew: {}", lane.number, reason)
            failures += 1
            terms = self._terms
            wait_s = growing_wait(failures, self._chance, first=terms.retry_s_first, most=terms.retry_s_max)
            await asyncio.sleep(wait_s)
            self._reconnects += 1
            await self._connect_lane(lane)

    async def _read(self, lane: _Lane) -> str:
        """Until it is gone; why it went."""
        try:
            while True:
                self._take(lane, await lane.stream.read())
                while len(self._ready) >= READY_MAX:
                    self._room.clear()
                    await self._room.wait()
        except VenueUnavailable as error:
            return str(error)

    async def _compare_lanes(self) -> None:
        """A socket that looks open and says nothing, while its sibling does, is hung up: `_attend` makes it anew."""
        while True:
            await asyncio.sleep(self._terms.look_s)
            up = [lane for lane in self._lanes if lane.is_up]
            newest = max((lane.heard_at for lane in up), default=0.0)
            for lane in up:
                if newest - lane.heard_at >= self._terms.silence_s:
                    await lane.stream.hang_up()

    async def _on_lanes(self, do: Callable[[MarketStream], Coroutine[Any, Any, None]]) -> None:
        """On every socket that stands. One that is gone is found so by its reader too."""
        for lane in self._lanes:
            if lane.is_up:
                try:
                    await do(lane.stream)
                except VenueUnavailable as error:
                    logger.bind(action="hang_up").debug("market socket {}: {}", lane.number, error)
                    await lane.stream.hang_up()

    def _require_lane(self) -> None:
        if self._gone or not any(lane.is_up and lane.stream.is_open for lane in self._lanes):
            raise VenueUnavailable(self._gone or "the market socket is not connected")

    async def _hang_up(self) -> None:
        tasks = [lane.task for lane in self._lanes if lane.task is not None]
        for lane in self._lanes:
            lane.task, lane.is_up = None, False
        await _end(tasks)
        self._wanted = frozenset()
        self._ready.clear()
        self._room.set()
        self._gone = "it was hung up"

    # -- beside -------------------------------------------------------------------------------------------------------

    def _start_beside(self) -> None:
        if self._beside:
            return
        self._beside = [self._start(socket.run(self._take_price), "prices") for socket in self._price_sockets]
        if self._check is not None:
            watched = self._check.run(self._followed, lambda: bool(self._ready), self._doubt)
            self._beside.append(self._start(watched, "book-check"))
        if len(self._lanes) > 1:
            self._beside.append(self._start(self._compare_lanes(), "compare-sockets"))

    def _followed(self) -> list[Market]:
        return [self._markets[name] for name in self._wanted if name in self._markets]

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._note_end)
        return task

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._bug = error
        self._news.set()


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
