"""The whole way: an exchange's sockets, a feed, a real Valkey, and two floors that hear of everything."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession
from loguru import logger

from polybot.clock import SteadyClock
from polybot.domain.book import BookState
from polybot.feeding import run_feed
from polybot.floor.feed_in import FeedIn
from polybot.floor.feeder import Feeder, FeedPace
from polybot.floor.listening import ListeningFloor
from polybot.settings import FeedSettings, load_settings
from polybot.storage.feed_line import FeedLine
from tests.test_recording import DELAY_ASSUMED, exchange, told_of_the_catalogue

__all__ = ["exchange"]


async def test_two_floors_on_one_feed_have_verified_books_of_an_open_window(exchange, redis_url):
    settings = load_settings(exchange=exchange.url, feed=FeedSettings(series=["BTC-15m"], check_s=0), web_port=0)
    stop, clock = asyncio.Event(), SteadyClock()
    floors = [ListeningFloor(), ListeningFloor()]
    pace = FeedPace(look_s=0.1, catalog_s=0.3)
    feeders = [
        Feeder(FeedIn(FeedLine(redis_url), clock), floor, clock, random.Random(number), pace=pace)
        for number, floor in enumerate(floors)
    ]
    feeding = asyncio.create_task(run_feed(settings, redis_url, stop, lambda status: None))
    listening = [asyncio.create_task(feeder.run(stop)) for feeder in feeders]
    try:
        async with asyncio.timeout(20):
            while not all(has_a_verified_book(floor, clock) for floor in floors):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        stop.set()
        await asyncio.gather(feeding, *listening)


async def test_what_the_catalogue_finds_odd_is_told_once_where_the_feed_runs(exchange, redis_url):
    settings, stop = (
        load_settings(exchange=exchange.url, feed=FeedSettings(series=["BTC-15m"], check_s=0)),
        asyncio.Event(),
    )
    async with asyncio.timeout(20):
        with told_of_the_catalogue(stop) as told:
            await run_feed(settings, redis_url, stop, lambda status: None)
    assert told == [("WARNING", DELAY_ASSUMED)]


async def test_a_feed_serves_its_health_and_one_that_waits_for_it_is_well_too(exchange, redis_url):
    async with fed(exchange.url, redis_url) as first, asyncio.timeout(20):
        await health_of(first, lambda told: told["line"]["speaking"] and told["feed"]["prices"])
        async with fed(exchange.url, redis_url) as second:
            status, told = await health_of(second, lambda told: told["line"]["waits"])
            assert (status, told["state"], told["reasons"]) == (200, "feed", [])


async def test_a_feed_that_no_floor_can_hear_is_not_fit(exchange):
    async with fed(exchange.url, "redis://127.0.0.1:1") as url, asyncio.timeout(20):
        status, told = await health_of(url, lambda told: told["line"]["trouble"])
        assert status == 503
        assert told["reasons"][0].startswith("floors cannot hear it: ")


@asynccontextmanager
async def fed(exchange_url: str, redis_url: str) -> AsyncIterator[str]:
    """A feed that runs; where it serves."""
    settings = load_settings(exchange=exchange_url, feed=FeedSettings(series=["BTC-15m"], check_s=0), web_port=0)
    served: asyncio.Queue[str] = asyncio.Queue()
    sink = logger.add(
        lambda line: served.put_nowait(re.findall(r"http://[^/]+", line.record["message"])[0]),
        filter=lambda record: "/health" in record["message"],
        catch=False,
    )
    stop = asyncio.Event()
    feeding = asyncio.create_task(run_feed(settings, redis_url, stop, lambda status: None))
    try:
        yield await served.get()
    finally:
        logger.remove(sink)
        stop.set()
        await feeding


async def health_of(url: str, wanted: Callable[[Any], Any]) -> tuple[int, Any]:
    """Ask until it is as wanted."""
    async with ClientSession(url) as ask:
        while True:
            async with ask.get("/health") as answer:
                told = await answer.json()
                if wanted(told):
                    return answer.status, told
            await asyncio.sleep(0.02)


def has_a_verified_book(floor: ListeningFloor, clock: SteadyClock) -> bool:
    now = clock.now_ms()
    return any(
        all(book.state is BookState.VERIFIED and book.age_ms(now) < 5_000 for book in state.books)
        for state in floor.room.markets.by_id.values()
        if state.market.window_start <= now < state.market.window_end
    )
