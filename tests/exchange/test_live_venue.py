"""The live venue's own parts against the exchange: two readings of one document, which know nothing of each other."""

import asyncio
import random
from collections.abc import AsyncIterator

import aiohttp
import pytest

from polybot.domain.book import BookState
from polybot.domain.events import MarketEvent, MarketListed, MarketResolved, ReferencePriced
from polybot.domain.ids import MarketId
from polybot.domain.market import Market, Outcome
from polybot.domain.markets import Markets
from polybot.domain.units import UNIT, Millis, Price, Shares
from polybot.exchange.core.model import Address
from polybot.exchange.exchange import Exchange
from polybot.exchange.fast_clock import FastClock
from polybot.exchange.server import Server, create_app, serve
from polybot.exchange.surroundings import Surroundings
from polybot.exchange.tape_market import MarketTerms
from polybot.exchange.timetable import plan_series
from polybot.venue.polymarket.catalog import Catalog
from polybot.venue.polymarket.geoblock import ask_geoblock
from polybot.venue.polymarket.keys import Credentials
from polybot.venue.polymarket.price_channels import PolyBoltChannel, PriceChannel, RtdsChannel
from polybot.venue.polymarket.prices import PriceSocket
from polybot.venue.polymarket.rest import Rest
from polybot.venue.polymarket.stream import MarketStream
from tests.exchange.tapes import FRAME_MS, PRESENT_START, plain_windows


class Venue:
    def __init__(self, around: Surroundings, server: Server) -> None:
        self.around, self.server, self.exchange = around, server, around.exchange

    def catalog(self) -> Catalog:
        return Catalog(Rest(f"{self.server.url}/gamma"), Rest(f"{self.server.url}/clob"), self.exchange.clock)

    @property
    def listed(self) -> dict[str, Market]:
        return {name: window.listing.market for name, window in self.around.market.windows.items()}


@pytest.fixture(params=["v1", "v2"])
async def venue(request: pytest.FixtureRequest) -> AsyncIterator[Venue]:
    exchange = Exchange(FastClock(start=Millis(PRESENT_START + 100_000)))
    plans = plan_series(plain_windows(), ["BTC", "ETH"], version=request.param)
    around = Surroundings(exchange, plans, market_terms=MarketTerms(listed_ahead=3))
    server = await serve(create_app(exchange, [around.add_to]), port=0)
    yield Venue(around, server)
    await server.close()


v1_only = pytest.mark.parametrize("venue", ["v1"], indirect=True)


async def test_the_catalogue_reads_every_window_with_the_terms_the_exchange_trades_under(venue: Venue) -> None:
    catalog = venue.catalog()
    entries = await catalog(PRESENT_START, Millis(PRESENT_START + 4 * FRAME_MS))
    await catalog.close()
    read = {entry.market.id: entry.market for entry in entries if isinstance(entry, MarketListed)}
    assert read == venue.listed
    assert len(read) == 8


async def test_the_catalogue_reads_the_result_of_a_settled_window(venue: Venue) -> None:
    venue.exchange.clock = FastClock(start=Millis(PRESENT_START + FRAME_MS + 100_000))
    venue.around.step(venue.exchange.now())
    catalog = venue.catalog()
    entries = await catalog(PRESENT_START, Millis(PRESENT_START + FRAME_MS))
    await catalog.close()
    results = {entry.market: entry.payout_up for entry in entries if isinstance(entry, MarketResolved)}
    boards = {board.market: board.payout_up for board in venue.exchange.engine.boards() if board.payout_up is not None}
    assert results == boards
    assert len(results) == 2


@v1_only
async def test_terms_nobody_knows_are_told_and_known_ones_are_not(venue: Venue) -> None:
    catalog, until = venue.catalog(), Millis(PRESENT_START + FRAME_MS)
    await catalog(PRESENT_START, until)
    assert not [note for note in catalog.take_notes() if "fee" in note.text]
    slug = next(iter(venue.listed))
    venue.around.gamma.changes[slug] = {"feeType": "unheard_of"}
    await catalog(PRESENT_START, until)
    await catalog.close()
    assert any(slug in note.text and "unheard_of" in note.text for note in catalog.take_notes())


def apply_all(markets: Markets, events: list[MarketEvent]) -> None:
    for event in events:
        markets.apply(event)


async def test_a_followed_market_has_verified_books_that_are_the_exchanges(venue: Venue) -> None:
    engine, now = venue.exchange.engine, venue.exchange.now()
    stream, markets = MarketStream(f"{venue.server.ws_url}/ws/market", venue.exchange.clock), Markets()
    slug = MarketId(f"btc-updown-15m-{PRESENT_START // 1000}")
    markets.apply(MarketListed(now, now, venue.listed[slug]))
    await stream.connect()
    await stream.learn([venue.listed[slug]])
    await stream.follow({slug})
    apply_all(markets, await asyncio.wait_for(stream.read(), 5))
    bids, asks = [(Price(460_000), Shares(7 * UNIT))], [(Price(470_000), Shares(9 * UNIT))]
    engine.replace_depth(slug, Outcome.UP, bids, asks, venue.exchange.now())
    venue.exchange.publish()
    for _ in range(2):
        apply_all(markets, await asyncio.wait_for(stream.read(), 5))
    await stream.close()
    for book in markets.by_id[slug].books:
        own_bids, own_asks = engine.book_of(slug, book.outcome)
        assert list(zip(book.bid_prices, book.bid_sizes, strict=True)) == own_bids
        assert list(zip(book.ask_prices, book.ask_sizes, strict=True)) == own_asks
        assert book.state is BookState.VERIFIED


@v1_only
@pytest.mark.parametrize("name", ["rtds", "polybolt"])
async def test_every_reference_price_comes_from_either_socket_as_the_exchange_has_it(venue: Venue, name: str) -> None:
    keys = venue.exchange.keys.issue(Address("0x" + "11" * 20))
    own = Credentials(key=keys.api_key, secret=keys.secret, passphrase=keys.passphrase)
    channel: PriceChannel = (
        RtdsChannel(("BTC", "ETH"), f"{venue.server.ws_url}/rtds")
        if name == "rtds"
        else PolyBoltChannel(("BTC", "ETH"), own, f"{venue.server.ws_url}/polybolt/ws")
    )
    socket = PriceSocket(channel, venue.exchange.clock, random.Random(1))
    prices: list[ReferencePriced] = []
    has_all = asyncio.Event()

    def take(price: ReferencePriced) -> None:
        prices.append(price)
        if {(one.asset, one.source) for one in prices} == channel.pairs:
            has_all.set()

    running = asyncio.create_task(socket.run(take))
    await asyncio.wait_for(has_all.wait(), 5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    health = socket.health()
    assert (health.unreadable, health.lost, health.repeated, health.future) == (0, 0, 0, 0)
    recent = {asset: {point.at: point for point in desk.recent} for asset, desk in venue.around.desks.items()}
    averages = [price for price in prices if "twap60" in price.source]
    assert averages
    assert all(recent[price.asset][price.at].twap60 == price.price for price in averages)


@v1_only
async def test_the_geoblock_is_understood(venue: Venue) -> None:
    url = f"{venue.server.url}/site/api/geoblock"
    assert (await ask_geoblock(url)).refusal == ""
    async with aiohttp.ClientSession() as session:
        told = {"blocked": True, "country": "US", "region": "NY"}
        async with session.post(f"{venue.server.url}/_control/geoblock", json=told) as response:
            assert response.status == 200
    assert "US-NY" in (await ask_geoblock(url)).refusal
