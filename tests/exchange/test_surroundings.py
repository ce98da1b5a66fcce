"""Gamma, data API, geoblock, chain and clock over HTTP, from the exchange as it is served."""

from collections.abc import AsyncIterator

import aiohttp
import msgspec
import pytest

from polybot.domain.market import Market
from polybot.domain.units import UNIT, Millis, Money
from polybot.exchange.core.model import Address
from polybot.exchange.exchange import Exchange
from polybot.exchange.fast_clock import FastClock
from polybot.exchange.server import create_app, serve
from polybot.exchange.surroundings import Surroundings
from polybot.exchange.tape_market import MarketTerms
from polybot.exchange.timetable import plan_series
from polybot.venue.polymarket.wire_markets import MarketRefused, market_from_gamma, markets_from_gamma
from tests.exchange.tapes import FRAME_MS, PRESENT_START, plain_windows

WALLET = Address("0x" + "11" * 20)


class Site:
    """A served exchange and an HTTP session; `get` reads JSON, `raw` bytes."""

    def __init__(self, url: str, session: aiohttp.ClientSession, around: Surroundings) -> None:
        self.url, self.session, self.around = url, session, around
        self.exchange = around.exchange

    async def raw(self, path: str, status: int = 200) -> bytes:
        async with self.session.get(self.url + path) as response:
            assert response.status == status, await response.text()
            return await response.read()

    async def get(self, path: str, status: int = 200) -> object:
        return msgspec.json.decode(await self.raw(path, status))

    async def post(self, path: str, body: object, status: int = 200) -> object:
        async with self.session.post(self.url + path, json=body) as response:
            assert response.status == status, await response.text()
            return msgspec.json.decode(await response.read())

    def play_until(self, offset_ms: int) -> None:
        """The exchange's clock stands at so long after the window's start, and all that is due has happened."""
        self.exchange.clock = FastClock(start=Millis(PRESENT_START + offset_ms))
        self.exchange.engine.advance(self.exchange.now())
        self.around.step(self.exchange.now())


@pytest.fixture(params=["v1"])
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    exchange = Exchange(FastClock(start=Millis(PRESENT_START + 100_000)))
    plans = plan_series(plain_windows(), ["BTC", "ETH"], version=request.param)
    around = Surroundings(exchange, plans, market_terms=MarketTerms(listed_ahead=3))
    server = await serve(create_app(exchange, [around.add_to]), port=0)
    async with aiohttp.ClientSession() as session:
        yield Site(server.url, session, around)
    await server.close()


def slug(number: int = 0, asset: str = "btc") -> str:
    return f"{asset}-updown-15m-{(PRESENT_START + number * FRAME_MS) // 1000}"


both_versions = pytest.mark.parametrize("site", ["v1", "v2"], indirect=True)


@both_versions
async def test_a_market_read_from_gamma_is_the_market_the_exchange_lists(site: Site) -> None:
    read = market_from_gamma(await site.raw(f"/gamma/markets/slug/{slug()}"), taker_delay_ms=150)
    assert read == site.around.market.windows[slug()].listing.market  # type: ignore[index]


@both_versions
async def test_the_ids_are_in_the_field_of_their_version(site: Site) -> None:
    market = await site.get(f"/gamma/markets/slug/{slug()}")
    assert isinstance(market, dict)
    tokens = list(site.around.market.windows[slug()].listing.tokens)  # type: ignore[index]
    if market["version"] == "v1":
        assert msgspec.json.decode(market["clobTokenIds"]) == tokens
        assert "positionIds" not in market
    else:
        assert market["positionIds"] == tokens
        assert market["clobTokenIds"] is None


