"""The whole floor on live-shaped data for minutes or hours: real journal, PostgreSQL, Valkey, page, every agent.

Frames come from a process of its own at a steady rate (soak_feed.py) through the floor's feeder; another looks at the
page all the time. Measured is what must not grow or stop: the loop's stalls, memory, delays.
"""

import asyncio
import contextlib
import gc
import random
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Set
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from polybot import log
from polybot.app import house_terms
from polybot.bench.live import token_of
from polybot.bench.soak_feed import AHEAD, ASSETS, START_SECONDS_MAX, WINDOW_MS, market_of, recorded_terms
from polybot.bench.soak_watch import LoopWatch
from polybot.chaos.real_load import write_load
from polybot.clock import SystemClock
from polybot.domain.events import MarketEvent, MarketListed, MarketResolved
from polybot.domain.ids import MarketId
from polybot.domain.market import Outcome
from polybot.domain.units import UNIT, Millis, Price
from polybot.floor.board import Board, RunInfo
from polybot.floor.dispatch import Dispatcher
from polybot.floor.feeder import Feeder
from polybot.floor.teller import tell
from polybot.house import House, restore
from polybot.recovery import new_memory
from polybot.runs import journal_path
from polybot.settings import Settings
from polybot.storage.embedded import embedded_servers
from polybot.storage.journal import Journal
from polybot.stores import FloorStores
from polybot.venue.base import VenueUnavailable
from polybot.venue.paper import PaperVenue
from polybot.venue.polymarket.wire import MarketDecoder, Tokens
from polybot.web.server import create_app, serve
from polybot.web.source import FloorSource

LOOKS_PER_ORDER = 400
"""Of the busy agents: some ten orders a second in all."""
RESULT_AFTER_MS = 20_000
LINE_BYTES_MAX = 4_000_000
LOOK_EVERY_S = 1.0
VIEWER = """
import sys, threading, time, urllib.error, urllib.request
page = sys.argv[1]
def stream():
    with urllib.request.urlopen(page + "/api/stream") as lines:
        for line in lines:
            pass
threading.Thread(target=stream, daemon=True).start()
while True:
    for path in ("/", "/health", "/metrics", "/api/status", "/api/trades?limit=50", "/api/windows?limit=50"):
        try:
            with urllib.request.urlopen(page + path, timeout=10) as answer:
                answer.read()
        except (urllib.error.URLError, TimeoutError):
            pass
    time.sleep(1)
"""


class SoakRun(msgspec.Struct, kw_only=True):
    """What was measured; the watch has the stalls. `delays`: milliseconds from a frame's stamp to its publishing."""

    seconds: float = 0.0
    frames: int = 0
    delays: Counter[int] = msgspec.field(default_factory=Counter)
    facts: int = 0
    orders: int = 0
    lag_rows_max: int = 0
    fit_looks: int = 0
    looks: int = 0
    watch: LoopWatch


