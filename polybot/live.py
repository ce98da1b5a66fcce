"""The live world put together: Polymarket's market data, or a loopback exchange's, with paper money. Part of app.py."""

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from polybot.circuit import CircuitSnapshot
from polybot.clock import Clock, SteadyClock, SystemClock
from polybot.domain.errors import BadInput
from polybot.domain.events import MarketEvent
from polybot.domain.markets import Markets
from polybot.domain.snapshot import market_events
from polybot.domain.units import Millis
from polybot.floor.dispatch import Dispatcher
from polybot.floor.feed_in import FeedIn
from polybot.floor.feed_watch import WatchTerms
from polybot.floor.feeder import Feeder
from polybot.floor.status import AccountStatus, FeedHealth, PriceStatus, SourceStatus
from polybot.house import House, Play
from polybot.live_account import price_key
from polybot.recovery import Recovered
from polybot.runs import recordings_path
from polybot.settings import FeedSettings, RecordSettings, Settings
from polybot.storage.feed_line import FeedLine
from polybot.storage.recorder import Recorder, RecorderTerms
from polybot.venue.base import MarketFeed, Venue, VenueBusy, VenueUnavailable
from polybot.venue.paper import PaperVenue
from polybot.venue.polymarket.catalog import CatalogPlan
from polybot.venue.polymarket.live_feed import LiveFeed
from polybot.venue.polymarket.loopback import data_hosts_of
from polybot.venue.polymarket.market_data import DataHosts, DataTerms, live_data
from polybot.venue.polymarket.prices import PriceTerms
from polybot.venue.polymarket.rest import Rest

if TYPE_CHECKING:
    from polybot.live_trading import LiveTrading


PRICE_AGE_MS_MAX = round(PriceTerms().stopped_s * 1000)
"""An older reference price is shown as stale: its socket takes the source for stopped, and is made anew."""


class LiveWorld:
    """Time is the machine's, kept steady; windows roll for ever; what was seen is recorded."""

    lockstep = False
    events_total: int | None = None
    windows_total: int | None = None

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        where = f"loopback exchange {settings.exchange}" if settings.exchange else "polymarket"
        self.name = f"{where} (live orders)" if settings.mode == "live" else where
        """A run on paper never goes on with real money, nor the other way round."""
        self._feeder: Feeder | None = None
        self._live: LiveFeed | None = None
        self._markets = Markets()
        self._clock: SteadyClock | None = None
        self._trading: LiveTrading | None = None
        self._stack: AsyncExitStack | None = None

    def market_events(self) -> Iterable[MarketEvent]:
        """Nothing can be had again: books come as snapshots, windows from the catalogue."""
        return ()

    async def open(self, was: Recovered, stack: AsyncExitStack) -> tuple[Clock, Venue]:
        self._stack = stack
        clock = self._clock = await steady_clock(self._settings, not_before=was.now)
        if self._settings.mode == "live":
            from polybot.live_trading import LiveTrading  # noqa: PLC0415 - the client costs a second

            self._trading = LiveTrading(self._settings, clock, was)
            return clock, await self._trading.open(stack)
        return clock, PaperVenue(was.paper_venue(self._settings.venue.model(self._settings.seed)))

    def wire(self, house: House) -> None:
        settings, clock = self._settings, self._clock
        assert clock is not None, "open comes first"
        chance, self._markets = random.Random(settings.seed), house.room.markets
        feed = self._feed(house, clock, chance)
        self._feeder = Feeder(
            feed, house.dispatcher, clock, chance, watch=watch_terms(settings.feed), clock_notes=clock.take_notes
        )
        if self._trading is not None:
            self._trading.wire(house)

    def _feed(self, house: House, clock: SteadyClock, chance: random.Random) -> MarketFeed:
        """The venue's own, recorded where it is to be; or what a feed process says of it (POLYBOT_ROLE)."""
        settings = self._settings
        recorder = self._recorder(house, clock)
        if settings.role == "floor":
            assert settings.redis_url is not None, "the settings require it"
            return FeedIn(FeedLine(settings.redis_url), clock)
        tap = recorder.frame if recorder is not None else None
        live = live_data(data_terms(settings), clock, chance, self._markets.by_id.get, tap=tap)
        house.beside(lambda: live.tell_notes(house.dispatcher.note))
        self._live = live.feed
        return live.feed

    def _recorder(self, house: House, clock: Clock) -> Recorder | None:
        """Told of every event, fact and look; written by a thread of its own."""
        if not self._settings.record.enabled:
            return None
        recorder = floor_recorder(self._settings, house, clock, self.name)
        house.dispatcher.record(recorder)
        assert self._stack is not None, "open comes first"
        self._stack.push_async_callback(asyncio.to_thread, recorder.close)
        house.beside(lambda: recorder.watch(house.dispatcher.note))
        return recorder

    def play(self, house: House) -> Play:
        async def feed(_: Dispatcher, stop: asyncio.Event) -> bool:
            assert self._feeder is not None, "wire comes first"
            await self._feeder.run(stop)
            return False

        return feed

    def circuit_looks(self) -> list[Callable[[], CircuitSnapshot]]:
        return [self._circuit]

    def _circuit(self) -> CircuitSnapshot:
        assert self._feeder is not None
        assert self._clock is not None
        return self._feeder.circuit.snapshot(self._clock.now_ms())

    def account(self) -> AccountStatus | None:
        return self._trading.status() if self._trading is not None else None

    def feed(self) -> FeedHealth | None:
        if self._feeder is None or self._clock is None:
            return None
        return feed_health(self._feeder, self._markets, self._live, self._clock.now_ms())


