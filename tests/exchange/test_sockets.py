"""The market and the user channel over real sockets, frame by frame."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from polybot.domain.events import LevelChange
from polybot.domain.market import Outcome, Side
from polybot.domain.units import UNIT, Money, Price
from polybot.exchange.core.model import Listing, Rules
from polybot.exchange.exchange import Exchange
from polybot.exchange.server import Server
from tests.exchange.asking import Desk
from tests.exchange.trading import BOB, Trading, a_listing, ending_in, levels

BUY, SELL, UP, DOWN = Side.BUY, Side.SELL, Outcome.UP, Outcome.DOWN


class Ear:
    """A websocket client that waits a bounded time for each frame."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def say(self, **frame: Any) -> None:
        await self.socket.send_str(json.dumps(frame))

    async def hear(self) -> Any:
        text = await self.socket.receive_str(timeout=5)
        return json.loads(text) if text.startswith(("{", "[")) else text

    async def hear_all(self) -> list[Any]:
        """Everything sent so far: the server answers PING after whatever was sent before it."""
        await self.socket.send_str("PING")
        heard = []
        while (frame := await self.hear()) != "PONG":
            heard.append(frame)
        return heard


@pytest.fixture
async def market(server: Server, ask: aiohttp.ClientSession) -> AsyncIterator[Ear]:
    async with ask.ws_connect("/ws/market") as socket:
        yield Ear(socket)


@pytest.fixture
async def user(server: Server, ask: aiohttp.ClientSession, desk: Desk) -> AsyncIterator[Ear]:
    async with ask.ws_connect("/ws/user") as socket:
        ear = Ear(socket)
        await ear.say(type="user", auth=auth_of(desk))
        assert await ear.hear_all() == []
        yield ear


def auth_of(desk: Desk) -> dict[str, str]:
    return {"apiKey": desk.key.key, "secret": desk.key.secret, "passphrase": desk.key.passphrase}


def set_level(exchange: Exchange, listing: Listing, side: Side, price: str, size: str) -> None:
    ((level, shares),) = levels([(price, size)])
    exchange.engine.change_depth(listing.market.id, [LevelChange(UP, side, level, shares)], exchange.now())
    exchange.publish()


# -- market channel ---------------------------------------------------------------------------------------------------


async def test_a_subscription_is_answered_with_an_array_of_books_best_last(market: Ear, listing: Listing) -> None:
    await market.say(assets_ids=list(listing.tokens), type="market")
    up, down = await market.hear()
    assert (up["event_type"], up["asset_id"], down["asset_id"]) == ("book", *listing.tokens)
    assert up["bids"] == [{"price": "0.49", "size": "100"}, {"price": "0.50", "size": "100"}]
    assert up["asks"] == [{"price": "0.55", "size": "100"}, {"price": "0.52", "size": "100"}]
    assert down["bids"] == [{"price": "0.45", "size": "100"}, {"price": "0.48", "size": "100"}]
    assert up["market"] == listing.market.condition_id
    assert up["tick_size"] == "0.01"
    assert up["timestamp"].isdecimal()


async def test_ping_is_answered_as_text_before_anything_is_subscribed(market: Ear) -> None:
    await market.socket.send_str("PING")
    assert await market.hear() == "PONG"


async def test_a_change_is_one_message_with_both_tokens_and_the_new_top(
    market: Ear, exchange: Exchange, listing: Listing
) -> None:
    await market.say(assets_ids=[listing.tokens[UP]], type="market")
    await market.hear()
    set_level(exchange, listing, SELL, "0.51", "7.25")
    (frame,) = await market.hear_all()
    assert frame["event_type"] == "price_change"
    up, down = frame["price_changes"]
    assert (up["asset_id"], up["price"], up["size"], up["side"]) == (listing.tokens[UP], "0.51", "7.25", "SELL")
    assert (down["price"], down["side"], down["best_bid"], down["best_ask"]) == ("0.49", "BUY", "0.49", "0.50")
    assert (up["best_bid"], up["best_ask"]) == ("0.50", "0.51")


