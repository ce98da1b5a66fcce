"""RTDS and PolyBolt over real sockets: who is let in, what is asked, what comes, and what a rehearsal switches off."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

from polybot.domain.events import ReferencePriced
from polybot.domain.units import Millis
from polybot.exchange.core.model import Address
from polybot.exchange.exchange import Exchange
from polybot.exchange.fast_clock import FastClock
from polybot.exchange.price_sockets import PriceSockets
from polybot.exchange.server import Server, create_app, serve
from polybot.exchange.surroundings import Surroundings
from polybot.exchange.timetable import plan_series
from polybot.venue.polymarket.wire_prices import decode_prices
from tests.exchange.tapes import PRESENT_START, plain_windows

SPEED = 20.0
Socket = aiohttp.ClientWebSocketResponse


class Feeds:
    def __init__(self, around: Surroundings, server: Server, session: aiohttp.ClientSession) -> None:
        self.around, self.server, self.session = around, server, session
        self.prices: PriceSockets = around.prices

    async def rtds(self, topic: str, filters: str) -> Socket:
        socket = await self.session.ws_connect(f"{self.server.ws_url}/rtds")
        wanted = {"topic": topic, "type": "*", "filters": filters}
        await socket.send_json({"action": "subscribe", "subscriptions": [wanted]})
        assert await socket.receive_str(timeout=5) == ""
        return socket

    async def bolt(self, *, authorized: bool = True) -> Socket:
        socket = await self.session.ws_connect(f"{self.server.ws_url}/polybolt/ws")
        if authorized:
            keys = self.around.exchange.keys.issue(Address("0x" + "11" * 20))
            auth = {"apiKey": keys.api_key, "secret": keys.secret, "passphrase": keys.passphrase}
            assert await told(socket, {"op": "auth", "rid": "1", "auth": auth}) == {"op": "authed", "rid": "1"}
        return socket


async def told(socket: Socket, frame: object) -> Any:
    """What comes next after a frame."""
    await socket.send_json(frame)
    return msgspec.json.decode(await socket.receive_str(timeout=5))


def wanted(channel: str, symbol: str, **more: object) -> dict[str, object]:
    subscription = {"channel": channel, "filter": {"symbol": symbol, **more}}
    return {"op": "subscribe", "rid": "s", "subscriptions": [subscription]}


@pytest.fixture
async def feeds() -> AsyncIterator[Feeds]:
    exchange = Exchange(FastClock(SPEED, Millis(PRESENT_START + 200_000)))
    around = Surroundings(exchange, plan_series(plain_windows(), ["BTC", "ETH"]))
    server = await serve(create_app(exchange, [around.add_to]), port=0)
    async with aiohttp.ClientSession() as session:
        yield Feeds(around, server, session)
    await server.close()


RTDS_CASES = [
    ("crypto_prices", "ethusdt,btcusdt", "rtds-binance", {"ETH", "BTC"}, True),
    ("crypto_prices_chainlink", '{"symbol":"btc/usd"}', "rtds-chainlink", {"BTC"}, True),
    ("crypto_prices_twap_sixty", '{"symbol":"eth/usd"}', "rtds-chainlink-twap60", {"ETH"}, False),
    ("crypto_prices_twap_thirty", "", "rtds-chainlink-twap30", {"BTC", "ETH"}, False),
]


@pytest.mark.parametrize(("topic", "filters", "source", "assets", "has_snapshot"), RTDS_CASES)
async def test_rtds_sends_what_its_filters_ask_for_and_the_feeds_decoder_reads_it(
    feeds: Feeds, topic: str, filters: str, source: str, assets: set[str], has_snapshot: bool
) -> None:
    socket = await feeds.rtds(topic, filters)
    kinds, found = [], []
    for _ in range(8):
        text = await socket.receive_str(timeout=5)
        kinds.append(msgspec.json.decode(text)["type"])
        found += [event for event in decode_prices(text, Millis(0)) if isinstance(event, ReferencePriced)]
    assert {(event.source, event.asset) for event in found} == {(source, asset) for asset in assets}
    assert ("subscribe" in kinds) is has_snapshot
    await socket.close()


async def test_an_average_over_rtds_is_exact(feeds: Feeds) -> None:
    socket = await feeds.rtds("crypto_prices_twap_sixty", '{"symbol":"btc/usd"}')
    (event,) = decode_prices(await socket.receive_str(timeout=5), Millis(0))
    assert isinstance(event, ReferencePriced)
    sent = {point.at: point.twap60 for point in feeds.around.desks["BTC"].recent}
    assert sent[event.at] == event.price


async def test_polybolt_lets_nobody_subscribe_without_a_key(feeds: Feeds) -> None:
    socket = await feeds.bolt(authorized=False)
    answer = await told(socket, wanted("price.crypto", "btcusd"))
    assert (answer["op"], answer["code"]) == ("error", "auth_required")
    bad = {"op": "auth", "rid": "a", "auth": {"apiKey": "x", "secret": "y", "passphrase": "z"}}
    assert (await told(socket, bad))["code"] == "auth_invalid"


async def test_polybolt_hangs_up_on_the_ninth_wrong_key(feeds: Feeds) -> None:
    socket = await feeds.bolt(authorized=False)
    for _ in range(9):
        await socket.send_json({"op": "auth", "rid": "a", "auth": {}})
    while not socket.closed:
        await socket.receive(timeout=5)
    assert socket.close_code == 4008


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (wanted("price.gold", "xauusd"), "bad_channel"),
        (wanted("price.crypto", "gold"), "bad_filter"),
        (wanted("price.crypto.twap", "btcusd", window_seconds=30), "bad_filter"),
        ({"op": "dance", "rid": "d"}, "bad_op"),
        ("nonsense", "bad_op"),
    ],
)
async def test_polybolt_says_what_is_wrong_with_a_request(feeds: Feeds, frame: object, code: str) -> None:
    socket = await feeds.bolt()
    assert (await told(socket, frame))["code"] == code


async def test_polybolts_sequence_has_no_gap_and_begins_with_two_minutes_of_history(feeds: Feeds) -> None:
    socket = await feeds.bolt()
    answer = await told(socket, wanted("price.crypto.twap", "btcusd", window_seconds=60))
    assert answer == {"op": "subscribed", "channel": "price.crypto.twap", "rid": "s"}
    frames = [msgspec.json.decode(await socket.receive_str(timeout=5)) for _ in range(4)]
    assert [frame["seq"] for frame in frames] == [1, 2, 3, 4]
    assert frames[0]["snapshot"]
    assert len(frames[0]["payload"]["data"]) == 120
    assert all(frame["payload"]["window_seconds"] == 60 for frame in frames)
    times = [frame["payload"]["timestamp"] for frame in frames[1:]]
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == [1000, 1000]


async def test_after_unsubscribing_nothing_more_comes(feeds: Feeds) -> None:
    socket = await feeds.bolt()
    await told(socket, wanted("price.crypto", "btcusd"))
    await socket.send_json({**wanted("price.crypto", "btcusd"), "op": "unsubscribe"})
    while msgspec.json.decode(await socket.receive_str(timeout=5)).get("op") != "unsubscribed":
        continue
    with pytest.raises(TimeoutError):
        await socket.receive_str(timeout=0.15)


async def test_a_frozen_feed_stays_open_and_says_nothing_until_it_thaws(feeds: Feeds) -> None:
    socket = await feeds.rtds("crypto_prices_twap_sixty", "")
    feeds.around.exchange.faults.frozen.add("rtds")
    await asyncio.sleep(0.1)
    late = 0
    with contextlib.suppress(TimeoutError):
        while late < 20:  # what was on its way
            await socket.receive_str(timeout=0.15)
            late += 1
    assert late < 20
    feeds.around.exchange.faults.frozen.clear()
    assert await socket.receive_str(timeout=5)


async def test_both_feeds_can_be_hung_up(feeds: Feeds) -> None:
    socket = await feeds.bolt()
    await told(socket, wanted("price.crypto", "btcusd"))
    hanging_up = asyncio.create_task(feeds.session.post(f"{feeds.server.url}/_control/hang-up-prices"))
    while not socket.closed:
        await socket.receive(timeout=5)
    (await hanging_up).release()
    assert socket.close_code == 4003
