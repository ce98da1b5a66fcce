"""`trades_20min` and `protocol`: what their lines become, and what happens to damaged ones."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from polybot.domain.errors import BadInput
from polybot.domain.events import BookReplaced, LevelsChanged, MarketListed, ReferencePriced, TradePrinted
from polybot.domain.fees import FeeSchedule
from polybot.domain.market import Outcome, Side
from polybot.importing.registry import ImportSummary, import_tape
from polybot.importing.trades_20min import BOOK_COLUMNS, MARKET_COLUMNS, TRADE_COLUMNS
from polybot.storage.tape import read_tape

# Untyped, so that expected events can be written with plain numbers.
book_of: Any = BookReplaced
trade_of: Any = TradePrinted
price_of: Any = ReferencePriced

AT = 1_773_170_726_526
SLUG = "btc-updown-5m-1773170700"


def gz(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode()))


# -- trades_20min ------------------------------------------------------------------------------------------------------


def csv_source(folder: Path, books: list[str], trades: list[str]) -> Path:
    gz(folder / "active_markets.csv.gz", "\n".join([",".join(MARKET_COLUMNS), f"0xea,{SLUG},5m,11,22"]) + "\n")
    gz(folder / "book_snapshots.csv.gz", "\n".join([",".join(BOOK_COLUMNS), *books]) + "\n")
    gz(folder / "live_trades.csv.gz", "\n".join([",".join(TRADE_COLUMNS), *trades]) + "\n")
    return folder


def book_row(at: int = AT, token: str = "11") -> str:
    bids = ["0.53", "29.53", "0.52", "403.5", "", "", "", "", "", ""]
    asks = ["0.54", "221.48", "0.55", "266.63", "", "", "", "", "", ""]
    return ",".join([str(at), "0xea", token, *bids, *asks])


def test_trades_and_books_come_in_order_of_time(tmp_path):
    trades = [f"{AT + 9},0xea,22,SELL,0.46,3.09", f"{AT + 2},0xea,11,BUY,0.53,27.599981"]
    import_tape("trades_20min", csv_source(tmp_path, [book_row()], trades), tmp_path / "a.tape")
    listed, book, first, second = read_tape(tmp_path / "a.tape")
    assert isinstance(listed, MarketListed)
    assert listed.market.tokens == ("11", "22")
    assert book == book_of(
        AT, AT, SLUG, Outcome.UP, [520_000, 530_000], [403_500_000, 29_530_000],
        [540_000, 550_000], [221_480_000, 266_630_000],
    )  # fmt: skip
    assert first == trade_of(AT + 2, AT + 2, SLUG, Outcome.UP, Side.BUY, 530_000, 27_599_981)
    assert second == trade_of(AT + 9, AT + 9, SLUG, Outcome.DOWN, Side.SELL, 460_000, 3_090_000)


@pytest.mark.parametrize(
    ("trade", "trouble"),
    [
        (f"{AT},0xea,11,HOLD,0.5,1", "neither BUY nor SELL"),
        (f"{AT},0xea,11,BUY,nan,1", "not a number"),
        (f"{AT},0xea,11,BUY,1.5,1", "not between 0 and 1"),
        (f"{AT},0xea,11,BUY,0.5,-1", "not a possible number"),
        (f"{AT},0xea,33,BUY,0.5,1", "not one of btc-updown"),
        (f"{AT},0xzz,11,BUY,0.5,1", "not in active_markets"),
        ("soon,0xea,11,BUY,0.5,1", "not a time"),
        (f"{AT},0xea,11,BUY,0.5", "5 fields where there are 6"),
    ],
)
def test_a_damaged_trade_is_named_by_line_and_nothing_is_written(tmp_path, trade, trouble):
    source = csv_source(tmp_path, [], [f"{AT},0xea,11,BUY,0.5,1", trade])
    with pytest.raises(BadInput, match=rf"live_trades\.csv\.gz: line 3: .*{trouble}"):
        import_tape("trades_20min", source, tmp_path / "a.tape")
    assert not list(tmp_path.glob("*.tape*"))


def test_a_cut_gzip_is_named(tmp_path):
    source = csv_source(tmp_path, [book_row(AT + number) for number in range(200)], [])
    books = source / "book_snapshots.csv.gz"
    books.write_bytes(books.read_bytes()[:-20])
    with pytest.raises(BadInput, match=r"book_snapshots\.csv\.gz: after line \d+: damaged or cut off"):
        import_tape("trades_20min", source, tmp_path / "a.tape")


# -- protocol ----------------------------------------------------------------------------------------------------------

RECORDED_MARKET = {
    "market_id": "2100099",
    "slug": "btc-updown-15m-1777410900",
    "asset": "BTC",
    "condition_id": "0xd9",
    "outcomes": [{"token_id": "11", "outcome": "Up"}, {"token_id": "22", "outcome": "Down"}],
    "start_ts": 1777410900000,
    "end_ts": 1777411800000,
    "resolution_source": "https://data.chain.link/streams/btc-usd",
    "tick_size": 0.01,
    "min_order_size": 5.0,
    "fee_parameters": {
        "fees_enabled": True,
        "raw_fee_config": {"exponent": 1, "rate": 0.072, "rebateRate": 0.2, "takerOnly": True},
    },
}
REST = {"asset_id": "11", "timestamp": "1777325642000", "bids": [{"price": "0.01", "size": "1"}], "asks": []}
CHANGE = {
    "event_type": "price_change",
    "timestamp": "1777325642500",
    "price_changes": [
        {"asset_id": "22", "price": "0.5", "size": "7", "side": "BUY", "best_bid": "0.5", "best_ask": ""},
    ],
}
BINANCE = {"stream": "btcusdt@trade", "data": {"e": "trade", "s": "BTCUSDT", "p": "76177.85000000", "T": 1777325642600}}
COINBASE = {"type": "ticker", "product_id": "ETH-USD", "price": "2291.52", "time": "2026-04-27T21:34:06.909950Z"}
CHAINLINK = {
    "topic": "crypto_prices_chainlink",
    "type": "update",
    "payload": {"symbol": "btc/usd", "timestamp": 1777325643000, "value": 76211.8},
}
NOW = 1_777_325_643_500


def protocol(folder: Path, frames: list) -> tuple[ImportSummary, list[Any]]:
    lines = [
        json.dumps({"source": source, "recv_wall_ts": NOW + number, "payload": json.dumps(payload)})
        if isinstance(source, str)
        else payload
        for number, (source, payload) in enumerate(frames)
    ]
    gz(folder / "session.raw.jsonl.gz", "\n".join(lines) + "\n")
    (folder / "session.markets.jsonl").write_text(json.dumps(RECORDED_MARKET) + "\n")
    summary = import_tape("protocol", folder, folder / "a.tape")
    return summary, list(read_tape(folder / "a.tape"))


def test_raw_frames_of_every_source_become_events(tmp_path):
    frames = [
        ("polymarket_clob", REST),
        ("polymarket_clob", CHANGE),
        ("binance", BINANCE),
        ("coinbase", COINBASE),
        ("polymarket_rtds_chainlink", CHAINLINK),
    ]
    summary, events = protocol(tmp_path, frames)
    listed, rest, change, binance, coinbase, chainlink = events
    assert listed.market.fees == FeeSchedule(rate=72_000, rebate_rate=200_000)
    assert isinstance(rest, BookReplaced)
    assert isinstance(change, LevelsChanged)
    assert binance == price_of(1777325642600, NOW + 2, "BTC", "binance", 76_177_850_000)
    assert coinbase == price_of(1777325646909, NOW + 3, "ETH", "coinbase", 2_291_520_000)
    assert (chainlink.source, chainlink.price) == ("rtds-chainlink", 76_211_800_000)
    assert summary.remarks == []


def test_unknown_frames_and_malformed_lines_are_counted_with_their_place(tmp_path):
    frames = [
        ("polymarket_clob", REST),
        ("polymarket_clob", {"event_type": "surprise"}),
        ("pyth_proxy", {"binary": {}}),
        ("binance", {"stream": "btcusdt@trade", "data": {"s": "BTCUSDT", "p": "NaN", "T": 1777325642600}}),
        (None, '{"source": "polymarket_clob", "recv_'),
        ("coinbase", {"type": "subscriptions", "channels": []}),
    ]
    summary, events = protocol(tmp_path, frames)
    assert [type(event) for event in events] == [MarketListed, BookReplaced]
    text = "\n".join(summary.remarks)
    for remark, line in (
        ("1 polymarket_clob messages not understood", 2),
        ("1 pyth_proxy frames not understood", 3),
        ("1 binance frames not understood", 4),
        ("1 lines that are not frames", 5),
    ):
        assert any(remark in row and f"line {line}" in row for row in summary.remarks), (remark, text)


def test_a_session_without_its_markets_is_refused(tmp_path):
    gz(tmp_path / "session.raw.jsonl.gz", "")
    with pytest.raises(BadInput, match=r"session\.markets\.jsonl: the session's list of markets is missing"):
        import_tape("protocol", tmp_path, tmp_path / "a.tape")


def test_a_folder_without_sessions_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no session in it"):
        import_tape("protocol", tmp_path, tmp_path / "a.tape")


@pytest.mark.parametrize(
    "change",
    [
        {"end_ts": 1777410900000},
        {"tick_size": 0.003},
        {"slug": "x"},
        {"outcomes": []},
        {"resolution_source": "a friend"},
    ],
)
def test_a_damaged_market_of_a_session_is_named_by_line(tmp_path, change):
    gz(tmp_path / "session.raw.jsonl.gz", "")
    (tmp_path / "session.markets.jsonl").write_text(json.dumps({**RECORDED_MARKET, **change}) + "\n")
    with pytest.raises(BadInput, match=r"session\.markets\.jsonl: line 1: "):
        import_tape("protocol", tmp_path, tmp_path / "a.tape")
