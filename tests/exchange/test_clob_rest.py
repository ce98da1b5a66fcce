"""The CLOB's reading and cancelling over REST, heartbeats, and what goes wrong on the way."""

import asyncio
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from polymarket import AsyncPublicClient

from polybot.clock import ReplayClock
from polybot.domain.market import Outcome
from polybot.domain.units import UNIT, Millis, Price
from polybot.exchange.clob_account import END_CURSOR
from polybot.exchange.core.model import Listing
from polybot.exchange.exchange import Exchange
from polybot.exchange.server import CannotListen, Server, create_app, serve
from polybot.exchange.wire import book_hash
from tests.exchange.asking import Desk
from tests.exchange.trading import SIGNER, environment_of

UP, DOWN = Outcome.UP, Outcome.DOWN


async def get(desk_or_session: Any, path: str, **query: str) -> Any:
    session = getattr(desk_or_session, "session", desk_or_session)
    async with session.get(f"/clob{path}", params=query) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


# -- public -----------------------------------------------------------------------------------------------------------


async def test_the_official_public_client_reads_everything_it_can_ask_of_the_clob(
    server: Server, listing: Listing
) -> None:
    up, down = (str(token) for token in listing.tokens)
    client = AsyncPublicClient(environment=environment_of(server))
    book = await client.get_order_book(asset_id=down)
    assert [(level.price, level.size) for level in book.asks] == [
        (Decimal("0.51"), Decimal(100)),
        (Decimal("0.5"), Decimal(100)),
    ]
    assert [str(found.asset_id) for found in await client.get_order_books(asset_ids=[up, down])] == [up, down]
    assert await client.get_midpoint(asset_id=up) == Decimal("0.51")
    middles = await client.get_midpoints(asset_ids=[up, down])
    assert [middles[t] for t in middles] == [Decimal("0.51"), Decimal("0.49")]
    assert await client.get_spread(asset_id=up) == Decimal("0.02")
    assert await client.get_price(asset_id=up, side="BUY") == Decimal("0.5")
    assert await client.get_last_trade_price(asset_id=up) is None
    await client.close()


async def test_market_records_carry_the_terms(ask: aiohttp.ClientSession, listing: Listing) -> None:
    condition = listing.market.condition_id
    compact = await get(ask, f"/clob-markets/{condition}")
    assert (compact["mos"], compact["mts"], compact["itode"], compact["v"]) == (5, 0.01, True, "v1")
    assert compact["fd"] == {"r": 0.07, "e": 1, "to": True}
    assert [token["t"] for token in compact["t"]] == list(listing.tokens)
    assert (await get(ask, f"/markets-by-token/{listing.tokens[1]}"))["condition_id"] == condition
    full = await get(ask, f"/markets/{condition}")
    assert (full["accepting_orders"], full["closed"], full["market_slug"]) == (True, False, listing.market.id)
    assert (await get(ask, "/markets"))["next_cursor"] == END_CURSOR
    assert await get(ask, "/tick-size", token_id=listing.tokens[0]) == {"minimum_tick_size": 0.01}
    assert await get(ask, "/neg-risk", token_id=listing.tokens[0]) == {"neg_risk": False}
    assert await get(ask, "/version") == {"version": 2}


async def test_the_winner_is_shown_once_it_is_known(
    ask: aiohttp.ClientSession, exchange: Exchange, listing: Listing
) -> None:
    exchange.engine.resolve(listing.market.id, Price(0), exchange.now())
    full = await get(ask, f"/markets/{listing.market.condition_id}")
    assert [token["winner"] for token in full["tokens"]] == [False, True]
    assert (full["accepting_orders"], full["closed"]) == (False, True)


async def test_a_books_hash_is_the_documented_one(ask: aiohttp.ClientSession, listing: Listing) -> None:
    book = await get(ask, "/book", token_id=listing.tokens[0])
    assert book["hash"] == book_hash({**book, "hash": ""})
    assert list(book)[:4] == ["market", "asset_id", "timestamp", "hash"]


async def test_time_is_in_seconds_of_the_markets_clock(ask: aiohttp.ClientSession, exchange: Exchange) -> None:
    assert abs(await get(ask, "/time") - exchange.now() / 1000) < 2


# -- a key's own ------------------------------------------------------------------------------------------------------


