"""Several floors on one feed, over a real Valkey: nothing is missed unseen, whatever happens to line or feed."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
import redis.asyncio

from polybot.clock import SystemClock
from polybot.domain.events import BookReplaced, MarketEvent, MarketListed, SnapshotRequested
from polybot.domain.ids import MarketId
from polybot.domain.market import Market
from polybot.domain.units import Millis
from polybot.floor.feed_in import FeedIn
from polybot.floor.feed_out import FeedOut
from polybot.floor.feeder import Feeder, FeedPace
from polybot.floor.listening import ListeningFloor
from polybot.storage.feed_line import ASKED, CATALOG, EVENTS, SPEAKER, FeedLine
from polybot.venue.base import VenueUnavailable
from tests.builders import book, listed, one_sided, resolved, trade

CLOCK = SystemClock()


def now_market(number: int = 0) -> Market:
    """A window that is open now, and for as long as all the tests take."""
    start = Millis(CLOCK.now_ms() // 1000 * 1000 - 60_000)
    market = one_sided()
    return msgspec.structs.replace(
        market, id=MarketId(f"{market.id}-{number}"), window_start=start, window_end=Millis(start + 7_200_000)
    )


MARKET, OTHER = now_market(0), now_market(1)


def a_book(market: Market = MARKET) -> BookReplaced:
    """As of now."""
    return book(market, CLOCK.now_ms() - market.window_start)


class Feed:
    """A feed process's half, with a venue that is asked and may answer."""

    def __init__(self, url: str) -> None:
        self.line = FeedLine(url)
        self.floor = ListeningFloor()
        self.venue_asked: list[MarketId] = []
        self.out = FeedOut(self.line, self.floor.room.markets, CLOCK, random.Random(1), self._ask_venue)
        self.floor.also(self.out.observe)

    async def _ask_venue(self, market: MarketId) -> None:
        self.venue_asked.append(market)

    async def say(self, *events: MarketEvent) -> None:
        for event in events:
            await self.floor.publish(event)