async def test_gamma_serves_the_types_the_venue_serves(site: Site) -> None:
    market = await site.get(f"/gamma/markets/slug/{slug()}")
    assert isinstance(market, dict)
    assert market["outcomes"] == '["Up", "Down"]'
    assert market["feeSchedule"] == {"exponent": 1, "rate": 0.07, "takerOnly": True, "rebateRate": 0.2}
    assert (market["orderMinSize"], market["orderPriceMinTickSize"]) == (5, 0.01)
    assert market["cryptoMarketConfig"]["id"] == "btc-15m-twap-60"
    assert market["eventStartTime"].endswith("Z")
    assert market["endDate"] > market["eventStartTime"]
    assert (market["active"], market["closed"], market["acceptingOrders"]) == (True, False, True)


async def test_an_event_has_its_market_its_series_and_after_a_minute_the_price_to_beat(site: Site) -> None:
    event = await site.get(f"/gamma/events/slug/{slug()}")
    assert isinstance(event, dict)
    assert event["seriesSlug"] == "btc-up-or-down-15m"
    assert event["series"][0]["id"] == "10192"
    assert event["markets"][0]["slug"] == slug()
    prices = site.around.desks["BTC"].prices(PRESENT_START)
    assert prices is not None
    assert event["eventMetadata"] == {"priceToBeat": prices.to_beat / UNIT, "finalPrice": 0}
    assert "eventMetadata" not in await site.get(f"/gamma/events/slug/{slug(1)}")  # type: ignore[operator]


async def test_a_settled_market_is_closed_with_its_payout_and_final_price(site: Site) -> None:
    site.play_until(FRAME_MS + 100_000)
    event = await site.get(f"/gamma/events/slug/{slug()}")
    assert isinstance(event, dict)
    market = event["markets"][0]
    won = site.exchange.engine.board(market["slug"]).payout_up
    assert (market["closed"], market["acceptingOrders"]) == (True, False)
    assert market["outcomePrices"] == ('["1", "0"]' if won else '["0", "1"]')
    assert market["closedTime"].endswith("+00")
    metadata = event["eventMetadata"]
    assert (metadata["finalPrice"] >= metadata["priceToBeat"]) is bool(won)


async def test_markets_are_found_by_condition_and_token_and_only_open_ones_unless_asked(site: Site) -> None:
    listing = site.around.market.windows[slug()].listing  # type: ignore[index]
    for query in (f"condition_ids={listing.market.condition_id}", f"clob_token_ids={listing.tokens[1]}"):
        (found,) = markets_from_gamma(await site.raw(f"/gamma/markets?{query}"), taker_delay_ms=150)
        assert isinstance(found, Market)
        assert found.id == slug()
    site.play_until(FRAME_MS + 100_000)
    assert await site.get(f"/gamma/markets?condition_ids={listing.market.condition_id}") == []
    assert len(await site.get(f"/gamma/markets?closed=true&condition_ids={listing.market.condition_id}")) == 1  # type: ignore[arg-type]


async def test_keyset_pages_hold_every_market_once(site: Site) -> None:
    seen: list[str] = []
    cursor = ""
    for _ in range(10):
        page = await site.get(f"/gamma/markets/keyset?limit=3{cursor}")
        assert isinstance(page, dict)
        seen += [market["slug"] for market in page["markets"]]
        if "next_cursor" not in page:
            break
        cursor = f"&after_cursor={page['next_cursor']}"
    assert sorted(seen) == sorted(slug(n, asset) for n in range(4) for asset in ("btc", "eth"))


async def test_a_series_has_its_events(site: Site) -> None:
    events = await site.get("/gamma/events?series_id=10192&closed=false")
    assert isinstance(events, list)
    assert [event["slug"] for event in events] == [slug(n) for n in range(4)]
    series = await site.get("/gamma/series?slug=eth-up-or-down-15m")
    assert isinstance(series, list)
    assert series[0]["recurrence"] == "15m"


async def test_what_there_is_not_is_404_and_a_great_offset_is_422(site: Site) -> None:
    await site.raw("/gamma/markets/slug/nothing", 404)
    await site.raw("/gamma/events/slug/nothing", 404)
    await site.raw("/gamma/markets/77", 404)
    refused = await site.get("/gamma/markets?offset=3000", 422)
    assert isinstance(refused, dict)
    assert refused["error"] == "offset too large, use /markets/keyset"


