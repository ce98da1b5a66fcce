"""What a shared feed adds: one feed in this process, floors in processes of their own, a real Valkey between them.

Measured is the way from a feed's publishing to a floor's having the event: encoding, two trips through Redis, decoding.
"""

import asyncio
import multiprocessing
import random
import tempfile
import time
from multiprocessing.queues import Queue as Results
from pathlib import Path

import msgspec

from polybot.clock import SystemClock
from polybot.domain.events import LevelChange, LevelsChanged, MarketEvent, TradePrinted
from polybot.domain.ids import MarketId
from polybot.domain.market import Outcome, Side
from polybot.domain.markets import Markets
from polybot.domain.units import UNIT, Millis, Price, Shares
from polybot.floor.feed_in import FeedIn
from polybot.floor.feed_out import FeedOut
from polybot.storage.embedded import embedded_servers
from polybot.storage.feed_line import FeedLine

MARKET = MarketId("measured")
LAST = "the last one"
WARM_UP = 200
BURST = 100
SETTLE_S = 1.0
START_S_MAX = 60.0


class FloorRun(msgspec.Struct, frozen=True, kw_only=True):
    """Of one floor: microseconds from publishing to having, and events a second from its first to its last."""

    heard: int
    gaps: int
    median_us: float
    p99_us: float
    events_per_second: float


async def run_roles(*, floors: int, events: int, rate: float) -> list[FloorRun]:
    """Publish so many events at `rate` a second (0: as fast as they are taken) to so many floors."""
    context = multiprocessing.get_context("spawn")
    results: Results[FloorRun | str] = context.Queue()
    with tempfile.TemporaryDirectory(prefix="polybot-bench-") as folder:
        Path(folder).chmod(0o755)  # noqa: ASYNC240 before anything is measured
        async with embedded_servers(Path(folder) / "data", postgres=False) as servers:
            assert servers.redis_url is not None
            processes = [
                context.Process(target=_floor, args=(servers.redis_url, results), daemon=True) for _ in range(floors)
            ]
            for process in processes:
                process.start()
            for _ in processes:
                await asyncio.to_thread(results.get, timeout=START_S_MAX)
            await _publish(servers.redis_url, events, rate)
            found = [await asyncio.to_thread(results.get, timeout=START_S_MAX) for _ in processes]
            for process in processes:
                await asyncio.to_thread(process.join)
    return [run for run in found if isinstance(run, FloorRun)]


async def _publish(url: str, events: int, rate: float) -> None:
    async def nobody(market: MarketId) -> None: ...

    out = FeedOut(FeedLine(url), Markets(), SystemClock(), random.Random(1), nobody)
    running = asyncio.create_task(out.run())
    await asyncio.sleep(SETTLE_S)
    began = time.perf_counter()
    for number in range(events):
        if rate:
            ahead = began + number / rate - time.perf_counter()
            await asyncio.sleep(max(0.0, ahead))
        elif number % BURST == 0:
            await asyncio.sleep(0)
            while out.status().said < number - 20 * BURST:  # noqa: ASYNC110 no faster than the line takes them
                await asyncio.sleep(0.001)
        out.observe(_event())
    now = Millis(time.perf_counter_ns())
    out.observe(TradePrinted(now, now, MARKET, Outcome.UP, Side.BUY, Price(UNIT // 2), Shares(UNIT), LAST))
    await asyncio.sleep(SETTLE_S)
    running.cancel()
    await asyncio.wait([running])


def _event() -> MarketEvent:
    """A change of both books, as one frame of the venue's brings it; `at` is when, in the machine's nanoseconds."""
    now = Millis(time.perf_counter_ns())
    changes = [
        LevelChange(Outcome.UP, Side.BUY, Price(510_000), Shares(UNIT), Price(510_000), Price(520_000)),
        LevelChange(Outcome.DOWN, Side.SELL, Price(490_000), Shares(UNIT), Price(480_000), Price(490_000)),
    ]
    return LevelsChanged(now, now, MARKET, changes)


def _floor(url: str, results: "Results[FloorRun | str]") -> None:
    asyncio.run(_listen(url, results))


async def _listen(url: str, results: "Results[FloorRun | str]") -> None:
    spent: list[float] = []
    times: list[int] = []

    def heard(event: MarketEvent) -> None:
        now = time.perf_counter_ns()
        spent.append((now - event.at) / 1000)
        times.append(now)

    ear = FeedIn(FeedLine(url), SystemClock(), heard)
    await ear.connect()
    await ear.follow({MARKET})
    results.put("ready")
    while True:
        event = await ear.next()
        if isinstance(event, TradePrinted) and event.transaction == LAST:
            break
    measured = sorted(spent[WARM_UP:])
    results.put(
        FloorRun(
            heard=len(spent),
            gaps=ear.status().gaps,
            median_us=measured[len(measured) // 2],
            p99_us=measured[len(measured) * 99 // 100],
            events_per_second=(len(times) - 1) / max(1e-9, (times[-1] - times[0]) / 1e9),
        )
    )
    await ear.close()