async def test_open_orders_come_in_pages(desk: Desk, exchange: Exchange, listing: Listing) -> None:
    await desk.switch("limits", enforced=False)
    bodies = [await desk.order(listing.tokens[0], price="0.01", size="5") for _ in range(3)]
    for body in bodies:
        await desk.post(body)
    page = (await desk.ask("GET", "/data/orders"))[1]
    assert (page["count"], page["next_cursor"]) == (3, END_CURSOR)
    beyond = (await desk.ask("GET", "/data/orders", query="?next_cursor=Mg=="))[1]
    assert (beyond["count"], beyond["next_cursor"]) == (1, END_CURSOR)
    assert (await desk.ask("GET", "/data/orders", query="?market=0x00"))[1]["count"] == 0
    assert (await desk.ask("GET", "/data/orders", query="?next_cursor=*"))[0] == 400


async def test_an_order_is_found_by_its_hash_open_or_over_and_otherwise_not(desk: Desk, listing: Listing) -> None:
    order_id = (await desk.post(await desk.order(listing.tokens[0], price="0.52")))[1]["orderID"]
    found = (await desk.ask("GET", f"/data/order/{order_id}"))[1]
    assert (found["status"], found["size_matched"], len(found["associate_trades"])) == ("MATCHED", "10", 1)
    assert (await desk.ask("GET", "/data/order/0x00"))[0] == 404


async def test_trades_are_filtered_by_time_and_market(desk: Desk, listing: Listing) -> None:
    await desk.post(await desk.order(listing.tokens[0], price="0.52"))
    (trade,) = (await desk.ask("GET", "/data/trades"))[1]["data"]
    at = int(trade["match_time"])
    for query, found in ((f"?after={at - 1}", 1), (f"?after={at}", 0), (f"?before={at}", 0), ("?market=0x00", 0)):
        assert (await desk.ask("GET", "/data/trades", query=query))[1]["count"] == found, query


async def test_cancelling_by_id_by_market_and_all(desk: Desk, listing: Listing) -> None:
    up, down = listing.tokens
    one, two = [(await desk.post(await desk.order(up)))[1]["orderID"] for _ in range(2)]
    three = (await desk.post(await desk.order(down)))[1]["orderID"]
    unknown = "0x" + "00" * 32
    reply = (await desk.ask("DELETE", "/orders", [one, unknown]))[1]
    assert reply["canceled"] == [one]
    assert reply["not_canceled"] == {unknown: "order can't be found - already canceled or matched"}
    assert (await desk.ask("DELETE", "/cancel-market-orders", {"asset_id": down}))[1]["canceled"] == [three]
    assert (await desk.ask("DELETE", "/cancel-market-orders", {}))[0] == 400
    assert (await desk.ask("DELETE", "/order", {"orderID": two}))[1]["canceled"] == [two]
    assert (await desk.ask("DELETE", "/cancel-all"))[1] == {"canceled": [], "not_canceled": {}}


async def test_a_deleted_key_opens_nothing(desk: Desk) -> None:
    assert (await desk.ask("GET", "/auth/api-keys"))[1] == {"apiKeys": [desk.key.key]}
    assert (await desk.ask("DELETE", "/auth/api-key"))[1] == "OK"
    assert (await desk.ask("GET", "/auth/api-keys"))[0] == 401


# -- heartbeats -------------------------------------------------------------------------------------------------------


async def test_a_wrong_heartbeat_is_told_the_expected_id(desk: Desk) -> None:
    first = (await desk.ask("POST", "/v1/heartbeats", {"heartbeat_id": ""}))[1]["heartbeat_id"]
    wrong = await desk.ask("POST", "/v1/heartbeats", {"heartbeat_id": "stale"})
    assert wrong == (400, {"error_msg": "Invalid Heartbeat ID", "heartbeat_id": first})
    assert (await desk.ask("POST", "/v1/heartbeats", {"heartbeat_id": first}))[0] == 200


async def test_orders_go_when_the_heartbeat_has_stopped_and_only_then(
    desk: Desk, exchange: Exchange, listing: Listing
) -> None:
    """The machine's clock is moved on by hand, once the key and its order are in."""
    await desk.post(await desk.order(listing.tokens[0]))
    clock = exchange._wall = ReplayClock(exchange.wall())
    start = clock.now_ms()
    clock.move_to(Millis(start + 60_000))
    await asyncio.sleep(0.3)
    assert len(exchange.engine.open_orders()) == 1  # no heartbeat was ever sent: no protection
    exchange.heartbeats.beat(desk.key.key, "", clock.now_ms())  # type: ignore[arg-type]
    clock.move_to(Millis(start + 70_000))
    await asyncio.sleep(0.3)
    assert len(exchange.engine.open_orders()) == 1
    clock.move_to(Millis(start + 76_000))
    await asyncio.sleep(0.4)
    assert exchange.engine.open_orders() == []