async def test_only_what_is_subscribed_is_sent_and_it_can_be_changed(
    market: Ear, exchange: Exchange, listing: Listing
) -> None:
    other = a_listing(7, start=ending_in(600))
    exchange.engine.list_market(other, exchange.now())
    await market.say(assets_ids=[other.tokens[UP]], type="market", initial_dump=False)
    set_level(exchange, listing, SELL, "0.51", "1")
    assert await market.hear_all() == []
    await market.say(assets_ids=[listing.tokens[DOWN]], operation="subscribe")
    ((book,),) = await market.hear_all()
    assert book["asset_id"] == listing.tokens[DOWN]
    await market.say(assets_ids=[listing.tokens[DOWN]], operation="unsubscribe")
    assert await market.hear_all() == []
    set_level(exchange, listing, SELL, "0.51", "2")
    assert await market.hear_all() == []


async def test_a_trade_is_printed_and_the_whole_book_follows(
    market: Ear, desk: Desk, listing: Listing, exchange: Exchange
) -> None:
    await market.say(assets_ids=[listing.tokens[UP]], type="market")
    await market.hear()
    await desk.post(await desk.order(listing.tokens[UP], price="0.52"))
    trade, book = await market.hear_all()
    shown = (trade["event_type"], trade["price"], trade["size"], trade["side"])
    assert shown == ("last_trade_price", "0.52", "10", "BUY")
    assert (book["event_type"], book["asks"][-1]["size"], book["last_trade_price"]) == ("book", "90", "0.52")


async def test_the_custom_feature_adds_tops_new_markets_and_resolutions(
    market: Ear, exchange: Exchange, listing: Listing
) -> None:
    await market.say(assets_ids=[listing.tokens[UP]], type="market", custom_feature_enabled=True, initial_dump=False)
    assert await market.hear_all() == []
    set_level(exchange, listing, SELL, "0.51", "7")
    exchange.engine.change_tick(listing.market.id, Price(1_000), exchange.now())
    a_fresh = a_listing(8, start=ending_in(600))
    exchange.engine.list_market(a_fresh, exchange.now())
    exchange.engine.resolve(listing.market.id, Price(UNIT), exchange.now())
    exchange.publish()
    frames = {frame["event_type"]: frame for frame in await market.hear_all()}
    assert list(frames) == ["price_change", "best_bid_ask", "tick_size_change", "new_market", "market_resolved"]
    assert (frames["best_bid_ask"]["best_ask"], frames["best_bid_ask"]["spread"]) == ("0.51", "0.01")
    tick = frames["tick_size_change"]
    assert (tick["old_tick_size"], tick["new_tick_size"]) == ("0.01", "0.001")
    assert frames["new_market"]["slug"] == a_fresh.market.id
    assert frames["market_resolved"]["winning_asset_id"] == listing.tokens[UP]
    assert frames["market_resolved"]["winning_outcome"] == "Up"


async def test_a_frozen_channel_stays_open_and_says_nothing(market: Ear, desk: Desk, listing: Listing) -> None:
    await market.say(assets_ids=[listing.tokens[UP]], type="market")
    await market.hear()
    await desk.switch("freeze", channel="market")
    await desk.post(await desk.order(listing.tokens[UP]))
    assert await market.hear_all() == []
    await desk.switch("freeze", channel="market", frozen=False)
    await desk.post(await desk.order(listing.tokens[UP]))
    assert len(await market.hear_all()) == 1


async def test_a_dropped_connection_ends_without_a_close(market: Ear, desk: Desk) -> None:
    assert await market.hear_all() == []
    assert (await desk.switch("disconnect", channel="market"))["dropped"] == 1
    message = await asyncio.wait_for(market.socket.receive(), 5)
    assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


async def test_garbage_is_answered_and_harms_nobody(market: Ear, listing: Listing) -> None:
    for text in ("", "{", "[1,2]", '{"assets_ids": 5}', "\x00"):
        await market.socket.send_str(text)
    await market.say(assets_ids=[listing.tokens[UP], "no such token"], type="market")
    books = [frame for frame in await market.hear_all() if isinstance(frame, list)]
    assert [book["asset_id"] for book in books[0]] == [listing.tokens[UP]]


# -- user channel -----------------------------------------------------------------------------------------------------


