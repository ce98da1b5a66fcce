"""Reference prices: from either socket, each with its source and date; what stops is made anew, what repeats is not."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from polybot.clock import SystemClock
from polybot.domain.events import ReferencePriced
from polybot.venue.polymarket.keys import Credentials
from polybot.venue.polymarket.price_channels import PolyBoltChannel, PriceChannel, RtdsChannel
from polybot.venue.polymarket.prices import PriceSocket, PriceTerms
from tests.venue.polymarket.liar import soon
from tests.venue.polymarket.price_server import KEY, PriceServer, bolt, price_server, rtds

HASTY = PriceTerms(
    silence_s=60.0, stopped_s=60.0, close_s=0.05, look_s=0.01, retry_s_first=0.02, retry_s_max=0.05, refused_s=60.0
)
GOOD_KEY = Credentials(key=KEY["apiKey"], secret=KEY["secret"], passphrase=KEY["passphrase"])


def now() -> int:
    return SystemClock().now_ms()


class Listener:
    def __init__(self, socket: PriceSocket) -> None:
        self.socket, self.prices = socket, list[ReferencePriced]()

    @property
    def told(self) -> list[tuple[str, str, int]]:
        return [(price.asset, price.source, price.price) for price in self.prices]


@asynccontextmanager
async def listening(channel: PriceChannel, terms: PriceTerms = HASTY) -> AsyncIterator[Listener]:
    listener = Listener(PriceSocket(channel, SystemClock(), random.Random(2), terms))
    running = asyncio.create_task(listener.socket.run(listener.prices.append))
    try:
        yield listener
    finally:
        running.cancel()
        await asyncio.wait([running])


@asynccontextmanager
async def rtds_prices(terms: PriceTerms = HASTY) -> AsyncIterator[tuple[PriceServer, Listener]]:
    async with price_server() as server, listening(RtdsChannel(("BTC", "ETH"), server.url), terms) as listener:
        await soon(lambda: bool(server.heard))
        yield server, listener


@asynccontextmanager
async def bolt_prices(key: Credentials = GOOD_KEY) -> AsyncIterator[tuple[PriceServer, Listener]]:
    async with price_server() as server, listening(PolyBoltChannel(("BTC",), key, server.url)) as listener:
        await soon(lambda: bool(server.heard))
        yield server, listener


async def test_rtds_is_asked_as_documented() -> None:
    async with rtds_prices() as (server, _):
        asked = json.loads(server.heard[0])
        assert asked["action"] == "subscribe"
        assert asked["subscriptions"] == [
            {"topic": "crypto_prices", "type": "update", "filters": "btcusdt,ethusdt"},
            {"topic": "crypto_prices_chainlink", "type": "*", "filters": '{"symbol":"btc/usd"}'},
            {"topic": "crypto_prices_chainlink", "type": "*", "filters": '{"symbol":"eth/usd"}'},
            {"topic": "crypto_prices_twap_sixty", "type": "update", "filters": '{"symbol":"btc/usd"}'},
            {"topic": "crypto_prices_twap_sixty", "type": "update", "filters": '{"symbol":"eth/usd"}'},
        ]


async def test_every_price_keeps_its_source_and_its_date() -> None:
    async with rtds_prices() as (server, listener):
        at = now()
        await server.say(rtds(65000.5, at), rtds(64990.25, at - 300, "crypto_prices", "btcusdt"))
        await soon(lambda: len(listener.prices) == 2)
        assert listener.told == [("BTC", "rtds-chainlink", 65_000_500_000), ("BTC", "rtds-binance", 64_990_250_000)]
        assert [price.at for price in listener.prices] == [at, at - 300]
        assert set(listener.socket.health().ages_ms) == {"BTC rtds-chainlink", "BTC rtds-binance"}


async def test_polybolt_is_given_the_key_and_then_asked_for_the_average_that_settles() -> None:
    async with bolt_prices() as (server, listener):
        await soon(lambda: len(server.heard) == 2)
        assert json.loads(server.heard[0]) == {"op": "auth", "rid": "a1", "auth": KEY}
        assert json.loads(server.heard[1])["subscriptions"] == [
            {"channel": "price.crypto.twap", "filter": {"symbol": "btcusd", "window_seconds": 60}},
            {"channel": "price.crypto", "filter": {"symbol": "btcusd"}},
        ]
        await server.say(bolt("64126.12345678", now(), 1), bolt("64127.0", now(), 1, "price.crypto"))
        await soon(lambda: len(listener.prices) == 2)
        assert listener.told == [
            ("BTC", "polybolt-chainlink-twap60", 64_126_123_457), ("BTC", "polybolt-pyth", 64_127_000_000),
        ]  # fmt: skip


async def test_a_key_that_is_refused_is_not_offered_again_at_once_and_never_shown() -> None:
    wrong = msgspec.structs.replace(GOOD_KEY, secret="wr0ng")
    async with bolt_prices(wrong) as (server, listener):
        await soon(lambda: "auth_invalid" in listener.socket.health().trouble)
        await asyncio.sleep(0.1)
        assert len(server.connections) == 1
        assert "wr0ng" not in f"{wrong} {wrong!r} {listener.socket.health()}"


async def test_frames_the_server_says_were_lost_are_counted() -> None:
    async with bolt_prices() as (server, listener):
        await soon(lambda: len(server.heard) == 2)
        await server.say(bolt("64126.0", now(), 1), bolt("64127.0", now() + 1, 5))
        await soon(lambda: listener.socket.health().lost == 3)


async def test_what_a_new_connection_says_again_is_not_handed_on_again() -> None:
    async with rtds_prices() as (server, listener):
        at = now()
        await server.say(rtds(65000.5, at))
        await soon(lambda: len(listener.prices) == 1)
        await server.connections[-1].close()
        await soon(lambda: len(server.connections) == 2)
        data = [{"timestamp": at - 1000, "value": 64000.0}, {"timestamp": at, "value": 65000.5}]
        snapshot = {"topic": "crypto_prices", "type": "subscribe", "payload": {"symbol": "btc/usd", "data": data}}
        await soon(lambda: len(server.heard) == 2)
        await server.say(snapshot, rtds(65001.0, at + 500))
        await soon(lambda: len(listener.prices) == 2)
        assert (listener.prices[1].price, listener.socket.health().repeated) == (65_001_000_000, 2)


async def test_a_price_of_the_future_is_not_taken() -> None:
    async with rtds_prices() as (server, listener):
        await server.say(rtds(65000.5, now() + 600_000), rtds(65000.25, now()))
        await soon(lambda: len(listener.prices) == 1)
        assert (listener.prices[0].price, listener.socket.health().future) == (65_000_250_000, 1)


async def test_a_socket_that_stays_open_and_brings_no_price_is_made_anew() -> None:
    terms = msgspec.structs.replace(HASTY, silence_s=0.2)
    async with rtds_prices(terms) as (server, listener):
        for _ in range(12):
            await server.say("")  # the keep-alive is no price
            await asyncio.sleep(0.02)
        await soon(lambda: len(server.connections) >= 2)
        assert "no price for" in listener.socket.health().trouble


async def test_one_source_that_stops_while_others_go_on_makes_the_socket_anew() -> None:
    terms = msgspec.structs.replace(HASTY, stopped_s=0.2)
    async with rtds_prices(terms) as (server, listener):
        await server.say(rtds(65000.5, now()))
        while len(server.connections) < 2:
            await server.say(rtds(64990.0, now(), "crypto_prices", "btcusdt"))
            await asyncio.sleep(0.01)
        assert "rtds-chainlink of BTC stopped" in listener.socket.health().trouble


async def test_rubbish_is_counted_and_stops_nothing() -> None:
    async with rtds_prices() as (server, listener):
        await server.say("{", "[]", '{"topic":"crypto_prices","payload":{"symbol":"btcusdt"}}', rtds(65000.5, now()))
        await soon(lambda: len(listener.prices) == 1)
        assert (listener.socket.health().unreadable, len(server.connections)) == (3, 1)


async def test_it_pings_rtds() -> None:
    channel = RtdsChannel(("BTC",))
    channel.ping_s = 0.02
    async with price_server() as server:
        channel.url = server.url
        async with listening(channel):
            await soon(lambda: server.heard.count("PING") >= 2)


async def test_a_server_that_does_not_want_us_is_left_alone_and_one_that_is_replaced_is_not() -> None:
    async with price_server() as server:
        server.closes_with = 4008
        async with listening(PolyBoltChannel(("BTC",), GOOD_KEY, server.url)) as listener:
            await soon(lambda: listener.socket.health().reconnects == 1)
            await asyncio.sleep(0.1)
            assert len(server.connections) == 1