# -- what goes wrong --------------------------------------------------------------------------------------------------


async def test_an_answer_is_lost_after_the_order_was_taken(desk: Desk, listing: Listing) -> None:
    await desk.switch("fault", method="POST", path="/order", cut=True, after=True)
    with pytest.raises(aiohttp.ClientError):
        await desk.post(await desk.order(listing.tokens[0]))
    assert (await desk.ask("GET", "/data/orders"))[1]["count"] == 1


async def test_a_request_is_cut_before_the_order_was_taken(desk: Desk, listing: Listing) -> None:
    await desk.switch("fault", method="POST", path="/order", cut=True)
    with pytest.raises(aiohttp.ClientError):
        await desk.post(await desk.order(listing.tokens[0]))
    assert (await desk.ask("GET", "/data/orders"))[1]["count"] == 0


async def test_a_request_can_be_delayed_so_often_and_no_more(desk: Desk) -> None:
    loop = asyncio.get_running_loop()
    await desk.switch("fault", path="/data", delay_ms=150, times=2)
    took = []
    for _ in range(3):
        began = loop.time()
        assert (await desk.ask("GET", "/data/orders"))[0] == 200
        took.append(loop.time() - began)
    assert min(took[:2]) >= 0.15 > took[2]


async def test_a_fault_goes_on_until_it_is_cleared(desk: Desk) -> None:
    await desk.switch("fault", path="/data", status=502, times=-1)
    assert [(await desk.ask("GET", "/data/orders"))[0] for _ in range(3)] == [502, 502, 502]
    await desk.switch("clear-faults")
    assert (await desk.ask("GET", "/data/orders"))[0] == 200


async def test_an_unknown_switch_setting_is_refused(ask: aiohttp.ClientSession) -> None:
    for name, body in (("rules", {"gost_rate": 1}), ("fault", []), ("deposit", {"address": "0x1", "amount": "much"})):
        async with ask.post(f"/_control/{name}", json=body) as answer:
            assert answer.status == 400, name


async def test_the_books_are_open_and_balanced(desk: Desk, ask: aiohttp.ClientSession, listing: Listing) -> None:
    await desk.switch("deposit", address=SIGNER, amount="12.5")
    await desk.post(await desk.order(listing.tokens[0], price="0.52"))
    await asyncio.sleep(0.2)
    async with ask.get("/_control/books") as answer:
        books = await answer.json()
    assert books["held"] == books["deposited"] == 4_012_500_000
    mine = books["accounts"][SIGNER.lower()]
    assert mine["shares"] == {listing.tokens[0]: 10 * UNIT}
    assert [trade["status"] for trade in books["trades"]] == ["CONFIRMED"]
    async with ask.get("/_control/state") as answer:
        assert (await answer.json())["trading"] == "open"


async def test_the_books_tell_how_often_an_order_was_handed_in_and_what_became_of_it(
    desk: Desk, ask: aiohttp.ClientSession, listing: Listing
) -> None:
    body = await desk.order(listing.tokens[0], price="0.40")
    placed = (await desk.post(body))[1]["orderID"]
    assert (await desk.post(body))[0] == 400
    async with ask.get("/_control/books") as answer:
        books = await answer.json()
    assert books["posted"] == {placed: 2}
    assert [(order["id"], order["status"]) for order in books["orders"]] == [(placed, "LIVE")]
    assert [market["slug"] for market in books["markets"]] == [listing.market.id]


async def test_a_port_that_is_taken_is_named(server: Server, exchange: Exchange) -> None:
    with pytest.raises(CannotListen, match=f"port {server.port} on 127.0.0.1 is taken"):
        await serve(create_app(exchange), port=server.port)


async def test_a_batch_waits_for_one_taker_delay_and_keeps_its_order(
    desk: Desk, exchange: Exchange, listing: Listing
) -> None:
    bodies = [await desk.order(listing.tokens[0], price=price, size="60") for price in ("0.52", "0.52", "0.40")]
    began = asyncio.get_running_loop().time()
    entries = (await desk.ask("POST", "/orders", bodies))[1]
    assert asyncio.get_running_loop().time() - began < 5 * listing.market.taker_delay_ms / 1000
    assert [(entry["status"], entry["takingAmount"]) for entry in entries] == [
        ("matched", "60"),
        ("matched", "40"),
        ("live", ""),
    ]
    assert len(exchange.engine.open_orders()) == 2
    await desk.ask("POST", "/orders", [await desk.order(listing.tokens[0], price="0.40")])
    assert exchange.batched == 3, "one by itself came with no other"
