"""One feed for several floors: says every market event of a listening floor to a line, and answers who asks for books.

    Feeder ─▶ ListeningFloor ─▶ FeedOut ─▶ line (storage/feed_line.py: Redis) ─▶ FeedIn of each floor

The feed never waits for its floors. What the line does not take is lost, and its number shows it: each floor then
doubts its books and asks. A book is said again from memory only while it is verified and young; otherwise the venue is
asked, since a floor counts an answer as no older than its question.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from polybot.circuit import growing_wait
from polybot.clock import Clock
from polybot.domain.book import BookState
from polybot.domain.events import MarketEvent, MarketListed, MarketResolved
from polybot.domain.ids import MarketId
from polybot.domain.markets import Markets, MarketState
from polybot.domain.snapshot import events_of
from polybot.domain.units import Millis
from polybot.floor.feed_wire import ASKED_DECODER, ENCODER, CatalogPage, SpokenRaw
from polybot.floor.status import LineStatus
from polybot.floor.together import until_one_ends

PENDING_MAX = 20_000
"""Events that may wait for the line; beyond it all of them are given up, and the floors ask anew."""
AT_ONCE = 200
LIFE_SIGN_S = 1.0
ASK_AGAIN_MS = 300
"""The venue is asked for a market no more often than that; who then gets no answer asks again."""
YOUNG_MS = 1_000
REMEMBERED_MS = 86_400_000
RETRY_S_FIRST = 0.05
RETRY_S_MAX = 2.0
ANSWER_S_MAX = 2.0

AskVenue = Callable[[MarketId], Awaitable[None]]


class LineOut(Protocol):
    """The feed's end of the line. All raise ConnectionError where it is gone, and may be called again."""

    async def claim(self, epoch: Millis) -> bool:
        """Become, or stay, the one feed that speaks; False while another does."""
        ...

    async def say(self, messages: list[bytes]) -> None: ...

    async def keep_catalog(self, page: bytes) -> None: ...

    async def asked(self) -> list[bytes]:
        """What floors have asked since the last call; waits about a second for something."""
        ...

    async def close(self) -> None: ...


class AnotherSpeaks(ConnectionError):
    """The line is another feed's for now: two at once would contradict each other's numbers."""


