"""Brings a live venue's market data onto the floor, whatever the connection does; the live counterpart of player.py.

Four loops, each of which may fail without the others: one connects and publishes what comes, in order of receipt; one
lets time pass on the floor; one carries out what the watch asks for (feed_watch.py); one keeps the catalogue of windows
up to date. Through an outage the floor goes on: its books grow stale, the gate refuses, windows end and are recorded.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec
from loguru import logger

from polybot.circuit import Circuit, CircuitPlan, Ticket, growing_wait
from polybot.clock import Clock
from polybot.desk.room import TradingRoom
from polybot.domain.events import (
    MarketEvent,
    MarketListed,
    MarketResolved,
    ReferencePriced,
    Severity,
    SnapshotRequested,
)
from polybot.domain.ids import MarketId
from polybot.domain.market import Market
from polybot.domain.markets import MarketState
from polybot.domain.units import Millis
from polybot.floor.feed_watch import FeedWatch, Reconnect, Refresh, WatchTerms
from polybot.floor.status import FeedHealth
from polybot.floor.together import until_one_ends
from polybot.floor.windows import followed_markets, known_since
from polybot.risk.known_terms import changed_terms, unknown_terms
from polybot.venue.base import MarketFeed, VenueBusy, VenueUnavailable

COMPONENT = "feed"
TROUBLE = (VenueUnavailable, VenueBusy, TimeoutError)
FEED_CIRCUIT = CircuitPlan(failures_max=3, open_ms_first=1_000, open_ms_max=10_000)
EVENTS_PER_YIELD = 10
"""A burst is read without waiting; so many events at most go by before anything else gets its turn."""
CATALOG_AHEAD_MS = 1_800_000
RESOLUTION_S = 5.0
"""How often the catalogue is asked while a window that is over has no result: they come 20 to 90 s after the end."""


class FloorEntrance(Protocol):
    """Of the dispatcher, what a feeder needs."""

    room: TradingRoom

    async def publish(self, event: MarketEvent) -> None: ...

    async def tick(self, now: Millis) -> None: ...

    async def note(self, severity: Severity, component: str, text: str) -> None: ...


class FeedPace(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds between ticks, looks at the books and reads of the catalogue; how long one call to the venue may take."""

    tick_s: float = 0.25
    look_s: float = 0.5
    catalog_s: float = 20.0
    call_s: float = 10.0
    retry_s_first: float = 0.2
    retry_s_max: float = 10.0