async def test_positions_are_open_mergeable_redeemable_and_lost(site: Site) -> None:
    engine, now = site.exchange.engine, site.exchange.now()
    engine.deposit(WALLET, Money(10 * UNIT))
    engine.split(WALLET, slug(), Money(4 * UNIT), now)  # type: ignore[arg-type]

    async def count(status: str) -> int:
        page = await site.get(f"/data/v2/positions?user={WALLET}&status={status}")
        assert isinstance(page, dict)
        return len(page["data"])

    assert [await count(status) for status in ("OPEN", "MERGEABLE", "REDEEMABLE", "REDEEMABLE_LOST")] == [2, 2, 0, 0]
    site.play_until(FRAME_MS + 100_000)
    assert [await count(status) for status in ("OPEN", "MERGEABLE", "REDEEMABLE", "REDEEMABLE_LOST")] == [0, 0, 1, 1]


async def test_the_geoblock_says_what_it_was_told_to(site: Site) -> None:
    await site.post("/_control/geoblock", {"blocked": True, "country": "US", "region": "NY"})
    assert await site.get("/site/api/geoblock") == {"blocked": True, "ip": "127.0.0.1", "country": "US", "region": "NY"}


async def test_the_clock_tells_its_speed(site: Site) -> None:
    site.exchange.clock = FastClock(60.0, PRESENT_START)
    told = await site.get("/_control/clock")
    assert isinstance(told, dict)
    assert told["speed"] == 60
    assert 0 <= told["now_ms"] - PRESENT_START < 60_000


async def test_the_chain_tells_balances_and_its_time(site: Site) -> None:
    site.exchange.engine.deposit(WALLET, Money(10 * UNIT))
    call = {"to": "0xC011a7E12a19f7B1f670d46F03B03f3342E82DFB", "data": "0x70a08231" + WALLET[2:].zfill(64)}
    asked = {"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [call, "latest"]}
    told = await site.post("/rpc", asked)
    assert isinstance(told, dict)
    assert int(told["result"], 16) == 10 * UNIT
    block = await site.post("/rpc", {"jsonrpc": "2.0", "id": 2, "method": "eth_getBlockByNumber", "params": []})
    assert isinstance(block, dict)
    assert int(block["result"]["timestamp"], 16) == site.exchange.now() // 1000


async def test_gamma_can_be_told_to_serve_terms_nobody_knows(site: Site) -> None:
    await site.post("/_control/gamma", {"slug": slug(), "fields": {"feeType": "crypto_fees_v9", "version": "v3"}})
    refused = market_from_gamma(await site.raw(f"/gamma/markets/slug/{slug()}"), taker_delay_ms=150)
    assert isinstance(refused, MarketRefused)
    event = await site.get(f"/gamma/events/slug/{slug()}")
    assert isinstance(event, dict)
    assert event["markets"][0]["feeType"] == "crypto_fees_v9"
    await site.post("/_control/gamma", {"slug": slug()})
    assert isinstance(market_from_gamma(await site.raw(f"/gamma/markets/slug/{slug()}"), taker_delay_ms=150), Market)


async def test_an_unknown_switch_is_refused(site: Site) -> None:
    for name in ("market", "relayer", "gamma"):
        await site.post(f"/_control/{name}", {"nonsense": 1}, 400)
    await site.post("/_control/market", {"settled_after_ms": [90, 20]}, 400)
    await site.raw("/relayer/deployed?address=nobody", 400)


async def test_the_relayer_can_be_down_and_asks_for_its_key(site: Site) -> None:
    await site.post("/relayer/submit", {"type": "WALLET"}, 401)
    await site.post("/_control/relayer", {"down": True})
    await site.post("/relayer/submit", {"type": "WALLET"}, 503)
