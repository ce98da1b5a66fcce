"""`POLYBOT_ROLE=feed` put together: the venue's market data to Redis, for floors with `POLYBOT_ROLE=floor`."""

import asyncio
import random
from collections.abc import Callable, Iterator
from functools import partial

from loguru import logger

from polybot import __version__
from polybot.clock import wall_ms
from polybot.domain.units import Millis
from polybot.floor.board import FEED_AWAY_S_MAX
from polybot.floor.feed_out import FeedOut
from polybot.floor.feeder import Feeder
from polybot.floor.listening import ListeningFloor
from polybot.floor.status import FeedHealth, LineStatus
from polybot.floor.together import until_one_ends
from polybot.live import data_terms, feed_health, steady_clock, watch_terms
from polybot.page import serve_at
from polybot.settings import Settings
from polybot.storage.feed_line import FeedLine
from polybot.venue.polymarket.market_data import live_data
from polybot.web.feed import FeedStatus, create_feed_app

SINCE_MS = 3_600_000
"""Floors that come later may still wait for the results of windows that ended so long ago."""
SHOW_S = 1.0


async def run_feed(settings: Settings, redis_url: str, stop: asyncio.Event, show: Callable[[str], None]) -> None:
    """Speak until `stop`, through any outage of the venue or of Redis. Raises CannotListen, and what is a bug."""
    clock, chance = await steady_clock(settings), random.Random(settings.seed)
    floor = ListeningFloor(since=Millis(clock.now_ms() - SINCE_MS))
    markets = floor.room.markets
    live = live_data(data_terms(settings), clock, chance, markets.by_id.get)
    feeder = Feeder(live.feed, floor, clock, chance, watch=watch_terms(settings.feed), clock_notes=clock.take_notes)
    out = FeedOut(FeedLine(redis_url), markets, clock, chance, feeder.ask_anew)
    floor.also(out.observe)
    started_at = wall_ms()

    def look() -> FeedStatus:
        now = clock.now_ms()
        feed, line = feed_health(feeder, markets, live.feed, now), out.status()
        return FeedStatus(
            version=__version__,
            source=settings.exchange or "polymarket",
            started_at=started_at,
            wall_time=wall_ms(),
            reasons=tuple(_unheard(feed, line, now)),
            feed=feed,
            line=line,
            circuits=(feeder.circuit.snapshot(now),),
        )

    server = await serve_at(settings, partial(create_feed_app, look, extra_hosts=settings.web_hosts))
    logger.bind(action="open").info("how it is: {}/health, {}/metrics", server.url, server.url)
    work = [
        asyncio.create_task(feeder.run(stop), name="feeder"),
        asyncio.create_task(out.run(), name="feed-out"),
        asyncio.create_task(live.tell_notes(floor.note), name="catalogue-notes"),
        asyncio.create_task(_show(out, show), name="feed-status"),
    ]
    try:
        await until_one_ends(work)
    finally:
        await server.close()


def _unheard(feed: FeedHealth, line: LineStatus, now: Millis) -> Iterator[str]:
    """Why floors get nothing from here. Another feed that speaks is no trouble: this one is its standby."""
    if not line.speaking and not line.waits:
        yield f"floors cannot hear it: {line.trouble or 'it has not spoken yet'}"
    if feed.outage_since is not None:
        away_s = (now - feed.outage_since) / 1000
        if away_s > FEED_AWAY_S_MAX:
            yield f"market data stopped {away_s:.0f} s ago"


async def _show(out: FeedOut, show: Callable[[str], None]) -> None:
    while True:
        await asyncio.sleep(SHOW_S)
        show(_text(out.status()))


def _text(status: LineStatus) -> str:
    trouble = f"  |  {status.trouble}" if status.trouble else ""
    speaks = "speaking" if status.speaking else "not speaking"
    return f"{speaks}  |  {status.said:,} events said, {status.lost:,} lost, {status.asked:,} books asked for{trouble}"
