"""`POLYBOT_ROLE=feed` put together: the venue's market data to Redis, for floors with `POLYBOT_ROLE=floor`."""

import asyncio
import random
from collections.abc import Callable

from polybot.domain.units import Millis
from polybot.floor.feed_out import FeedOut, FeedOutStatus
from polybot.floor.feeder import Feeder
from polybot.floor.listening import ListeningFloor
from polybot.floor.together import until_one_ends
from polybot.live import data_terms, steady_clock, watch_terms
from polybot.settings import Settings
from polybot.storage.feed_line import FeedLine
from polybot.venue.polymarket.market_data import live_data

SINCE_MS = 3_600_000
"""Floors that come later may still wait for the results of windows that ended so long ago."""
SHOW_S = 1.0


async def run_feed(settings: Settings, redis_url: str, stop: asyncio.Event, show: Callable[[str], None]) -> None:
    """Speak until `stop`, through any outage of the venue or of Redis. Raises what is a bug."""
    clock, chance = await steady_clock(settings), random.Random(settings.seed)
    floor = ListeningFloor(since=Millis(clock.now_ms() - SINCE_MS))
    markets = floor.room.markets
    live = live_data(data_terms(settings), clock, chance, markets.by_id.get)
    feeder = Feeder(live.feed, floor, clock, chance, watch=watch_terms(settings.feed), clock_notes=clock.take_notes)
    out = FeedOut(FeedLine(redis_url), markets, clock, chance, feeder.ask_anew)
    floor.also(out.observe)
    work = [
        asyncio.create_task(feeder.run(stop), name="feeder"),
        asyncio.create_task(out.run(), name="feed-out"),
        asyncio.create_task(live.tell_notes(floor.note), name="catalogue-notes"),
        asyncio.create_task(_show(out, show), name="feed-status"),
    ]
    await until_one_ends(work)


async def _show(out: FeedOut, show: Callable[[str], None]) -> None:
    while True:
        await asyncio.sleep(SHOW_S)
        show(_text(out.status()))


def _text(status: FeedOutStatus) -> str:
    trouble = f"  |  {status.trouble}" if status.trouble else ""
    speaks = "speaking" if status.speaking else "not speaking"
    return f"{speaks}  |  {status.said:,} events said, {status.lost:,} lost, {status.asked:,} books asked for{trouble}"