class SocketFeed:
    """The soak's market data connection, as the feeder wants it."""

    def __init__(self, rate: float, clock: SystemClock) -> None:
        self._rate, self._clock = rate, clock
        self._terms = recorded_terms()
        self._tokens = Tokens()
        self._decoder = MarketDecoder(self._tokens)
        self._decoded: deque[MarketEvent] = deque()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.frames = 0

    async def start(self) -> None:
        """Start the process that sends; returns when it is ready to."""
        came: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        server = await asyncio.start_server(lambda r, w: came.put_nowait((r, w)), "127.0.0.1", 0, limit=LINE_BYTES_MAX)
        try:
            port = server.sockets[0].getsockname()[1]
            command = [sys.executable, "-m", "polybot.bench.soak_feed", str(port), f"{self._rate:g}"]
            self._process = subprocess.Popen(command)  # noqa: ASYNC220 - milliseconds, before anything runs
            async with asyncio.timeout(START_SECONDS_MAX):
                self._reader, self._writer = await came.get()
        finally:
            server.close()

    async def connect(self) -> None:
        if self._reader is None or self._reader.at_eof():
            raise VenueUnavailable("the soak's feed has ended")

    async def catalog(self, since: Millis, until: Millis) -> list[MarketListed | MarketResolved]:
        now = self._clock.now_ms()
        entries: list[MarketListed | MarketResolved] = []
        for start in range(since - since % WINDOW_MS, now + (AHEAD - 1) * WINDOW_MS, WINDOW_MS):
            for asset in ASSETS:
                market = market_of(asset, start, self._terms)
                for outcome in Outcome:
                    self._tokens.put(token_of(market, outcome), market.id, outcome)
                entries.append(MarketListed(now, now, market))
                if now >= market.window_end + RESULT_AFTER_MS:
                    paid = Price(UNIT if (start // WINDOW_MS) % 2 else 0)
                    entries.append(MarketResolved(now, now, market.id, paid))
        return entries

    async def follow(self, markets: Set[MarketId]) -> None:
        self._say(f"F {' '.join(sorted(markets))}")

    async def refresh(self, market: MarketId) -> None:
        self._say(f"R {market}")

    async def next(self) -> MarketEvent:
        while not self._decoded:
            if self._reader is None:
                raise VenueUnavailable("not connected")
            line = await self._reader.readline()
            if not line:
                raise VenueUnavailable("the feed hung up")
            self.frames += 1
            self._decoded.extend(self._decoder.decode(line, self._clock.now_ms()))  # type: ignore[arg-type]
        return self._decoded.popleft()

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._reader = self._writer = self._process = None

    def _say(self, words: str) -> None:
        if self._writer is None:
            raise VenueUnavailable("not connected")
        self._writer.write(f"{words}\n".encode())


async def run_soak(folder: Path, minutes: float, rate: float, tell_progress: Callable[[str], None]) -> SoakRun:
    """Run the floor in `folder` for so long; `tell_progress` hears about once every ten seconds."""
    settings = write_load(folder, looks_per_order=LOOKS_PER_ORDER)
    clock, stop, watch = SystemClock(), asyncio.Event(), LoopWatch()
    run, feed = SoakRun(watch=watch), SocketFeed(rate, clock)
    await feed.start()
    async with open_floor(settings, folder) as (house, board, stores, page):
        gc.freeze()  # as the service does (cli/process.py)
        watching = [
            asyncio.create_task(watch.run()),
            asyncio.create_task(_look(board, stores, feed, run, tell_progress)),
            asyncio.create_task(_end(minutes, stop, run)),
        ]
        viewer = subprocess.Popen([sys.executable, "-c", VIEWER, page])  # noqa: ASYNC220 - as above
        chance = random.Random(settings.seed)

        async def feed_floor(dispatcher: Dispatcher, stopped: asyncio.Event) -> bool:
            await Feeder(_Timed(feed, run, clock), dispatcher, clock, chance).run(stopped)
            return False

        try:
            await house.run(feed_floor, stop)
        finally:
            viewer.kill()
            viewer.wait()
            for task in watching:
                task.cancel()
            await asyncio.wait(watching)
            watch.close()
            await feed.close()
        run.frames, run.facts = feed.frames, house.was.memory.seq
        run.orders = sum(desk.state.next_order - 1 for desk in house.room.desks.values())
    return run


class _Timed:
    """A feed that notes how old each event is when it is handed over."""

    def __init__(self, feed: SocketFeed, run: SoakRun, clock: SystemClock) -> None:
        self._feed, self._run, self._clock = feed, run, clock
        self.connect, self.catalog, self.follow = feed.connect, feed.catalog, feed.follow
        self.refresh, self.close = feed.refresh, feed.close

    async def next(self) -> MarketEvent:
        event = await self._feed.next()
        self._run.delays[max(0, self._clock.now_ms() - event.at)] += 1
        return event


@asynccontextmanager
async def open_floor(settings: Settings, folder: Path) -> AsyncIterator[tuple[House, Board, FloorStores, str]]:
    """Everything a live floor has, opened as app.py opens it, around a feed in the tape's place."""
    async with AsyncExitStack() as stack:
        logged = stack.enter_context((folder / "soak.log").open("w"))
        log.set_up("pretty", "INFO", lambda message: print(message, end="", file=logged))
        servers = await stack.enter_async_context(embedded_servers(settings.data_dir / "servers"))
        journal = stack.enter_context(Journal.open(journal_path(settings.data_dir)))
        stores = await FloorStores.open(servers.database_url, servers.redis_url, journal, settings.data_dir)
        stack.push_async_callback(stores.close)
        terms = house_terms(settings, "soak", lockstep=False)
        was = restore(terms, new_memory(settings.capital_money), journal, ())
        venue = PaperVenue(was.paper_venue(settings.venue.model(settings.seed)))
        house = House(terms, was, venue, journal, SystemClock(), stores.keep_checkpoint)
        house.dispatcher.follow(tell)
        board = _board(house, stores)
        web = await serve(create_app(FloorSource(board, stores)), "127.0.0.1", 0)
        stack.push_async_callback(web.close)
        stores.start(board, house.dispatcher.note)
        yield house, board, stores, web.url
        await stores.drain()


def _board(house: House, stores: FloorStores) -> Board:
    now = SystemClock().now_ms
    board = Board(house.room, house.clock, now, house.was.memory.board)
    board.boss, board.supervisor, board.stores = house.boss, house.supervisor, stores
    board.info = RunInfo(
        run="soak",
        mode="paper",
        source="soak",
        started_at=now(),
        capital=house.terms.capital,
        exposure_share=house.room.limits.floor_capital_share,
        events_total=None,
        windows_total=None,
    )
    return board


async def _end(minutes: float, stop: asyncio.Event, run: SoakRun) -> None:
    began = time.perf_counter()
    await asyncio.sleep(minutes * 60)
    run.seconds = time.perf_counter() - began
    stop.set()


async def _look(
    board: Board, stores: FloorStores, feed: SocketFeed, run: SoakRun, tell_progress: Callable[[str], None]
) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            status = board.status()
            run.looks += 1
            run.fit_looks += status.fit
            run.lag_rows_max = max(run.lag_rows_max, stores.database().lag_rows)
            if run.looks % 10 == 0:
                worst = max(run.watch.late, default=0) / 100
                tell_progress(
                    f"{run.looks} s, {feed.frames:,} frames, longest stall {worst:.0f} ms "
                    f"(ours {run.watch.ours_longest_ms:.0f}), {status.trades} trades, fit {status.fit} {status.reasons}"
                )