class Feeder:
    """Owner of the connection. `clock_notes` tells what the clock has noticed since it was last asked (clock.py)."""

    def __init__(
        self,
        feed: MarketFeed,
        floor: FloorEntrance,
        clock: Clock,
        chance: random.Random,
        *,
        watch: WatchTerms | None = None,
        pace: FeedPace | None = None,
        clock_notes: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._feed, self._floor, self._clock, self._chance = feed, floor, clock, chance
        self.watch = FeedWatch(watch or WatchTerms())
        self._pace, self._clock_notes = pace or FeedPace(), clock_notes
        self._session: asyncio.Task[None] | None = None
        self._is_idle = True
        self._followed: tuple[MarketId, ...] = ()
        self._commanding = asyncio.Lock()
        self._now = Millis(0)
        self._heard = 0
        self.circuit = Circuit("feed", FEED_CIRCUIT, chance, clock.now_ms())
        self._unheard: Ticket | None = None
        """The present connection's, until something is heard on it: an open socket alone proves nothing."""
        self._hung_up_for = ""
        self._served: dict[MarketId, Market] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Feed the floor until `stop`. Raises what publishing raises: then the floor must end."""
        await self._list_what_the_room_knows()
        tasks = [
            asyncio.create_task(self._keep_connected(), name="feed-connection"),
            asyncio.create_task(self._keep_time(), name="feed-time"),
            asyncio.create_task(self._keep_watch(), name="feed-watch"),
            asyncio.create_task(self._keep_catalog(), name="feed-catalogue"),
            asyncio.create_task(_wait(stop), name="feed-stop"),
        ]
        try:
            await until_one_ends(tasks)
        finally:
            await self._feed.close()

    async def ask_anew(self, market: MarketId) -> None:
        """Another floor, fed by this one, doubts a book (feed_out.py)."""
        if self.watch.connected and market in self._followed:
            try:
                await self._carry_out(Refresh(market))
            except TROUBLE as error:
                self._hang_up(str(error) or type(error).__name__)

    def health(self) -> FeedHealth:
        room = self._floor.room
        return self.watch.health(self._clock.now_ms(), room.markets.oddities, len(self._followed))

    # -- the connection -----------------------------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        pace, circuit = self._pace, self.circuit
        while True:
            now = self._clock.now_ms()
            ticket = circuit.admit(now)
            if ticket is None:
                await asyncio.sleep(max(circuit.wait_ms(now), 1) / 1000)
                continue
            self._unheard = ticket
            try:
                reason = await self._hold_session()
            except asyncio.CancelledError:
                circuit.abandoned(ticket, self._clock.now_ms())
                raise
            if self._unheard is not None:
                circuit.failed(ticket, self._clock.now_ms())
            await self._lost(reason)
            failures = max(1, circuit.failures)
            await asyncio.sleep(growing_wait(failures, self._chance, first=pace.retry_s_first, most=pace.retry_s_max))

    async def _hold_session(self) -> str:
        """One connection from beginning to end; why it ended. A task of its own, so that it can be hung up."""
        self._session = session = asyncio.create_task(self._attend(), name="feed-session")
        try:
            await asyncio.wait([session])
        except asyncio.CancelledError:
            session.cancel()
            await asyncio.wait([session])
            raise
        finally:
            self._session = None
        if session.cancelled():
            return self._hung_up_for
        error = session.exception()
        if isinstance(error, TROUBLE):
            return str(error) or type(error).__name__
        assert error is not None  # it reads for ever
        raise error

    async def _attend(self) -> None:
        async with asyncio.timeout(self._pace.call_s):
            await self._feed.connect()
        self._followed = ()
        self.watch.opened(self._clock.now_ms())
        await self._follow()
        while True:
            self._is_idle = True
            event = await self._feed.next()
            self._is_idle = False
            await self._take(event)
            if self._heard % EVENTS_PER_YIELD == 0:
                await asyncio.sleep(0)  # a burst that is read without waiting must not hold up the floor

    async def _take(self, event: MarketEvent) -> None:
        if isinstance(event, ReferencePriced):  # comes by a socket of its own: it says nothing of the market's
            await self._publish(event)
        elif self.watch.admit(event):
            self._heard += 1
            if self._unheard is not None:
                self.circuit.succeeded(self._unheard, self._clock.now_ms())
                self._unheard = None
            if self.watch.outage_since is not None:
                await self._resumed()
            await (self._list(event) if isinstance(event, MarketListed) else self._publish(event))

    async def _publish(self, event: MarketEvent) -> None:
        """The floor's time never goes back: what was received while something else was published counts from then."""
        if event.received < self._now:
            event = msgspec.structs.replace(event, received=self._now)
        self._now = event.received
        await self._floor.publish(event)

    def _hang_up(self, reason: str) -> None:
        """End the session at a point where it only waits; while it publishes, the connection is not silent."""
        if self._session is not None and self._is_idle:
            self._hung_up_for = reason
            self._session.cancel()

    async def _lost(self, reason: str) -> None:
        """Of a book that nobody keeps any more nothing counts, however young it is."""
        self._is_idle = True
        if self._followed:
            await self._request(list(self._followed))
            self._followed = ()
        if self.watch.closed(self._clock.now_ms()):
            await self._note(Severity.WARNING, f"market data stopped: {reason}")

    async def _resumed(self) -> None:
        outage_ms = self.watch.resumed(self._clock.now_ms())
        if outage_ms is not None:
            await self._note(Severity.INFO, f"market data is back after {outage_ms / 1000:.1f} s")

    # -- time ---------------------------------------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        """Where events flow they carry the time; where none come, windows end and orders are answered all the same."""
        while True:
            await asyncio.sleep(self._pace.tick_s)
            for text in self._clock_notes():
                await self._note(Severity.ERROR, text)
            now = self._clock.now_ms()
            if self._is_idle and now - self._now >= self._pace.tick_s * 1000 / 2:
                self._now = now
                await self._floor.tick(now)

    # -- what the watch asks for --------------------------------------------------------------------------------------

    async def _keep_watch(self) -> None:
        while True:
            await asyncio.sleep(self._pace.look_s)
            if not self.watch.connected:
                continue
            try:
                await self._follow()
                for command in self.watch.look(self._clock.now_ms(), self._states()):
                    await self._carry_out(command)
            except TROUBLE as error:
                self._hang_up(str(error) or type(error).__name__)

    async def _carry_out(self, command: Reconnect | Refresh) -> None:
        if isinstance(command, Reconnect):
            self._hang_up(command.reason)
            return
        await self._request([command.market])
        async with self._commanding:
            await self._bounded(self._feed.refresh(command.market))

    async def _follow(self) -> None:
        """Subscribe to the windows of now and next; of a new subscription nothing counts before its snapshot."""
        if not self._commanding.locked() and followed_markets(self._floor.room, self._clock.now_ms()) == self._followed:
            return
        async with self._commanding:
            wanted = followed_markets(self._floor.room, self._clock.now_ms())
            if wanted == self._followed:
                return
            fresh = [market for market in wanted if market not in self._followed]
            self.watch.keep_only(wanted)
            if fresh:
                self.watch.subscribed(fresh, self._clock.now_ms())
                await self._request(fresh)
            await self._bounded(self._feed.follow(frozenset(wanted)))
            self._followed = wanted

    async def _request(self, markets: list[MarketId]) -> None:
        now = max(self._now, self._clock.now_ms())
        self.watch.asked(markets)
        await self._publish(SnapshotRequested(now, now, markets))

    async def _bounded(self, call: Awaitable[None]) -> None:
        async with asyncio.timeout(self._pace.call_s):
            await call

    def _states(self) -> list[MarketState]:
        by_id = self._floor.room.markets.by_id
        return [by_id[market] for market in self._followed if market in by_id]

    # -- the catalogue ------------------------------------------------------------------------------------------------

    async def _keep_catalog(self) -> None:
        failures = 0
        while True:
            try:
                await self._read_catalog()
                failures = 0
            except TROUBLE as error:
                failures += 1
                logger.bind(action="catalog").warning(
                    "the catalogue cannot be read: {}", str(error) or "no answer in time"
                )
            await asyncio.sleep(self._catalog_wait_s(failures))

    async def _read_catalog(self) -> None:
        now = self._clock.now_ms()
        since = known_since(self._floor.room, now)
        async with asyncio.timeout(self._pace.call_s):
            entries = await self._feed.catalog(since, Millis(now + CATALOG_AHEAD_MS))
        for entry in entries:
            if isinstance(entry, MarketListed):
                await self._list(entry)
            else:
                await self._resolve(entry)

    def _catalog_wait_s(self, failures: int) -> float:
        pace, now = self._pace, self._clock.now_ms()
        if failures:
            return growing_wait(failures, self._chance, first=pace.retry_s_first, most=pace.retry_s_max)
        room = self._floor.room
        ends = [m.window_end for m in room.state.markets.values() if m.id not in room.state.payouts]
        if any(end <= now for end in ends):
            return min(RESOLUTION_S, pace.catalog_s)
        return min([pace.catalog_s, *((end - now) / 1000 + RESOLUTION_S for end in ends)])

    async def _list(self, listed: MarketListed) -> None:
        """Publish a market that is new, or whose terms are served otherwise than last time."""
        market, known = listed.market, self._floor.room.markets.by_id
        if self._floor.room.is_told(market) or (market.id in known and self._served.get(market.id) == market):
            return
        self._served = {name: terms for name, terms in self._served.items() if name in known} | {market.id: market}
        was = known[market.id].market if market.id in known else None
        await self._publish(msgspec.structs.replace(listed, received=max(self._now, self._clock.now_ms())))
        if market.id in known and known[market.id].market != was:
            await self._tell_terms(was, known[market.id].market)

    async def _tell_terms(self, was: Market | None, market: Market) -> None:
        """Loudly: terms that change under way, and those that nobody here knows."""
        if was is not None:
            changes = "; ".join(changed_terms(was, market))
            await self._note(Severity.WARNING, f"{market.id}: terms changed: {changes}")
        unknown = unknown_terms(market)
        if unknown:
            await self._note(Severity.ERROR, f"{market.id} is not traded: unknown {', '.join(unknown)}")

    async def _resolve(self, resolved: MarketResolved) -> None:
        state = self._floor.room.markets.by_id.get(resolved.market)
        if state is None:
            return
        if state.payout_up is None:
            await self._publish(msgspec.structs.replace(resolved, received=max(self._now, self._clock.now_ms())))
        elif state.payout_up != resolved.payout_up:
            logger.bind(action="resolved_twice").error("{} is resolved anew, and differently: ignored", resolved.market)

    async def _list_what_the_room_knows(self) -> None:
        """Markets with a story under way, on the terms the journal has, so that a change of them while we were away
        is seen as one."""
        room, now = self._floor.room, self._clock.now_ms()
        for market in sorted(room.state.markets.values(), key=lambda m: (m.window_start, m.id)):
            if market.id not in room.markets.by_id:
                await self._publish(MarketListed(now, now, market))

    async def _note(self, severity: Severity, text: str) -> None:
        await self._floor.note(severity, COMPONENT, text)


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()