@contextlib.asynccontextmanager
async def running(work: Awaitable[None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    opened = redis.asyncio.Redis.from_url(redis_url)
    await opened.delete(EVENTS, ASKED, CATALOG, SPEAKER)
    yield opened
    await opened.aclose()


@pytest.fixture
async def feed(redis_url: str, client: redis.asyncio.Redis) -> AsyncIterator[Feed]:
    made = Feed(redis_url)
    async with running(made.out.run()):
        await until(lambda: made.out.status().speaking)
        yield made


@pytest.fixture
async def ear(redis_url: str, feed: Feed) -> AsyncIterator[FeedIn]:
    made = FeedIn(FeedLine(redis_url), CLOCK)
    await made.connect()
    yield made
    await made.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def hear(ear: FeedIn, number: int) -> list[MarketEvent]:
    async with asyncio.timeout(5):
        return [await ear.next() for _ in range(number)]


async def doubted(ear: FeedIn) -> SnapshotRequested:
    """The floor's books are doubted; what answers an earlier question comes before."""
    while True:
        (event,) = await hear(ear, 1)
        if isinstance(event, SnapshotRequested):
            return event


def same(heard: MarketEvent, said: MarketEvent) -> bool:
    return msgspec.structs.replace(heard, received=said.received) == said


async def test_a_floor_hears_what_it_follows_in_order_and_dated_by_its_own_clock(feed, ear):
    await ear.follow({MARKET.id})
    said: list[MarketEvent] = [listed(MARKET), a_book(), trade(MARKET, 5)]
    before = CLOCK.now_ms()
    await feed.say(listed(OTHER), a_book(OTHER), *said)
    heard = await hear(ear, 4)
    assert same(heard[0], listed(OTHER)), "the catalogue's news concern everybody"
    assert all(same(found, one) for found, one in zip(heard[1:], said, strict=True))
    assert all(event.received >= before for event in heard)


async def test_a_floor_that_comes_later_gets_the_books_when_it_follows(feed, redis_url):
    await feed.say(listed(MARKET), a_book())
    late = FeedIn(FeedLine(redis_url), CLOCK)
    await late.connect()
    await late.follow({MARKET.id})
    heard = await hear(late, 2)
    await late.close()
    assert [type(event) for event in heard] == [MarketListed, BookReplaced]
    assert feed.venue_asked == []


async def test_a_book_that_is_not_young_any_more_is_asked_of_the_venue(feed, ear):
    """A floor takes what comes for as young as its question; the feed's memory would make an old book look fresh."""
    old = book(MARKET, 0)
    await feed.say(listed(MARKET), old)
    await ear.follow({MARKET.id})
    await until(lambda: feed.venue_asked == [MARKET.id])


async def test_what_the_line_did_not_take_is_noticed_and_the_books_are_doubted_and_come_anew(feed, ear, monkeypatch):
    await ear.follow({MARKET.id})
    await feed.say(listed(MARKET), a_book())
    await hear(ear, 2)

    async def refuses(messages: list[bytes]) -> None:
        raise ConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(feed.line, "say", refuses)
        await feed.say(a_book(), a_book(), a_book())
        await until(lambda: feed.out.status().lost == 3)
    doubt = await doubted(ear)
    assert doubt.markets == [MARKET.id]
    assert [type(event) for event in await hear(ear, 2)] == [MarketListed, BookReplaced]
    assert (ear.status().gaps, ear.status().missed) == (1, 3)


async def test_a_feed_that_began_anew_is_noticed(feed, ear, redis_url, client):
    await ear.follow({MARKET.id})
    await feed.say(listed(MARKET), a_book())
    await hear(ear, 2)
    await client.delete(SPEAKER)
    heir = Feed(redis_url)
    heir.out.epoch = Millis(feed.out.epoch + 1)
    async with running(heir.out.run()):
        await until(lambda: heir.out.status().speaking)
        await heir.say(listed(MARKET), a_book())
        await doubted(ear)


async def test_of_two_feeds_one_speaks_and_the_other_waits_for_it(feed, redis_url):
    second = Feed(redis_url)
    second.out.epoch = Millis(feed.out.epoch + 1)
    async with running(second.out.run()):
        await until(lambda: second.out.status().trouble is not None)
        assert second.out.status().trouble == "another feed speaks on this line; this one waits"
        assert not second.out.status().speaking
        await asyncio.sleep(0.6)
        assert feed.out.status().speaking


async def test_a_floor_whose_line_breaks_for_a_moment_misses_nothing(feed, redis_url):
    line = FeedLine(redis_url)
    ear = FeedIn(line, CLOCK)
    await ear.connect()
    await ear.follow({MARKET.id})
    await feed.say(listed(MARKET))
    await hear(ear, 1)
    waiting = asyncio.create_task(hear(ear, 2))
    await asyncio.sleep(0.02)
    await line._redis.connection_pool.disconnect(inuse_connections=True)
    said: list[MarketEvent] = [a_book(), trade(MARKET, 5)]
    await feed.say(*said)
    assert all(same(found, one) for found, one in zip(await waiting, said, strict=True))
    assert ear.status().gaps == 0
    await ear.close()


async def test_a_feed_that_says_nothing_more_is_gone(feed, ear, monkeypatch):
    monkeypatch.setattr("polybot.floor.feed_in.SILENCE_S_MAX", 0.2)
    monkeypatch.setattr("polybot.storage.feed_line.WAIT_MS", 100)
    monkeypatch.setattr("polybot.floor.feed_out.LIFE_SIGN_S", 60.0)
    await asyncio.sleep(0.6)
    with pytest.raises(VenueUnavailable, match="no sign of life"):
        async with asyncio.timeout(5):
            await ear.next()


async def test_the_catalogue_has_the_windows_asked_for_with_their_results(feed, ear, client):
    over = one_sided()
    await feed.say(listed(MARKET, CLOCK.now_ms()), listed(over), resolved(over))
    async with asyncio.timeout(5):
        while not await ear.catalog(Millis(0), Millis(CLOCK.now_ms())):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    entries = await ear.catalog(Millis(CLOCK.now_ms()), Millis(CLOCK.now_ms() + 1))
    assert [entry.market.id for entry in entries if isinstance(entry, MarketListed)] == [MARKET.id]


async def test_without_a_feed_there_is_no_catalogue_and_the_floor_is_told_what_to_do(client, redis_url):
    alone = FeedIn(FeedLine(redis_url), CLOCK)
    with pytest.raises(VenueUnavailable, match="POLYBOT_ROLE=feed"):
        await alone.catalog(Millis(0), Millis(1))
    await alone.close()


async def test_two_floors_with_feeders_of_their_own_have_the_feeds_books(feed, redis_url):
    await feed.say(listed(MARKET), a_book())
    floors = [ListeningFloor(), ListeningFloor()]
    stop = asyncio.Event()
    pace = FeedPace(tick_s=0.05, look_s=0.05, catalog_s=0.1)
    feeders = [
        Feeder(FeedIn(FeedLine(redis_url), CLOCK), floor, CLOCK, random.Random(n), pace=pace)
        for n, floor in enumerate(floors)
    ]
    tasks = [asyncio.create_task(feeder.run(stop)) for feeder in feeders]

    def have_it() -> bool:
        states = [floor.room.markets.by_id.get(MARKET.id) for floor in floors]
        return all(state is not None and state.books[0].best_bid == 510_000 for state in states)

    async with asyncio.timeout(10):
        while not have_it():
            await feed.say(book(MARKET, CLOCK.now_ms() - MARKET.window_start, bids=(("0.51", "9"),)))
            await asyncio.sleep(0.05)
    stop.set()
    await asyncio.gather(*tasks)