def floor_recorder(settings: Settings, house: House, clock: Clock, source: str) -> Recorder:
    """A recorder for this floor, at work; whoever made it closes it."""
    room = house.room
    return Recorder(
        recordings_path(settings.data_dir),
        clock,
        lambda at: market_events(room.markets, at),
        source=source,
        run=house.journal.genesis.hex()[:12],
        position=room.state.position,
        facts=house.was.memory.seq,
        terms=recorder_terms(settings.record),
    )


# -- how the data is ---------------------------------------------------------------------------------------------------


def feed_health(feeder: Feeder, markets: Markets, live: LiveFeed | None, now: Millis) -> FeedHealth:
    """`live` None: a feed process has the venue's sockets, and passes on what they say."""
    health = live.health() if live is not None else None
    return msgspec.structs.replace(
        feeder.health(),
        prices=tuple(price_ages(markets, now)),
        sources=None if health is None else msgspec.convert(health, SourceStatus, from_attributes=True),
    )


def price_ages(markets: Markets, now: Millis) -> Iterator[PriceStatus]:
    """Of every reference price that was ever heard, by asset and source: one that stopped stays, and grows old."""
    for asset, sources in sorted(markets.references.items()):
        for source, price in sorted(sources.items()):
            age_ms = now - price.at
            yield PriceStatus(asset=asset, source=source, age_ms=age_ms, stale=age_ms > PRICE_AGE_MS_MAX)


# -- the loopback exchange's time --------------------------------------------------------------------------------------


class _Told(msgspec.Struct, frozen=True):
    """What `GET /_control/clock` of a loopback exchange answers."""

    now_ms: int
    speed: float


class ExchangeTime:
    """The exchange's clock, carried on by the machine's at the exchange's speed."""

    def __init__(self, told: _Told, asked_at: float, monotonic: Callable[[], float]) -> None:
        self._told, self._asked_at, self._monotonic = told, asked_at, monotonic

    def elapsed_s(self) -> float:
        return (self._monotonic() - self._asked_at) * self._told.speed

    def now_ms(self) -> int:
        return self._told.now_ms + int(self.elapsed_s() * 1000)


async def exchange_time(base: str) -> ExchangeTime:
    """Raises BadInput where no loopback exchange answers: a floor must not begin on a clock that is not the venue's."""
    rest, clock = Rest(base), SystemClock()
    try:
        answer = await rest.get("/_control/clock")
        return ExchangeTime(msgspec.json.decode(answer or b"", type=_Told), clock.monotonic(), clock.monotonic)
    except (VenueUnavailable, VenueBusy, msgspec.MsgspecError) as error:
        raise BadInput(
            f"POLYBOT_EXCHANGE: no loopback exchange answers at {base} ({error}): start one with `polybot exchange`"
        ) from error
    finally:
        await rest.close()


async def steady_clock(settings: Settings, not_before: Millis = Millis(0)) -> SteadyClock:
    """The machine's time; a loopback exchange's own where there is one, which may run faster. Raises BadInput."""
    if not settings.exchange:
        return SteadyClock(not_before=not_before)
    fast = await exchange_time(settings.exchange)
    return SteadyClock(fast.now_ms, fast.elapsed_s, not_before=not_before)


# -- settings into terms ----------------------------------------------------------------------------------------------


def data_terms(settings: Settings) -> DataTerms:
    feed = settings.feed
    hosts = data_hosts_of(settings.exchange) if settings.exchange else DataHosts()
    catalog = CatalogPlan(series=tuple(feed.series))
    return DataTerms(
        hosts=hosts, catalog=catalog, sockets=feed.sockets, check_s=feed.check_s, price_key=price_key(settings)
    )


def watch_terms(feed: FeedSettings) -> WatchTerms:
    return WatchTerms(silence_ms=round(feed.silence_s * 1000), refresh_ms=round(feed.refresh_s * 1000))


def recorder_terms(record: RecordSettings) -> RecorderTerms:
    return RecorderTerms(disk_bytes_max=round(record.disk_gb * 2**30), segment_s_max=record.segment_minutes * 60)
