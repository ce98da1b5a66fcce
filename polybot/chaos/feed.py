"""One process's market data connection to the simulated venue, and all the ways in which it fails or lies.

Frames travel a fixed time and come in order, as on one socket; a fault may hold, drop, repeat or bend them. Nothing is
polled: `next` sleeps until the next frame is due.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Set

import msgspec

from polybot.chaos.exchange import SimExchange
from polybot.chaos.faults import MINUTE, Episode, Faults
from polybot.chaos.life import Life
from polybot.chaos.market import copy_of
from polybot.chaos.window import Window, market_terms
from polybot.domain.events import (
    BookReplaced,
    LevelChange,
    LevelsChanged,
    MarketEvent,
    MarketListed,
    MarketResolved,
    ReferencePriced,
    SnapshotRequested,
)
from polybot.domain.ids import MarketId
from polybot.domain.market import Outcome
from polybot.domain.units import UNIT, Millis, Price
from polybot.venue.base import VenueBusy, VenueUnavailable

FRAME_MS = 30
"""How long a frame travels."""
HTTP_MS = 120
TIMEOUT_MS = 5_000
DELAY_MS = 6_000
OVERTAKEN_MS = 5_000
DOUBLED_MS = 500
FREEZES_AGAIN = 0.3
"""The share of new connections that are as dead as the frozen one before."""
NEVER = 2**62


class SimFeed:
    """A `MarketFeed` for one process life. `now` is the world's true time, `clock` what the process believes."""

    def __init__(
        self,
        exchange: SimExchange,
        faults: Faults,
        life: Life,
        now: Callable[[], Millis],
        clock: Callable[[], Millis] | None = None,
    ) -> None:
        self._exchange, self._world, self._faults, self._life = exchange, exchange.world, faults, life
        self._now, self._clock = now, clock or now
        self._connected = False
        self._connection = 0
        self._connected_at = 0
        self._closes_at = NEVER
        self._followed: frozenset[MarketId] = frozenset()
        self._coming: list[tuple[int, int, MarketEvent]] = []
        self._ready: deque[MarketEvent] = deque()
        self._number = 0
        self._last_due = 0
        self._in_force: frozenset[str] = frozenset()
        self._in_force_until = 0
        self._noted: set[tuple[str, int, int]] = set()
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        life.at_end(self._hang_up)

    # -- the protocol -------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Hang up and connect anew. Raises VenueUnavailable, VenueBusy."""
        self._life.require_alive()
        self._hang_up()
        await asyncio.sleep(3 * FRAME_MS / 1_000)
        now = self._now()
        if self._faults.strikes("feed_refused", now, now):
            if self._faults.draw("refused busy", now) < 0.5:
                raise VenueBusy("429 Too Many Requests")
            raise VenueUnavailable("connection refused")
        self._exchange.advance(now)  # what was before is not told
        self._connection += 1
        self._connected, self._connected_at = True, now
        closings = (episode.start_ms for episode in self._faults.of("feed_close"))
        self._closes_at = next((at for at in closings if at > now), NEVER)
        self._exchange.on_event = self._hear

    async def catalog(self, since: Millis, until: Millis) -> list[MarketListed | MarketResolved]:
        """The listing as the venue's page has it. Raises VenueUnavailable, VenueBusy."""
        self._life.require_alive()
        asked = self._now()
        await asyncio.sleep(HTTP_MS / 1_000)
        if self._faults.strikes("feed_catalog_down", asked, asked):
            if self._faults.draw("catalog busy", asked) < 0.5:
                raise VenueBusy("429 Too Many Requests")
            await asyncio.sleep((TIMEOUT_MS - HTTP_MS) / 1_000)
            raise VenueUnavailable(f"no answer within {TIMEOUT_MS} ms")
        now = self._now()
        self._exchange.advance(now)
        as_of, stale = now, self._faults.episode("feed_catalog_stale", now)
        if stale is not None:
            as_of = stale.start_ms
            self._faults.note("feed_catalog_stale", str(now))
        found: list[MarketListed | MarketResolved] = []
        for window in self._world.listed(since, until):
            if not self._is_missing(window, now):
                found += self._listing(window, as_of)
        return found

    async def follow(self, markets: Set[MarketId]) -> None:
        """Subscribe to exactly these; snapshots of the new ones are sent. Raises VenueUnavailable."""
        self._require_connection()
        fresh = sorted(markets - self._followed)
        self._followed = frozenset(markets)
        for market in fresh:
            self._send_snapshots(market)

    async def refresh(self, market: MarketId) -> None:
        """Have the snapshots sent again. Raises VenueUnavailable."""
        self._require_connection()
        if market in self._followed:
            self._send_snapshots(market)

    async def next(self) -> MarketEvent:
        """The next event, however long it takes. Raises VenueUnavailable when the connection is gone."""
        self._life.require_alive()
        if not self._ready:
            self._collect(self._now())
        while not self._ready:
            if not self._connected:
                raise VenueUnavailable("the market socket is closed")
            await self._something()
        return self._ready.popleft()

    async def close(self) -> None:
        self._hang_up()

    # -- the connection -----------------------------------------------------------------------------------------------

    def _require_connection(self) -> None:
        self._life.require_alive()
        self._collect(self._now())
        if not self._connected:
            raise VenueUnavailable("the market socket is closed")

    def _hang_up(self) -> None:
        if self._connected and self._exchange.on_event == self._hear:
            self._exchange.on_event = None
        self._connected = False
        self._followed = frozenset()
        self._coming.clear()
        self._ready.clear()
        self._last_due = 0
        self._wake()

    def _collect(self, now: Millis) -> None:
        """Let the world come up to now, and take in what has arrived."""
        if self._connected and self._closes_at <= now:
            self._faults.note("feed_close", str(self._closes_at))
            self._hang_up()
        self._exchange.advance(now)
        coming, ready = self._coming, self._ready
        if coming and coming[0][0] <= now:
            received = self._clock()
            while coming and coming[0][0] <= now:
                ready.append(_stamped(heapq.heappop(coming)[2], received))

    async def _something(self) -> None:
        """Until a frame is there, or something else is asked of this connection."""
        self._waiter = asyncio.get_running_loop().create_future()
        self._arm(self._now())
        try:
            await self._waiter
        finally:
            self._waiter = None
            if self._timer is not None:
                self._timer.cancel()

    def _arm(self, now: Millis) -> None:
        """Be called when the next frame can be there; the task that waits sleeps through those that are none of its."""
        due = min(self._world.next_at + FRAME_MS, self._closes_at)
        if self._coming and self._coming[0][0] < due:
            due = self._coming[0][0]
        self._timer = asyncio.get_running_loop().call_later(max(due - now, 1) / 1_000, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._now()
        self._collect(now)
        if self._ready or not self._connected:
            self._wake()
        elif self._waiter is not None:
            self._arm(now)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- frames -------------------------------------------------------------------------------------------------------

    def _hear(self, event: MarketEvent) -> None:
        """Something happened in the world: put it on the wire, or not."""
        if not self._is_told(event):
            return
        at = event.at
        self._look_up_faults(at)
        if self._in_force:
            self._distort(copy_of(event) if isinstance(event, BookReplaced) else event, at)
        else:
            self._send(copy_of(event) if isinstance(event, BookReplaced) else event, at + FRAME_MS)

    def _is_told(self, event: MarketEvent) -> bool:
        if type(event) is LevelsChanged:
            return event.market in self._followed
        if isinstance(event, MarketListed | SnapshotRequested):  # the catalogue's to tell, and the floor's
            return False
        return isinstance(event, ReferencePriced) or event.market in self._followed

    def _distort(self, event: MarketEvent, at: Millis) -> None:
        faults, on = self._faults, self._in_force
        key = f"{at}/{type(event).__name__}/{getattr(event, 'market', '')}"
        if self._is_frozen(at) or ("feed_gap" in on and faults.strikes("feed_gap", at, key)):
            return
        if "feed_stale_snapshot" in on and isinstance(event, BookReplaced):
            event = self._perhaps_stale(event, at)
        if "feed_contradiction" in on and isinstance(event, LevelsChanged):
            event = self._perhaps_contradicted(event, at, key)
        skew = faults.episode("feed_skew", at)
        if skew is not None:
            self._note_once(skew)
            # what is old stays as old by the wrong clock as it was by the right one
            event = msgspec.structs.replace(event, at=Millis(event.at + int(skew.intensity * MINUTE)))
        due = at + FRAME_MS
        delay = faults.episode("feed_delay", at)
        if delay is not None:
            self._note_once(delay)
            due += int(delay.intensity * DELAY_MS)
        if "feed_reorder" in on and faults.strikes("feed_reorder", at, key):
            self._push(event, due + 1 + int(OVERTAKEN_MS * faults.draw("overtaken", key)))
        else:
            self._send(event, due)
        if "feed_duplicate" in on and faults.strikes("feed_duplicate", at, key):
            again = copy_of(event) if isinstance(event, BookReplaced) else event
            self._push(again, due + 1 + int(DOUBLED_MS * faults.draw("doubled frame", key)))

    def _send(self, event: MarketEvent, due: int) -> None:
        """On one socket nothing overtakes what was sent before."""
        self._last_due = due = max(due, self._last_due)
        self._push(event, due)

    def _push(self, event: MarketEvent, due: int) -> None:
        self._number += 1
        heapq.heappush(self._coming, (due, self._number, event))

    def _send_snapshots(self, market: MarketId) -> None:
        """Both books, as they stand when the venue reads the request: at once, for the frames after it must fit."""
        now = self._now()
        self._look_up_faults(now)
        if self._is_frozen(now):
            return
        for outcome in (Outcome.UP, Outcome.DOWN):
            book = self._world.snapshot(market, outcome)
            if book is not None:
                self._send(self._perhaps_stale(book, now), now + FRAME_MS)
        self._wake()

    def _look_up_faults(self, at: int) -> None:
        """What of the feed's is in force; asked of the plan only when that may have changed."""
        if at >= self._in_force_until:
            self._in_force, self._in_force_until = self._faults.in_force("feed_", at)

    # -- lies ---------------------------------------------------------------------------------------------------------

    def _is_frozen(self, at: int) -> bool:
        freeze = self._faults.episode("feed_freeze", at) if "feed_freeze" in self._in_force else None
        if freeze is None:
            return False
        if self._connected_at > freeze.start_ms:
            subject = f"{freeze.start_ms}/{self._connected_at}"
            if self._faults.draw("freezes again", subject) >= FREEZES_AGAIN:
                return False
        self._note_once(freeze)
        return True

    def _perhaps_stale(self, book: BookReplaced, at: Millis) -> BookReplaced:
        key = f"{at}/{book.market}/{book.outcome.name}"
        was = self._world.stale_snapshot(book.market, book.outcome)
        if was is None or was.at >= book.at or not self._faults.strikes("feed_stale_snapshot", at, key):
            return book
        return was

    def _perhaps_contradicted(self, event: LevelsChanged, at: Millis, key: str) -> LevelsChanged:
        if not self._faults.strikes("feed_contradiction", at, key):
            return event
        return LevelsChanged(event.at, event.received, event.market, [_contradicted(c) for c in event.changes])

    def _note_once(self, episode: Episode) -> None:
        """Count an episode once for each connection it hits, not for each frame."""
        key = (episode.name, episode.start_ms, self._connection)
        if key not in self._noted:
            self._noted.add(key)
            self._faults.note(episode.name, f"connection {self._connection}")

    # -- the catalogue ------------------------------------------------------------------------------------------------

    def _is_missing(self, window: Window, now: int) -> bool:
        episode = self._faults.episode("feed_catalog_missing", now)
        if episode is None:
            return False
        subject = f"{episode.start_ms}/{window.market.id}"
        if self._faults.draw("feed_catalog_missing", subject) >= episode.intensity:
            return False
        self._faults.note("feed_catalog_missing", subject)
        return True

    def _listing(self, window: Window, as_of: int) -> list[MarketListed | MarketResolved]:
        received = self._clock()
        terms = market_terms(window, self._faults, as_of)
        found: list[MarketListed | MarketResolved] = [MarketListed(Millis(as_of), received, terms)]
        if window.resolved_at <= as_of and window.payout_up is not None:
            found.append(MarketResolved(window.resolved_at, received, terms.id, window.payout_up))
        return found


def _contradicted(change: LevelChange) -> LevelChange:
    """The same change with a best bid one cent off."""
    best = change.best_bid or Price(0)
    wrong = Price(best + 10_000 if best + 10_000 < UNIT else best - 10_000)
    return LevelChange(change.outcome, change.side, change.price, change.size, wrong, change.best_ask)


def _stamped(event: MarketEvent, received: Millis) -> MarketEvent:
    """The event with its time of receipt; spelt out for the kind there are thousands of."""
    if type(event) is LevelsChanged:
        return LevelsChanged(event.at, received, event.market, event.changes)
    return msgspec.structs.replace(event, received=received)
