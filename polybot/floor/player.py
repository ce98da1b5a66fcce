"""Plays a tape onto the floor at a chosen speed. The tape's clock is the floor's clock."""

import asyncio
from collections.abc import Iterable

from polybot.clock import ReplayClock
from polybot.domain.events import MarketEvent
from polybot.floor.dispatch import Dispatcher

SLEEP_S_MIN = 0.002
"""Shorter waits are not worth a timer; they add up and are waited for together."""
EVENTS_PER_YIELD = 10
"""Where nothing is waited for, so many events at most go by before anything else gets its turn."""


async def play(
    events: Iterable[MarketEvent], dispatcher: Dispatcher, clock: ReplayClock, speed: float, stop: asyncio.Event
) -> bool:
    """Publish the events, `speed` seconds of the tape in one of ours (0: at once). False if stopped before the end."""
    began = clock.monotonic()
    first: int | None = None
    for number, event in enumerate(events):
        first = event.received if first is None else first
        if speed:
            wait = began + (event.received - first) / 1000 / speed - clock.monotonic()
            if wait > SLEEP_S_MIN:
                await _sleep_unless(stop, wait)
        if number % EVENTS_PER_YIELD == 0:
            await asyncio.sleep(0)
        if stop.is_set():
            return False
        clock.move_to(event.received)
        await dispatcher.publish(event)
    return True


async def _sleep_unless(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
