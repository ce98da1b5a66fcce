"""Our orders and trades as the user channel tells them, over real sockets that close, lie and fall silent."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import hypothesis.strategies as st
import msgspec
from hypothesis import given

from polybot.domain.events import FillMatched
from polybot.domain.market import Side
from polybot.domain.units import Millis
from polybot.venue.polymarket.socket import SocketTerms, TextSocket
from polybot.venue.polymarket.user_stream import UserStream
from polybot.venue.polymarket.wire import Pong, Undecodable
from polybot.venue.polymarket.wire_user import OrderSeen, TradePhase, TradeSeen, decode_user
from tests.venue.builders import price, shares
from tests.venue.polymarket.desk import CREDENTIALS, Desk, a_desk, a_venue, hosts, taken
from tests.venue.polymarket.liar import WindowClock, soon
from tests.venue.polymarket.orders import CONDITION, NOW, TOKENS, an_intent, approved
from tests.venue.polymarket.test_venue_orders import hash_of, kinds

OURS = "0x" + "aa" * 32
HASTY = SocketTerms(ping_s=0.05, pong_s=0.3, connect_s=1.0, send_s=0.3, close_s=0.05)
ORDER = {
    "event_type": "order", "id": OURS, "owner": "k", "market": CONDITION, "asset_id": TOKENS[0], "side": "BUY",
    "order_owner": "k", "original_size": "10", "size_matched": "0", "price": "0.52", "associate_trades": None,
    "outcome": "Yes", "type": "PLACEMENT", "created_at": "1782753357", "expiration": "0", "order_type": "GTC",
    "status": "LIVE", "maker_address": "0x1", "timestamp": "1782753357257",
}  # fmt: skip
TRADE = {
    "event_type": "trade", "type": "TRADE", "id": "t1", "taker_order_id": OURS, "market": CONDITION,
    "asset_id": TOKENS[0], "side": "BUY", "size": "10", "fee_rate_bps": "0", "price": "0.52", "status": "MATCHED",
    "match_time": "1782753357", "last_update": "1782753357", "outcome": "Yes", "owner": "k", "trade_owner": "k",
    "maker_address": "0x1", "transaction_hash": None, "bucket_index": 0, "trader_side": "TAKER",
    "timestamp": "1782753357257",
    "maker_orders": [{"order_id": "0xbb", "owner": "o", "maker_address": "0x2", "matched_amount": "10", "price": "0.52",
                      "fee_rate_bps": "0", "asset_id": TOKENS[0], "outcome": "Yes", "outcome_index": 0,
                      "side": "SELL"}],
}  # fmt: skip


def decoded(message: object):
    return decode_user(json.dumps(message), NOW)


def test_the_documented_frames_are_read():
    (order,), (trade,) = decoded(ORDER), decoded([TRADE])
    assert isinstance(order, OrderSeen)
    assert isinstance(trade, TradeSeen)
    assert (order.hash, order.price, order.shares, order.status) == (OURS, price("0.52"), shares("10"), "LIVE")
    assert order.at == 1_782_753_357_257
    assert (trade.phase, trade.shares, trade.matched_at) == (TradePhase.MATCHED, shares("10"), 1_782_753_357_000)
    assert trade.makers[0].side is Side.SELL


def test_words_and_numbers_that_vary_are_read_too():
    (killed,) = decoded(
        ORDER | {"type": "CANCELLATION", "status": "CANCELED_FOK orders are killed", "size_matched": ""}
    )
    (cancelled,) = decoded(ORDER | {"type": "CANCELLATION", "status": "LIVE", "side": "buy"})
    (prefixed,) = decoded(TRADE | {"status": "TRADE_STATUS_MATCHED_NOT_BROADCASTED", "price": "0.5233333333"})
    assert isinstance(killed, OrderSeen)
    assert not killed.is_open
    assert isinstance(cancelled, OrderSeen)
    assert not cancelled.is_open
    assert isinstance(prefixed, TradeSeen)
    assert (prefixed.phase, prefixed.price) == (TradePhase.MATCHED, None)


def test_nothing_is_dated_after_it_was_told():
    for told in ("9999999999", 9_999_999_999_999):
        order, trade = decoded([ORDER | {"timestamp": told}, TRADE | {"match_time": told, "timestamp": told}])
        assert (order.at, trade.matched_at, trade.updated_at) == (NOW, NOW, NOW)


def test_one_bad_message_costs_no_other():
    bad = TRADE | {"size": "-1"}
    found = decoded([ORDER, bad, TRADE | {"status": "DREAMT"}, TRADE])
    assert [type(event) for event in found] == [OrderSeen, Undecodable, Undecodable, TradeSeen]
    assert decode_user("PONG", NOW) == [Pong()]
    assert isinstance(decode_user(b"\xff{", NOW)[0], Undecodable)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_no_frame_however_broken_raises(frame):
    assert decode_user(frame, NOW) is not None


@given(st.sampled_from([ORDER, TRADE]), st.data())
def test_no_field_however_absurd_raises_or_brings_an_absurd_number(message, data):
    field = data.draw(st.sampled_from(sorted(message)))
    for event in decoded([message | {field: data.draw(ANYTHING)}]):
        if isinstance(event, OrderSeen):
            assert event.price is None or 0 < event.price < 1_000_000
            assert event.shares >= 0
            assert event.matched >= 0
        elif isinstance(event, TradeSeen):
            assert event.shares >= 0


class Ears:
    """A user stream that runs, and what it heard."""

    def __init__(self, desk: Desk) -> None:
        self.heard: list[OrderSeen | TradeSeen] = []
        self.connects = 0
        socket = TextSocket(hosts(desk).user_socket, "user", WindowClock(), HASTY)
        self.stream = UserStream(socket, CREDENTIALS, WindowClock(), self.heard.append, self.connected)

    def connected(self) -> None:
        self.connects += 1


@asynccontextmanager
async def listening(desk: Desk) -> AsyncIterator[Ears]:
    ears = Ears(desk)
    running = asyncio.create_task(ears.stream.run(random.Random(1)))
    try:
        await soon(lambda: ears.connects == 1)
        yield ears
    finally:
        running.cancel()
        await ears.stream.close()


async def test_it_greets_with_its_credentials_for_the_whole_account():
    async with a_desk() as desk, listening(desk):
        assert desk.greetings == [
            {"auth": {"apiKey": "the-key", "secret": "c2VjcmV0", "passphrase": "the-phrase"}, "type": "user"}
        ]


async def test_what_is_told_is_heard_and_every_connection_asks_for_a_reading():
    async with a_desk() as desk, listening(desk) as ears:
        await desk.say(ORDER)
        await desk.say([TRADE])
        await soon(lambda: len(ears.heard) == 2)
        assert ears.connects == 1
        await desk.sockets[0].close()
        await soon(lambda: ears.connects == 2)
        await desk.say(TRADE)
        await soon(lambda: len(ears.heard) == 3)


async def test_what_cannot_be_read_may_have_been_a_fill_and_asks_for_a_reading_too():
    async with a_desk() as desk, listening(desk) as ears:
        await desk.say(TRADE | {"size": "many"})
        await soon(lambda: ears.connects == 2)
        assert ears.stream.unreadable == 1


async def test_a_venue_that_refuses_is_asked_again():
    async with a_desk() as desk:
        desk.refuses = 503
        ears = Ears(desk)
        running = asyncio.create_task(ears.stream.run(random.Random(1)))
        await asyncio.sleep(0.05)
        assert not ears.stream.is_open
        desk.refuses = None
        await soon(lambda: ears.connects == 1)
        running.cancel()
        await ears.stream.close()


async def test_a_fill_heard_on_the_channel_is_drained_as_facts():
    async with a_venue() as (desk, venue):
        intent = an_intent(limit="0.52")
        name = hash_of(venue, intent)
        desk.answer = lambda body: taken(order_id=name)
        await venue.place(approved(intent), NOW)
        (order,), (trade,) = decoded(ORDER | {"id": name}), decoded(TRADE | {"taker_order_id": name})
        assert venue.hear(order)
        assert venue.hear(trade)
        assert venue.hear(msgspec.structs.replace(trade, phase=TradePhase.CONFIRMED))
        replies = venue.advance(Millis(NOW + 1))
        assert kinds(replies) == ["OrderAccepted", "FillMatched", "FillConfirmed"]
        fill = next(reply for reply in replies if isinstance(reply, FillMatched))
        assert (fill.market, fill.price, fill.shares) == (intent.market, price("0.52"), shares("10"))


async def test_news_of_other_peoples_orders_says_nothing():
    async with a_venue() as (_, venue):
        (order,), (trade,) = decoded(ORDER), decoded(TRADE)
        assert not venue.hear(order)
        assert not venue.hear(trade)
        assert venue.advance(NOW) == []
