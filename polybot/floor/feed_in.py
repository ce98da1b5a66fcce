"""A floor's end of a shared feed: a `MarketFeed` (venue/base.py) that hears from a feed process what the venue says.

Numbers tell what was missed: then every followed book is doubted, and asked for. A feed that gives no sign of life for
some seconds is a connection that is gone, like any other.
"""

from collections import deque
from collections.abc import Callable, Set
from typing import Protocol

import msgspec
from loguru import logger

from polybot.clock import Clock
from polybot.domain.events import MarketEvent, MarketListed, MarketResolved, ReferencePriced, SnapshotRequested
from polybot.domain.ids import MarketId
from polybot.domain.units import Millis
from polybot.floor.feed_wire import CATALOG_DECODER, ENCODER, SPOKEN_DECODER, Asked, Spoken
from polybot.venue.base import VenueUnavailable

SILENCE_S_MAX = 5.0
"""A feed gives a sign of life twice a second."""
BLIP_S_MAX = 1.0
"""A line that is gone for no longer than this is taken up where it was."""


class LineIn(Protocol):
    """A floor's end of the line. All raise ConnectionError where it is gone, and may be called again."""

    async def open(self) -> None:
        """Hear what is said from now on."""
        ...

    async def hear(self) -> list[bytes]:
        """What was said since the last call; waits about a second for something."""
        ...

    async def ask(self, message: bytes) -> None: ...

    async def catalog(self) -> bytes | None: ...

    async def close(self) -> None: ...


class FeedInStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Counted since the start: events `heard` and `missed`, and how often some were (`gaps`)."""

    heard: int
    missed: int
    gaps: int


class FeedIn:
    """Make one per floor. `on_heard`, where given, is told of each event as it is heard (`polybot bench roles`)."""

    def __init__(self, line: LineIn, clock: Clock, on_heard: Callable[[MarketEvent], None] | None = None) -> None:
        self._line, self._clock, self._on_heard = line, clock, on_heard
        self._wanted: frozenset[MarketId] = frozenset()
        self._ready: deque[MarketEvent] = deque()
        self._epoch: Millis | None = None
        self._expected = 0
        self._heard_at = 0.0
        self._heard = self._missed = self._gaps = 0

    def status(self) -> FeedInStatus:
        return FeedInStatus(heard=self._heard, missed=self._missed, gaps=self._gaps)

    # -- the protocol -------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        self._wanted, self._epoch = frozenset(), None
        self._ready.clear()
        try:
            await self._line.open()
        except ConnectionError as error:
            raise VenueUnavailable(f"no line to the feed: {error}") from error
        self._heard_at = self._clock.monotonic()

    async def catalog(self, since: Millis, until: Millis) -> list[MarketListed | MarketResolved]:
        try:
            page = await self._line.catalog()
            if page is None:
                raise VenueUnavailable("no feed speaks: start one with POLYBOT_ROLE=feed")
            entries = CATALOG_DECODER.decode(page).entries
        except ConnectionError as error:
            raise VenueUnavailable(f"the line to the feed is gone: {error}") from error
        except msgspec.DecodeError as error:
            raise VenueUnavailable(f"the feed is of another version: {error}") from error
        listed = [entry for entry in entries if isinstance(entry, MarketListed)]
        within = {e.market.id for e in listed if e.market.window_end > since and e.market.window_start < until}
        return [entry for entry in entries if _market_of(entry) in within]

    async def follow(self, markets: Set[MarketId]) -> None:
        fresh = sorted(markets - self._wanted)
        self._wanted = frozenset(markets)
        await self._ask(fresh)

    async def refresh(self, market: MarketId) -> None:
        await self._ask([market])

    async def next(self) -> MarketEvent:
        while not self._ready:
            try:
                messages = await self._line.hear()
            except ConnectionError as error:
                self._endure(error)
                continue
            if messages:
                await self._take(messages)
            elif self._silent_s() > SILENCE_S_MAX:
                raise VenueUnavailable(f"the feed has given no sign of life for {self._silent_s():.0f} s")
        return self._ready.popleft()

    async def close(self) -> None:
        await self._line.close()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _silent_s(self) -> float:
        return self._clock.monotonic() - self._heard_at

    def _endure(self, error: ConnectionError) -> None:
        """The line makes itself anew, and goes on where it was: what was lost, the numbers tell."""
        if self._silent_s() > BLIP_S_MAX:
            raise VenueUnavailable(f"the line to the feed is gone: {error}") from error

    async def _take(self, messages: list[bytes]) -> None:
        received = self._clock.now_ms()
        self._heard_at = self._clock.monotonic()
        for message in messages:
            try:
                spoken = SPOKEN_DECODER.decode(message)
            except msgspec.DecodeError as error:
                raise VenueUnavailable(f"the feed is of another version: {error}") from error
            if self._missed_some(spoken):
                self._ready.append(SnapshotRequested(received, received, sorted(self._wanted)))
                await self._ask(sorted(self._wanted))
            self._epoch, self._expected = spoken.epoch, spoken.first + len(spoken.events)
            for event in spoken.events:
                self._hear(event, received)

    def _missed_some(self, spoken: Spoken) -> bool:
        if self._epoch is None or (spoken.epoch == self._epoch and spoken.first == self._expected):
            return False
        self._gaps += 1
        missed = spoken.first - self._expected if spoken.epoch == self._epoch else 0
        self._missed += max(0, missed)
        what = f"{missed} of its events were missed" if missed > 0 else "it began anew"
        logger.bind(action="feed_gap").warning("the feed: {}; books are asked for anew", what)
        return True

    def _hear(self, event: MarketEvent, received: Millis) -> None:
        """Dated when it reached this floor: the way through the line counts towards its age."""
        if not isinstance(event, MarketListed | ReferencePriced):
            if isinstance(event, SnapshotRequested):
                ours = [market for market in event.markets if market in self._wanted]
                if not ours:
                    return
                event = SnapshotRequested(event.at, received, ours)
            elif event.market not in self._wanted:
                return
        self._heard += 1
        event = msgspec.structs.replace(event, received=received)
        if self._on_heard is not None:
            self._on_heard(event)
        self._ready.append(event)

    async def _ask(self, markets: list[MarketId]) -> None:
        if not markets:
            return
        try:
            await self._line.ask(ENCODER.encode(Asked(markets)))
        except ConnectionError as error:
            raise VenueUnavailable(f"the line to the feed is gone: {error}") from error


def _market_of(entry: MarketListed | MarketResolved) -> MarketId:
    return entry.market.id if isinstance(entry, MarketListed) else entry.market
