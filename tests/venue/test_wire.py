"""The market channel and the price socket: the venue's own examples become events, and nothing hostile gets through."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.domain.events import (
    BookReplaced,
    LevelChange,
    LevelsChanged,
    MarketResolved,
    ReferencePriced,
    TickSizeChanged,
    TradePrinted,
)
from polybot.domain.ids import ConditionId, MarketId, TokenId
from polybot.domain.market import Outcome, Side
from polybot.domain.units import UNIT, Millis, Price, Shares
from polybot.venue.polymarket.wire import (
    Ignored,
    MarketAnnounced,
    MarketDecoder,
    Pong,
    Tokens,
    Undecodable,
)
from polybot.venue.polymarket.wire_prices import decode_prices
from polybot.venue.polymarket.wire_units import CACHE_MAX, Remembered, price_units

MARKET = MarketId("btc-updown-15m-1782753300")
UP, DOWN = TokenId("1075"), TokenId("2086")
AT, NOW = Millis(1_782_753_357_257), Millis(1_782_753_357_300)

# By hand from the examples of polymarket.md 3.1, 2.1 and 4.1, ids shortened.
BOOK: dict[str, Any] = {
    "event_type": "book",
    "market": "0x747d",
    "asset_id": UP,
    "timestamp": "1782753357257",
    "hash": "0xabc123",
    "bids": [{"price": "0.08", "size": "33343.4"}, {"price": "0.09", "size": "163939.58"}],
    "asks": [{"price": "0.99", "size": "218442.27"}, {"price": "0.98", "size": "13229.55"}],
}
CHANGE: dict[str, Any] = {
    "event_type": "price_change",
    "market": "0x747d",
    "timestamp": "1782753357257",
    "price_changes": [
        {
            "asset_id": UP,
            "price": "0.08",
            "size": "33343.4",
            "side": "BUY",
            "hash": "56621a121a47ed9333273e21c83b660cff37ae50",
            "best_bid": "0.08",
            "best_ask": "0.09",
        },
        {"asset_id": DOWN, "price": "0.92", "size": "0", "side": "SELL", "best_bid": "0", "best_ask": "1"},
    ],
}
TRADE: dict[str, Any] = {
    "event_type": "last_trade_price",
    "market": "0x747d",
    "asset_id": DOWN,
    "price": "0.08",
    "size": "219.217767",
    "fee_rate_bps": "0",
    "side": "SELL",
    "timestamp": "1782753357257",
    "transaction_hash": "0xeeefff",
}
TICK: dict[str, Any] = {
    "event_type": "tick_size_change",
    "market": "0x747d",
    "asset_id": UP,
    "old_tick_size": "0.01",
    "new_tick_size": "0.001",
    "timestamp": "1782753357257",
}
TOP: dict[str, Any] = {
    "event_type": "best_bid_ask",
    "asset_id": UP,
    "best_bid": "0.08",
    "best_ask": "0.09",
    "spread": "0.01",
    "timestamp": "1782753357257",
}
NEW: dict[str, Any] = {
    "event_type": "new_market",
    "id": "1031769",
    "market": "0x311d",
    "slug": "nvda-above-240",
    "assets_ids": ["7604", "3169"],
    "outcomes": ["Yes", "No"],
    "timestamp": "1766790415550",
    "tags": ["stocks"],
}
RESOLVED: dict[str, Any] = {
    "event_type": "market_resolved",
    "id": "1031769",
    "market": "0x747d",
    "assets_ids": [UP, DOWN],
    "winning_asset_id": DOWN,
    "winning_outcome": "Down",
    "timestamp": "1782753357257",
}
UPDATE: dict[str, Any] = {
    "topic": "crypto_prices",
    "type": "update",
    "timestamp": 1780730269142,
    "payload": {
        "symbol": "btcusdt",
        "timestamp": 1780730269000,
        "value": 61035.86,
        "full_accuracy_value": "61035.86000000",
    },
}


def decoder() -> MarketDecoder:
    tokens = Tokens()
    tokens.put(UP, MARKET, Outcome.UP)
    tokens.put(DOWN, MARKET, Outcome.DOWN)
    return MarketDecoder(tokens)


def decode(message) -> list[Any]:
    return read_frame(decoder(), json.dumps(message).encode())


def read_frame(known: MarketDecoder, frame) -> list[Any]:
    return list(known.decode(frame, NOW))


def read_prices(frame) -> list[Any]:
    return list(decode_prices(frame, NOW))


EXPECTED_BOOK = BookReplaced(
    AT,
    NOW,
    MARKET,
    Outcome.UP,
    [Price(80_000), Price(90_000)],
    [Shares(33_343_400_000), Shares(163_939_580_000)],
    [Price(980_000), Price(990_000)],
    [Shares(13_229_550_000), Shares(218_442_270_000)],
)


def test_a_book_comes_out_ascending_on_both_sides():
    assert decode(BOOK) == [EXPECTED_BOOK]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]])
def test_levels_are_sorted_however_they_are_served(order):
    levels = [{"price": f"0.0{index + 1}", "size": f"{index + 1}"} for index in order]
    (event,) = decode({**BOOK, "bids": levels, "asks": []})
    assert (event.bid_prices, event.bid_sizes) == ([10_000, 20_000, 30_000], [1_000_000, 2_000_000, 3_000_000])


def test_a_level_of_size_0_is_not_in_a_book():
    (event,) = decode({**BOOK, "bids": [{"price": "0.08", "size": "0"}, {"price": "0.07", "size": "1"}]})
    assert event.bid_prices == [70_000]


def test_a_crossed_book_is_passed_on_for_the_book_to_judge():
    (event,) = decode({**BOOK, "bids": [{"price": "0.99", "size": "1"}]})
    assert isinstance(event, BookReplaced)


def test_a_price_change_carries_both_outcomes_and_their_tops():
    assert decode(CHANGE) == [
        LevelsChanged(
            AT,
            NOW,
            MARKET,
            [
                LevelChange(Outcome.UP, Side.BUY, Price(80_000), Shares(33_343_400_000), Price(80_000), Price(90_000)),
                LevelChange(Outcome.DOWN, Side.SELL, Price(920_000), Shares(0), None, None),
            ],
        )
    ]


def test_a_trade_keeps_the_takers_side_and_all_decimals():
    size = Shares(219_217_767)
    assert decode(TRADE) == [
        TradePrinted(AT, NOW, MARKET, Outcome.DOWN, Side.SELL, Price(80_000), size, transaction="0xeeefff")
    ]


def test_a_tick_size_change_is_the_markets():
    assert decode(TICK) == [TickSizeChanged(AT, NOW, MARKET, Price(1_000))]


@pytest.mark.parametrize(("winner", "payout"), [(UP, UNIT), (DOWN, 0)])
def test_a_resolution_pays_the_winner(winner, payout):
    assert decode({**RESOLVED, "winning_asset_id": winner}) == [MarketResolved(AT, NOW, MARKET, Price(payout))]


def test_a_new_market_is_announced_though_nobody_asked():
    (event,) = decode(NEW)
    assert event == MarketAnnounced(
        slug="nvda-above-240", condition_id=ConditionId("0x311d"), tokens=(TokenId("7604"), TokenId("3169"))
    )


def test_a_top_of_book_message_is_ignored_by_name():
    assert decode(TOP) == [Ignored("best_bid_ask")]


@pytest.mark.parametrize("frame", [b"PONG", "PONG"])
def test_pong_is_text(frame):
    assert decoder().decode(frame, NOW) == [Pong()]


def test_an_array_gives_its_messages_in_order():
    kinds = [type(event) for event in decode([BOOK, CHANGE, TRADE])]
    assert kinds == [BookReplaced, LevelsChanged, TradePrinted]


def test_an_empty_array_says_nothing():
    assert decode([]) == []


@pytest.mark.parametrize(
    "bad", [{"event_type": "surprise"}, {"no": "type"}, 5, {**BOOK, "asset_id": "999"}, {**BOOK, "bids": None}]
)
def test_a_bad_message_does_not_cost_its_neighbours(bad):
    good, wrong, also_good = decode([BOOK, bad, TRADE])
    assert isinstance(good, BookReplaced)
    assert isinstance(wrong, Undecodable)
    assert isinstance(also_good, TradePrinted)


def test_an_unknown_token_is_named():
    (event,) = decode({**BOOK, "asset_id": "999"})
    assert event.reason == "token '999' is not watched"


def test_a_market_no_longer_watched_is_unknown():
    known = decoder()
    known.tokens.remove(MARKET)
    (event,) = read_frame(known, json.dumps(BOOK))
    assert isinstance(event, Undecodable)


def test_a_message_without_a_time_gets_the_time_it_was_received():
    known = decoder()
    (event,) = read_frame(known, json.dumps({key: BOOK[key] for key in BOOK if key != "timestamp"}))
    assert event.at == NOW
    assert known.untimed == 1


@pytest.mark.parametrize(
    "price", ["0", "1", "1.01", "-0.5", "NaN", "Infinity", "1e-2", "", "0.1234567", "9" * 5000, "٠.٥"]
)
def test_an_absurd_price_does_not_pass(price):
    for message in (
        {**BOOK, "bids": [{"price": price, "size": "1"}]},
        {**CHANGE, "price_changes": [{**CHANGE["price_changes"][0], "price": price}]},
        {**TRADE, "price": price},
    ):
        (event,) = decode(message)
        assert isinstance(event, Undecodable)


@pytest.mark.parametrize("size", ["-1", "NaN", "inf", "", "1e9", "10000000000", "9" * 5000])
def test_an_absurd_size_does_not_pass(size):
    for message in (
        {**BOOK, "asks": [{"price": "0.5", "size": size}]},
        {**CHANGE, "price_changes": [{**CHANGE["price_changes"][0], "size": size}]},
        {**TRADE, "size": size},
    ):
        (event,) = decode(message)
        assert isinstance(event, Undecodable)


@pytest.mark.parametrize("time", ["0", "-1", "1782753357", "x", "9" * 5000, "1782753357257000"])
def test_an_absurd_time_does_not_pass(time):
    (event,) = decode({**BOOK, "timestamp": time})
    assert isinstance(event, Undecodable)


@pytest.mark.parametrize("best", ["-1", "2", "NaN", "x"])
def test_an_absurd_top_does_not_pass(best):
    (event,) = decode({**CHANGE, "price_changes": [{**CHANGE["price_changes"][0], "best_bid": best}]})
    assert isinstance(event, Undecodable)


def test_a_price_twice_on_one_side_does_not_pass():
    (event,) = decode({**BOOK, "bids": [{"price": "0.5", "size": "1"}, {"price": "0.50", "size": "2"}]})
    assert isinstance(event, Undecodable)


def test_a_tick_that_makes_no_grid_does_not_pass():
    (event,) = decode({**TICK, "new_tick_size": "0.003"})
    assert isinstance(event, Undecodable)


def test_one_change_for_two_markets_does_not_pass():
    known = decoder()
    known.tokens.put(DOWN, MarketId("eth-updown-15m-1782753300"), Outcome.DOWN)
    (event,) = read_frame(known, json.dumps(CHANGE))
    assert isinstance(event, Undecodable)


@pytest.mark.parametrize("frame", ["[" * 100_000, '{"a":' * 100_000, b"\xff\xfe", "\ud800", "", " ", "null", "PING"])
def test_frames_made_to_hurt_are_undecodable(frame):
    (event,) = decoder().decode(frame, NOW)
    assert isinstance(event, Undecodable)
    assert len(event.excerpt) <= 200
    event.excerpt.encode()


def test_a_rest_book_is_read_without_an_event_type():
    body = {
        **{key: BOOK[key] for key in BOOK if key != "event_type"},
        "min_order_size": "5",
        "tick_size": "0.01",
        "neg_risk": False,
        "last_trade_price": "0.090",
    }
    assert decoder().decode_rest_book(json.dumps(body), NOW) == EXPECTED_BOOK


def test_what_the_rest_answers_instead_of_a_book_is_undecodable():
    body = b'{"error":"No orderbook exists for the requested token id"}'
    assert isinstance(decoder().decode_rest_book(body, NOW), Undecodable)


def test_remembered_numbers_cannot_grow_without_end():
    known = Remembered(price_units)
    for number in range(CACHE_MAX + 10):
        known[f"0.{number % 900_000 + 1:06d}"]
    assert len(known) <= CACHE_MAX


FRAMES = [json.dumps(message).encode() for message in (BOOK, CHANGE, TRADE, TICK, TOP, NEW, RESOLVED, [BOOK, CHANGE])]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([*FRAMES, json.dumps(UPDATE).encode()]),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=3), st.integers(0, 3)), max_size=5),
)
def test_mutated_frames_never_raise_and_never_pass_absurd_numbers(frame, edits):
    for position, replacement, width in edits:
        start = position % len(frame) if frame else 0
        frame = frame[:start] + replacement + frame[start + width :]
    for event in decoder().decode(frame, NOW):
        assert_sane(event)
    for event in decode_prices(frame, NOW):
        assert_sane(event)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_bytes_or_text_never_raise(frame):
    decoder().decode(frame, NOW)
    decode_prices(frame, NOW)
    decoder().decode_rest_book(frame, NOW)


def assert_sane(event):
    match event:
        case BookReplaced():
            for prices, sizes in ((event.bid_prices, event.bid_sizes), (event.ask_prices, event.ask_sizes)):
                assert prices == sorted(set(prices))
                assert len(prices) == len(sizes)
                assert all(0 < price < UNIT for price in prices)
                assert all(size > 0 for size in sizes)
        case LevelsChanged():
            assert event.changes
            assert all(0 < change.price < UNIT and change.size >= 0 for change in event.changes)
        case TradePrinted():
            assert 0 < event.price < UNIT
            assert event.size > 0
        case ReferencePriced():
            assert event.price > 0
        case _:
            pass


def test_a_binance_price_is_exact():
    expected = ReferencePriced(Millis(1_780_730_269_000), NOW, "BTC", "rtds-binance", 61_035_860_000)
    assert decode_prices(json.dumps(UPDATE), NOW) == [expected]


def test_a_chainlink_price_is_read_from_its_eighteen_decimals():
    payload = {
        "symbol": "btc/usd",
        "timestamp": 1777381686000,
        "value": 76211.80016560019,
        "full_accuracy_value": "76211800165600190000000",
    }
    frame = json.dumps({"topic": "crypto_prices_chainlink", "type": "update", "payload": payload})
    (event,) = read_prices(frame)
    assert (event.asset, event.source, event.price) == ("BTC", "rtds-chainlink", 76_211_800_166)


def test_a_subscription_is_answered_with_the_last_prices():
    data = [{"timestamp": 1777381626000, "value": 76248.86816336501}, {"timestamp": 1777381627000, "value": 76249.5}]
    frame = json.dumps({"topic": "crypto_prices", "type": "subscribe", "payload": {"symbol": "btc/usd", "data": data}})
    events = read_prices(frame)
    assert [(event.at, event.source, event.price) for event in events] == [
        (1777381626000, "rtds-chainlink", 76_248_868_163),
        (1777381627000, "rtds-chainlink", 76_249_500_000),
    ]


def test_a_twap_has_a_source_of_its_own():
    payload = {
        "symbol": "btc/usd",
        "value": 65000.5,
        "full_accuracy_value": "65000500000000000000000",
        "timestamp": 1785178800000,
        "window_s": 60,
    }
    (event,) = read_prices(json.dumps({"topic": "crypto_prices_twap_sixty", "payload": payload}))
    assert (event.source, event.price) == ("rtds-chainlink-twap60", 65_000_500_000)


@pytest.mark.parametrize("value", ["1e999999", 1e-9, "NaN", "-1", 0, 1e12, None, "Infinity"])
def test_an_absurd_reference_price_does_not_pass(value):
    payload = {"symbol": "btcusdt", "timestamp": 1780730269000, "value": value}
    (event,) = read_prices(json.dumps({"topic": "crypto_prices", "payload": payload}))
    assert isinstance(event, Undecodable)


@pytest.mark.parametrize("frame", ["", b"", "PONG"])
def test_a_keep_alive_is_no_price(frame):
    assert decode_prices(frame, NOW) == [Ignored("keep-alive")]
