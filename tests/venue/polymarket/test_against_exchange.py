"""The live feed against the loopback exchange, written by others from the same documents: each proves the other."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from polybot.domain.book import BookState
from polybot.domain.events import MarketResolved, ReferencePriced
from polybot.domain.ids import MarketId
from polybot.domain.markets import MarketState
from polybot.domain.units import UNIT, Millis, Price
from polybot.exchange.core.model import Address
from polybot.exchange.exchange import Exchange
from polybot.exchange.fast_clock import FastClock
from polybot.exchange.server import Server, create_app, serve
from polybot.exchange.surroundings import Surroundings
from polybot.exchange.tape_market import MarketTerms
from polybot.exchange.timetable import plan_series
from polybot.floor.feeder import Feeder, FeedPace
from polybot.risk.known_terms import unknown_terms
from polybot.venue.polymarket.catalog import CatalogPlan
from polybot.venue.polymarket.keys import Credentials
from polybot.venue.polymarket.loopback import data_hosts_of
from polybot.venue.polymarket.market_data import DataTerms, LiveData, live_data
from polybot.venue.polymarket.wire import Undecodable
from tests.exchange.tapes import PRESENT_START, plain_windows
from tests.floor.feeds import NotingFloor
from tests.venue.polymarket.liar import soon

PACE = FeedPace(tick_s=0.05, look_s=0.05, catalog_s=0.3, retry_s_first=0.05, retry_s_max=0.2)
SERIES = ("BTC-15m", "ETH-15m")


class Rehearsal:
    """A floor that only looks, on live data from the exchange; `frames` is every frame as it came."""

    def __init__(self, around: Surroundings, server: Server, clock: FastClock, sockets: int) -> None:
        self.around, self.server, self.clock, self.floor = around, server, clock, NotingFloor()
        self.floor.room.state.began = clock.now_ms()
        self.frames: list[tuple[str, str]] = []
        keys = around.exchange.keys.issue(Address("0x" + "11" * 20))
        hosts = data_hosts_of(server.url)
        key = Credentials(key=keys.api_key, secret=keys.secret, passphrase=keys.passphrase)
        terms = DataTerms(hosts=hosts, catalog=CatalogPlan(series=SERIES), sockets=sockets, check_s=0.3, price_key=key)
        self.data: LiveData = live_data(
            terms, clock, random.Random(6), self.floor.room.markets.by_id.get,
            tap=lambda socket, _, frame: self.frames.append((socket, str(frame))),
        )  # fmt: skip
        self.feeder = Feeder(self.data.feed, self.floor, clock, random.Random(7), pace=PACE)

    @property
    def states(self) -> list[MarketState]:
        return list(self.floor.room.markets.by_id.values())

    def open_now(self, asset: str) -> MarketState | None:
        now = self.clock.now_ms()
        mine = [s for s in self.states if s.market.asset == asset]
        return next((s for s in mine if s.market.window_start <= now < s.market.window_end), None)

    def stands(self, asset: str, start: int) -> bool:
        """Whether the window that starts then is known, followed and verified."""
        mine = [s for s in self.states if s.market.asset == asset and s.market.window_start == start]
        return bool(mine) and all(book.state is BookState.VERIFIED for book in mine[0].books)

    def is_verified(self, asset: str) -> bool:
        state = self.open_now(asset)
        return state is not None and all(book.state is BookState.VERIFIED for book in state.books)


@asynccontextmanager
async def rehearsal(version: str = "v1", *, sockets: int = 1, into_s: int = 200) -> AsyncIterator[Rehearsal]:
    """So many seconds into a window, whatever the hour is."""
    clock = FastClock(1.0, Millis(PRESENT_START + into_s * 1000))
    exchange = Exchange(clock)
    plans = plan_series(plain_windows(), ["BTC", "ETH"], version=version)
    around = Surroundings(exchange, plans, market_terms=MarketTerms(listed_ahead=4))
    server = await serve(create_app(exchange, [around.add_to]), port=0)
    running, stop = Rehearsal(around, server, clock, sockets), asyncio.Event()
    feeding = asyncio.create_task(running.feeder.run(stop))
    try:
        await soon(lambda: running.is_verified("BTC") and running.is_verified("ETH"))
        yield running
    finally:
        stop.set()
        await feeding
        await server.close()


async def test_windows_of_both_series_are_found_with_known_terms_and_their_books_verified() -> None:
    async with rehearsal() as running:
        assert {state.market.series for state in running.states} == set(SERIES)
        now = running.clock.now_ms()
        ahead = [state for state in running.states if state.market.window_start > now]
        assert {state.market.asset for state in ahead} == {"BTC", "ETH"}
        assert [unknown_terms(state.market) for state in running.states if unknown_terms(state.market)] == []
        assert {state.market.version for state in running.states} == {"v1"}


async def test_windows_of_the_new_protocol_are_found_by_its_ids() -> None:
    async with rehearsal("v2", sockets=2) as running:
        assert {state.market.version for state in running.states} == {"v2"}
        assert running.data.feed.health().sockets_up == 2


async def test_prices_of_both_sockets_come_with_their_sources() -> None:
    async with rehearsal() as running:
        references = running.floor.room.markets.references
        wanted = {"rtds-chainlink", "rtds-chainlink-twap60", "polybolt-chainlink-twap60", "polybolt-pyth"}
        await soon(lambda: wanted <= references.get("BTC", {}).keys())
        assert running.floor.of(ReferencePriced)
        assert [price.trouble for price in running.data.feed.health().price_sockets] == ["", ""]


async def test_the_rest_books_and_ours_are_the_same() -> None:
    async with rehearsal() as running:
        check = running.data.feed.health().check
        assert check is not None
        await soon(lambda: check.equal >= 4)
        assert (check.contradicted, check.unreadable, check.failed) == (0, 0, 0)


async def test_a_result_comes_from_the_catalogue_or_the_socket_once_the_window_is_over() -> None:
    async with rehearsal() as running:
        state = running.open_now("BTC")
        assert state is not None
        engine, exchange = running.around.exchange.engine, running.around.exchange
        engine.resolve(MarketId(state.market.id), Price(UNIT), exchange.now())
        exchange.publish()
        await asyncio.sleep(0.5)
        assert running.floor.of(MarketResolved) == []  # it is not over: whoever says so is not believed
        assert running.data.feed.health().early_results <= 1


async def test_every_frame_the_exchange_sends_is_understood() -> None:
    async with rehearsal() as running:
        await soon(lambda: len(running.frames) > 20)
        health = running.data.feed.health()
        assert health.unreadable == 0
        assert [price.unreadable for price in health.price_sockets] == [0, 0]
        assert {socket for socket, _ in running.frames} >= {"market", "rtds", "polybolt"}
        assert not any(isinstance(event, Undecodable) for event in running.floor.events)
        notes = running.data.catalog.take_notes()
        assert ["150 ms are assumed" in note.text for note in notes] == [True, True]  # BTC and ETH


async def test_the_next_window_stands_before_the_last_one_ends_and_its_result_comes() -> None:
    async with rehearsal(into_s=896) as running:
        last, following = running.open_now("BTC"), PRESENT_START + 900_000
        assert last is not None
        await soon(lambda: running.stands("BTC", following))
        assert running.clock.now_ms() < following, "the next window was late"
        await soon(lambda: running.clock.now_ms() > following)
        await soon(lambda: running.is_verified("BTC"))  # it may just have been asked for anew
        running.around.exchange.engine.resolve(last.market.id, Price(UNIT), running.clock.now_ms())
        running.around.exchange.publish()
        await soon(lambda: last.payout_up == UNIT)