class FeedOut:
    """`observe` takes events; `run` does the rest, for ever. `ask_venue` has the venue say a book anew."""

    def __init__(
        self, line: LineOut, markets: Markets, clock: Clock, chance: random.Random, ask_venue: AskVenue
    ) -> None:
        self._line, self._markets, self._clock, self._chance = line, markets, clock, chance
        self._ask_venue = ask_venue
        self.epoch = clock.now_ms()
        self._pending: deque[msgspec.Raw] = deque()
        self._next = 1
        """The number of the first pending event."""
        self._news = asyncio.Event()
        self._catalog: dict[MarketId, list[MarketListed | MarketResolved]] = {}
        self._catalog_is_new = True
        self._venue_asked: dict[MarketId, Millis] = {}
        self._said = self._lost = self._asked = 0
        self._speaking = self._waits = False
        self._trouble: str | None = None

    def observe(self, event: MarketEvent) -> None:
        """Every event of the listening floor, before it changes any book."""
        if isinstance(event, MarketListed | MarketResolved):
            self._remember(event)
        self._put(event)

    def status(self) -> LineStatus:
        return LineStatus(
            speaking=self._speaking,
            waits=self._waits,
            said=self._said,
            lost=self._lost,
            asked=self._asked,
            trouble=self._trouble,
        )

    async def run(self) -> None:
        speaking = asyncio.create_task(self._keep_speaking(), name="feed-out")
        answering = asyncio.create_task(self._keep_answering(), name="feed-answers")
        try:
            await until_one_ends((speaking, answering))
        finally:
            await self._line.close()

    # -- speaking -----------------------------------------------------------------------------------------------------

    def _put(self, event: MarketEvent) -> None:
        if len(self._pending) >= PENDING_MAX:
            self._give_up()
        self._pending.append(msgspec.Raw(ENCODER.encode(event)))
        self._news.set()

    def _give_up(self) -> None:
        self._lost += len(self._pending)
        self._next += len(self._pending)
        self._pending.clear()

    async def _keep_speaking(self) -> None:
        failures, claimed_at = 0, float("-inf")
        while True:
            try:
                if self._clock.monotonic() - claimed_at >= LIFE_SIGN_S / 2:
                    await self._claim()
                    claimed_at = self._clock.monotonic()
                await self._speak()
                failures = 0
            except ConnectionError as error:
                self._speaking, self._trouble, self._waits = False, str(error), isinstance(error, AnotherSpeaks)
                self._give_up()
                failures, claimed_at = failures + 1, float("-inf")
                wait_s = growing_wait(failures, self._chance, first=RETRY_S_FIRST, most=RETRY_S_MAX)
                await asyncio.sleep(wait_s)

    async def _claim(self) -> None:
        """Raises AnotherSpeaks, and ConnectionError where the line is gone."""
        if not await self._line.claim(self.epoch):
            raise AnotherSpeaks("another feed speaks on this line; this one waits")
        self._speaking, self._trouble, self._waits = True, None, False
        if self._catalog_is_new:
            self._catalog_is_new = False
            entries = [entry for story in self._catalog.values() for entry in story]
            try:
                await self._line.keep_catalog(ENCODER.encode(CatalogPage(self.epoch, entries)))
            except ConnectionError:
                self._catalog_is_new = True
                raise
        await self._line.say([ENCODER.encode(SpokenRaw(self.epoch, self._next, []))])

    async def _speak(self) -> None:
        """All that is pending; or wait for something, but not past the next sign of life."""
        if not self._pending:
            self._news.clear()
            try:
                async with asyncio.timeout(LIFE_SIGN_S / 2):
                    await self._news.wait()
            except TimeoutError:
                return
        messages, first = [], self._next
        while self._pending:
            events = [self._pending.popleft() for _ in range(min(AT_ONCE, len(self._pending)))]
            messages.append(ENCODER.encode(SpokenRaw(self.epoch, self._next, events)))
            self._next += len(events)
        try:
            await self._line.say(messages)
        except ConnectionError:
            self._lost += self._next - first
            raise
        self._said += self._next - first

    # -- answering ----------------------------------------------------------------------------------------------------

    async def _keep_answering(self) -> None:
        failures = 0
        while True:
            try:
                await self._answer_all(await self._line.asked())
                failures = 0
            except ConnectionError:  # the speaking half tells of it
                failures += 1
                await asyncio.sleep(growing_wait(failures, self._chance, first=RETRY_S_FIRST, most=RETRY_S_MAX))

    async def _answer_all(self, messages: list[bytes]) -> None:
        """Several floors ask at the same moment: one answer is for all."""
        wanted: dict[MarketId, None] = {}
        for message in messages:
            with contextlib.suppress(msgspec.DecodeError):  # of another version: it hears nothing it knows, and says so
                wanted |= dict.fromkeys(ASKED_DECODER.decode(message).markets)
        for market in wanted:
            self._asked += 1
            await self._answer(market)

    async def _answer(self, market: MarketId) -> None:
        now, state = self._clock.now_ms(), self._markets.by_id.get(market)
        if state is None:
            return
        if _is_known_well(state, now):
            for event in events_of(state, now):
                self._put(event)
            return
        if now < self._venue_asked.get(market, 0) + ASK_AGAIN_MS:
            return
        recent = {name: at for name, at in self._venue_asked.items() if now < at + ASK_AGAIN_MS}
        self._venue_asked = recent | {market: now}
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                await self._ask_venue(market)
        except TimeoutError:
            pass  # the floor asks again

    def _remember(self, event: MarketListed | MarketResolved) -> None:
        """Windows of the last day, for floors that were away."""
        self._catalog_is_new = True
        if isinstance(event, MarketListed):
            known = self._catalog.setdefault(event.market.id, [event])
            known[0] = event
        elif event.market in self._catalog:
            self._catalog[event.market][1:] = [event]
        oldest = event.received - REMEMBERED_MS
        stories = ((name, story) for name, story in self._catalog.items() if _end(story) > oldest)
        self._catalog = dict(sorted(stories, key=lambda pair: _start(pair[1])))


def _is_known_well(state: MarketState, now: Millis) -> bool:
    """Both books verified, and known to be the venue's within the last second."""
    books = [state.books[outcome] for outcome in state.market.quoted]
    return all(book.state is BookState.VERIFIED and book.age_ms(now) <= YOUNG_MS for book in books)


def _start(story: list[MarketListed | MarketResolved]) -> tuple[Millis, str]:
    listed = story[0]
    assert isinstance(listed, MarketListed)
    return listed.market.window_start, listed.market.id


def _end(story: list[MarketListed | MarketResolved]) -> Millis:
    listed = story[0]
    assert isinstance(listed, MarketListed)
    return listed.market.window_end
