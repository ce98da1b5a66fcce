"""From the market socket to the traders' decisions: a real websocket of another process, and the real floor with all
its agents, journal, recorder, PostgreSQL, Valkey and page, at a steady rate of frames.

What is timed is each agent's first look at a market after a change to it, from the moment the other process handed the
frame to its socket: sending, reading, decoding, the watch, the dispatcher, the books, the mailbox and the decision.
"""

import asyncio
import gc
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from polybot.bench.live import token_of
from polybot.bench.machine import stolen_s
from polybot.bench.soak import LOOKS_PER_ORDER, open_floor
from polybot.bench.soak_feed import AHEAD, ASSETS, WINDOW_MS, market_of, recorded_terms
from polybot.bench.soak_watch import LoopWatch
from polybot.bench.socket_server import served, stamp_of
from polybot.chaos.real_load import write_load
from polybot.clock import SystemClock
from polybot.desk.desk import Desk
from polybot.domain.events import LevelsChanged, MarketEvent, MarketListed, MarketResolved
from polybot.domain.ids import AgentId, MarketId
from polybot.domain.market import Market, Outcome
from polybot.domain.units import UNIT, Millis, Price
from polybot.floor.dispatch import Dispatcher
from polybot.floor.feeder import Feeder
from polybot.live import floor_recorder
from polybot.settings import Settings
from polybot.storage.recorder import Recorder
from polybot.venue.polymarket.live_feed import LiveFeed
from polybot.venue.polymarket.stream import MarketStream, Tap

RESULT_AFTER_MS = 20_000
WARM_UP_S = 3.0
STEP_US = 10
SLICE_S = 2.0
QUIET = 0.01
"""Of the machine's time: where its host took less in a slice, the slice says what the floor does and not the host."""


class Slice(msgspec.Struct, kw_only=True):
    """Some seconds of a run: its decisions as below, and the share of the machine's time that its host took."""

    to_decision: Counter[int] = msgspec.field(default_factory=Counter)
    stolen: float = 0.0


def quiet(slices: Iterable[Slice]) -> list[Slice]:
    """Those in which the machine had its processors to itself."""
    return [one for one in slices if one.stolen < QUIET]


def decisions(slices: Iterable[Slice]) -> Counter[int]:
    """Of all of them together."""
    return sum((one.to_decision for one in slices), Counter())


class SocketRun(msgspec.Struct, kw_only=True):
    """Microseconds in steps of ten, from the sending of a frame: to the floor's books, and to each agent's decision."""

    seconds: float = 0.0
    frames: int = 0
    to_books: Counter[int] = msgspec.field(default_factory=Counter)
    slices: list[Slice] = []
    """A neighbour's work on the same host shows in some and not in others."""
    cpu_s: float = 0.0
    """What the floor's process computed meanwhile, all its threads together; `loop_cpu_s`: the loop's thread."""
    loop_cpu_s: float = 0.0
    orders: int = 0
    stall_ms: float = 0.0
    ours_ms: float = 0.0

    @property
    def to_decision(self) -> Counter[int]:
        return decisions(self.slices)


class StampedStream(MarketStream):
    """A market socket that remembers when each change was sent."""

    def __init__(self, url: str, clock: SystemClock, tap: Tap) -> None:
        super().__init__(url, clock, tap=tap)
        self.sent: dict[int, int] = {}
        self.frames = 0

    def _read(self, frame: bytes | str) -> list[MarketEvent]:
        events, stamp = super()._read(frame), stamp_of(str(frame))
        self.frames += 1
        for event in events:
            if isinstance(event, LevelsChanged):
                self.sent[id(event.changes)] = stamp
        return events


class DecisionTimer:
    """A witness of the floor that takes the time, and has the floor's own recorder write down what it is told."""

    def __init__(self, stream: StampedStream, desks: dict[AgentId, Desk], run: SocketRun, recorder: Recorder) -> None:
        self._stream, self._run, self._recorder = stream, run, recorder
        self.took = recorder.took
        self._agents = [agent for agent, desk in desks.items() if desk.wakes_on(LevelsChanged)]
        self._waiting: dict[tuple[AgentId, MarketId], int] = {}
        self.is_on = False

    def observe(self, event: MarketEvent) -> None:
        self._recorder.observe(event)
        if isinstance(event, LevelsChanged):
            stamp = self._stream.sent.pop(id(event.changes), 0)
            if stamp and self.is_on:
                self._run.to_books[steps(stamp)] += 1
                for agent in self._agents:
                    self._waiting.setdefault((agent, event.market), stamp)

    def looked(
        self, agent: AgentId, market: MarketId, kind: str, now: Millis, *, may_trade: bool, decided: bool
    ) -> None:
        stamp = self._waiting.pop((agent, market), 0)
        if stamp:
            self._run.slices[-1].to_decision[steps(stamp)] += 1
        self._recorder.looked(agent, market, kind, now, may_trade=may_trade, decided=decided)


