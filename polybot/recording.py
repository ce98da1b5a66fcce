"""`polybot record` put together: live market data to disk, without a floor that trades."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

from polybot.domain.snapshot import market_events
from polybot.floor.feeder import Feeder
from polybot.floor.listening import ListeningFloor
from polybot.live import data_terms, recorder_terms, steady_clock, watch_terms
from polybot.settings import Settings
from polybot.storage.recorder import Recorder, RecorderStatus
from polybot.venue.polymarket.market_data import live_data

SHOW_S = 0.5


async def record_live(
    settings: Settings, folder: Path, stop: asyncio.Event, on_status: Callable[[RecorderStatus], None]
) -> RecorderStatus:
    """Record until `stop`, through any outage of the venue; what was recorded in all. A full disk does not end it."""
    data, chance, floor = data_terms(settings), random.Random(settings.seed), ListeningFloor()
    clock, markets = await steady_clock(settings), floor.room.markets
    recorder = Recorder(
        folder,
        clock,
        lambda at: market_events(markets, at),
        source=data.hosts.market,
        terms=recorder_terms(settings.record),
    )
    floor.also(recorder.observe)
    live = live_data(data, clock, chance, markets.by_id.get, tap=recorder.frame)
    feeder = Feeder(live.feed, floor, clock, chance, watch=watch_terms(settings.feed), clock_notes=clock.take_notes)
    beside = [
        asyncio.create_task(recorder.watch(floor.note), name="recorder"),
        asyncio.create_task(live.tell_notes(floor.note), name="catalogue-notes"),
        asyncio.create_task(_show(recorder, on_status), name="record-status"),
    ]
    try:
        await feeder.run(stop)
    finally:
        for task in beside:
            task.cancel()
        await asyncio.wait(beside)
        await asyncio.to_thread(recorder.close)
    return recorder.status()


async def _show(recorder: Recorder, on_status: Callable[[RecorderStatus], None]) -> None:
    while True:
        await asyncio.sleep(SHOW_S)
        on_status(recorder.status())