async def test_a_connection_without_a_valid_key_is_ended(server: Server, ask: aiohttp.ClientSession) -> None:
    for frame in ('{"type":"user"}', '{"type":"user","auth":{"apiKey":"a","secret":"b","passphrase":"c"}}', "{"):
        async with ask.ws_connect("/ws/user") as socket:
            await socket.send_str(frame)
            message = await asyncio.wait_for(socket.receive(), 5)
            assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


async def test_a_maker_hears_of_its_fill_in_its_own_token_price_and_side(
    user: Ear, desk: Desk, exchange: Exchange, listing: Listing
) -> None:
    """Somebody buys Down at 0.49 from our bid for Up at 0.51: the top of the trade is theirs, our entry is ours."""
    placed = (await desk.post(await desk.order(listing.tokens[UP], price="0.51")))[1]
    buy_down = _order_of_bob(listing, price="0.49", size="10")
    exchange.engine.deposit(BOB, Money(100 * UNIT))
    assert exchange.engine.place(buy_down, exchange.now()) is None
    exchange.publish()
    frames: list[Any] = []
    while not any(frame.get("status") == "CONFIRMED" for frame in frames):
        frames.append(await user.hear())
    orders = [(f["type"], f["status"], f["size_matched"]) for f in frames if f["event_type"] == "order"]
    trades = [f for f in frames if f["event_type"] == "trade"]
    assert orders == [("PLACEMENT", "LIVE", "0"), ("UPDATE", "MATCHED", "10")]
    assert [f["status"] for f in trades] == ["MATCHED", "MINED", "CONFIRMED"]
    first = trades[0]
    assert (first["trader_side"], first["asset_id"], first["price"]) == ("MAKER", listing.tokens[DOWN], "0.49")
    (ours,) = first["maker_orders"]
    assert (ours["order_id"], ours["asset_id"], ours["price"]) == (placed["orderID"], listing.tokens[UP], "0.51")
    assert (ours["side"], ours["matched_amount"], ours["outcome"]) == ("BUY", "10", "Up")
    assert (first["transaction_hash"], trades[-1]["transaction_hash"][:2]) == (None, "0x")


async def test_only_the_markets_asked_for_are_streamed(
    ask: aiohttp.ClientSession, desk: Desk, listing: Listing
) -> None:
    async with ask.ws_connect("/ws/user") as socket:
        ear = Ear(socket)
        await ear.say(type="user", auth=auth_of(desk), markets=["0x00"])
        assert await ear.hear_all() == []
        await desk.post(await desk.order(listing.tokens[UP]))
        assert await ear.hear_all() == []
        await ear.say(operation="subscribe", markets=[listing.market.condition_id])
        await desk.ask("DELETE", "/cancel-all")
        assert [frame["type"] for frame in await ear.hear_all()] == ["CANCELLATION"]


async def test_a_killed_order_is_streamed_with_the_venues_words(user: Ear, desk: Desk, listing: Listing) -> None:
    body = await desk.market_order(listing.tokens[UP], side="BUY", amount="100", max_price="0.52", order_type="FOK")
    await desk.post(body)
    (frame,) = await user.hear_all()
    assert frame["status"] == "CANCELED_order couldn't be fully filled. FOK orders are fully filled or killed."


async def test_a_ghost_fill_is_streamed_as_retrying_and_failed(user: Ear, desk: Desk, listing: Listing) -> None:
    await desk.switch("rules", ghost_rate=1.0)
    await desk.post(await desk.order(listing.tokens[UP], price="0.52"))
    statuses: list[str] = []
    while "FAILED" not in statuses:
        frame = await user.hear()
        statuses += [frame["status"]] if frame["event_type"] == "trade" else []
    assert statuses == ["MATCHED", "RETRYING", "FAILED"]
    balance = (await desk.ask("GET", "/balance-allowance", query="?asset_type=COLLATERAL&signature_type=0"))[1]
    assert balance["balance"] == str(1_000 * UNIT)
    (trade,) = (await desk.ask("GET", "/data/trades"))[1]["data"]
    assert (trade["status"], trade["transaction_hash"]) == ("TRADE_STATUS_FAILED", None)


def _order_of_bob(listing: Listing, price: str, size: str) -> Any:
    return Trading(listing, Rules()).order(BOB, BUY, price, size, outcome=DOWN)