def steps(stamp: int) -> int:
    """Microseconds since then, in steps of STEP_US."""
    return (time.perf_counter_ns() - stamp) // (1000 * STEP_US) * STEP_US


def listings(clock: SystemClock, terms: Market) -> Callable[[Millis, Millis], list[MarketListed | MarketResolved]]:
    """The windows of the bench's own calendar, with the tokens its server knows."""

    def read(since: Millis, until: Millis) -> list[MarketListed | MarketResolved]:
        now, found = clock.now_ms(), list[MarketListed | MarketResolved]()
        for start in range(since - since % WINDOW_MS, now + (AHEAD - 1) * WINDOW_MS, WINDOW_MS):
            for asset in ASSETS:
                market = market_of(asset, start, terms)
                tokens = (token_of(market, Outcome.UP), token_of(market, Outcome.DOWN))
                found.append(MarketListed(now, now, msgspec.structs.replace(market, tokens=tokens)))
                if now >= market.window_end + RESULT_AFTER_MS:
                    found.append(MarketResolved(now, now, market.id, Price(UNIT * (start // WINDOW_MS % 2))))
        return found

    return read


async def run_socket(folder: Path, seconds: float, rate: float, warm_up_s: float = WARM_UP_S) -> SocketRun:
    """Run the floor in `folder` on so many frames a second for so long, after a warm-up; then watch its loop for half
    as long again. Watching has its price (0.3 ms of the 99th percentile), so nothing is timed meanwhile."""
    settings = write_load(folder, looks_per_order=LOOKS_PER_ORDER)
    async with served(rate) as url:
        return await _run(folder, (warm_up_s, seconds), url, settings)


async def _run(folder: Path, spans_s: tuple[float, float], url: str, settings: Settings) -> SocketRun:
    clock, stop, run = SystemClock(), asyncio.Event(), SocketRun()
    read = listings(clock, recorded_terms())

    async def catalog(since: Millis, until: Millis) -> list[MarketListed | MarketResolved]:
        return read(since, until)

    async with open_floor(settings, folder) as (house, _, _, _):
        recorder = floor_recorder(settings, house, clock, "bench")
        stream = StampedStream(url, clock, recorder.frame)
        timer = DecisionTimer(stream, house.room.desks, run, recorder)
        house.dispatcher.record(timer)
        chance = random.Random(settings.seed)
        feed = LiveFeed(catalog, [stream], clock, chance)

        async def feed_floor(dispatcher: Dispatcher, stopped: asyncio.Event) -> bool:
            await Feeder(feed, dispatcher, clock, chance).run(stopped)
            return False

        gc.freeze()
        measuring = asyncio.create_task(_measure(spans_s, stop, stream, timer, run))
        try:
            await house.run(feed_floor, stop)
        finally:
            measuring.cancel()
            await asyncio.wait([measuring])
            await asyncio.to_thread(recorder.close)
        run.orders = sum(desk.state.next_order - 1 for desk in house.room.desks.values())
    return run


async def _measure(
    spans_s: tuple[float, float], stop: asyncio.Event, stream: StampedStream, timer: DecisionTimer, run: SocketRun
) -> None:
    while stream.frames == 0:  # noqa: ASYNC110 - what it waits for has no event of its own
        await asyncio.sleep(0.1)
    await asyncio.sleep(spans_s[0])
    await _time(spans_s[1], stream, timer, run)
    await _watch_loop(spans_s[1] / 2, run)
    stop.set()


async def _time(seconds: float, stream: StampedStream, timer: DecisionTimer, run: SocketRun) -> None:
    before, began = stream.frames, time.perf_counter()
    computed, on_loop = time.process_time(), time.thread_time()
    timer.is_on = True
    await cut(seconds, run.slices)
    timer.is_on = False
    run.seconds, run.frames = time.perf_counter() - began, stream.frames - before
    run.cpu_s, run.loop_cpu_s = time.process_time() - computed, time.thread_time() - on_loop


async def cut(seconds: float, into: list[Slice]) -> None:
    """For so long, the last of `into` is the slice of now."""
    began = time.perf_counter()
    while (left_s := began + seconds - time.perf_counter()) > 0:
        now = Slice()
        into.append(now)
        stolen, since = stolen_s(), time.perf_counter()
        await asyncio.sleep(min(SLICE_S, left_s))
        now.stolen = (stolen_s() - stolen) / (time.perf_counter() - since) / (os.cpu_count() or 1)


async def _watch_loop(seconds: float, run: SocketRun) -> None:
    watch = LoopWatch()
    watching = asyncio.create_task(watch.run())
    try:
        await asyncio.sleep(seconds)
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        watch.close()
    run.stall_ms, run.ours_ms = max(watch.late, default=0) / 100, watch.ours_longest_ms
