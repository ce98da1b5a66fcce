"""`btc5m_ws_book` and `tob_15m`: what their rows become, and what happens to damaged ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from polybot.domain.errors import BadInput
from polybot.domain.events import BookReplaced, MarketListed, MarketResolved
from polybot.domain.market import Outcome
from polybot.domain.units import UNIT
from polybot.importing.registry import import_tape
from polybot.importing.tob_15m import SIZE_UNKNOWN
from polybot.storage.tape import TapeReader, read_tape

pyarrow = pytest.importorskip("pyarrow", reason="pip install 'polybot[importing]'")
parquet = pytest.importorskip("pyarrow.parquet", reason="pip install 'polybot[importing]'")

# Untyped, so that expected events can be written with plain numbers.
book_of: Any = BookReplaced
resolution_of: Any = MarketResolved

SLUG = "btc-updown-5m-1776153600"


def imported(source_format: str, file: Path, rows: list[dict[str, Any]]) -> list[Any]:
    parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    tape = file.with_suffix(".tape")
    import_tape(source_format, file, tape)
    return list(read_tape(tape))


# -- btc5m_ws_book -----------------------------------------------------------------------------------------------------


def message(asset: str = "22", **changes: Any) -> dict[str, Any]:
    raw = {
        "market": "0x13",
        "asset_id": asset,
        "bids": [{"price": "0.01", "size": "12584.58"}, {"price": "0.5", "size": "3"}],
        "asks": [{"price": "0.52", "size": "1"}, {"price": "0.51", "size": "299.43"}],
        "hash": "52af",
        "timestamp": "1776153610672",
        "event_type": "book",
    }
    return {"recv_ts": 1776153610.6109812, "slug": SLUG, "asset_id": asset, "raw": json.dumps({**raw, **changes})}


def test_a_websocket_book_is_the_down_tokens(tmp_path):
    listed, book = imported("btc5m_ws_book", tmp_path / "a.parquet", [message()])
    assert listed.market.quoted == (Outcome.DOWN,)
    assert listed.market.fees.rate == 72_000
    assert (listed.market.rule_set, listed.market.taker_delay_ms) == ("chainlink-spot", 0)
    assert book == book_of(
        1776153610672, 1776153610610, SLUG, Outcome.DOWN, [10_000, 500_000], [12_584_580_000, 3_000_000],
        [510_000, 520_000], [299_430_000, 1_000_000],
    )  # fmt: skip


def test_the_second_token_of_a_market_is_left_out(tmp_path):
    events = imported("btc5m_ws_book", tmp_path / "a.parquet", [message(), message("11"), message()])
    assert [type(event) for event in events] == [MarketListed, BookReplaced, BookReplaced]


def test_a_message_without_a_time_gets_its_receive_time(tmp_path):
    _, book = imported("btc5m_ws_book", tmp_path / "a.parquet", [message(timestamp="")])
    assert book.at == book.received == 1776153610610


@pytest.mark.parametrize("changes", [{"bids": "x"}, {"bids": [{"price": "2", "size": "1"}]}, {"timestamp": "soon"}])
def test_a_damaged_message_is_named_by_row_and_nothing_is_written(tmp_path, changes):
    with pytest.raises(BadInput, match=r"a\.parquet: row 1: "):
        imported("btc5m_ws_book", tmp_path / "a.parquet", [message(), message(**changes)])
    assert not list(tmp_path.glob("*.tape*"))


# -- tob_15m -----------------------------------------------------------------------------------------------------------

START = 1_766_745_000
QUOTE: dict[str, Any] = {
    "dataset": "pmb", "asset": "BTC", "start": START, "t": 254.0, "y": 1.0,
    "up_bid": 0.09, "up_bid_sz": None, "up_ask": 0.11, "up_ask_sz": 12.5,
    "dn_bid": None, "dn_bid_sz": None, "dn_ask": 0.9, "dn_ask_sz": 3.0,
}  # fmt: skip
# A column of nothing but nulls would have no type.
OTHER = {**QUOTE, "t": 255.0, "up_bid_sz": 1.0, "dn_bid": 0.89, "dn_bid_sz": 2.0}


def test_best_quotes_become_books_of_one_level(tmp_path):
    listed, up, down, *_, resolved = imported("tob_15m", tmp_path / "a.parquet", [QUOTE, OTHER])
    at = START * 1000 + 254_000
    assert listed.market.id == f"btc-updown-15m-{START}"
    assert up == book_of(at, at, listed.market.id, Outcome.UP, [90_000], [SIZE_UNKNOWN], [110_000], [12_500_000])
    assert down == book_of(at, at, listed.market.id, Outcome.DOWN, [], [], [900_000], [3_000_000])
    settled = (START + 900) * 1000 + 54_000
    assert resolved == resolution_of(settled, settled, listed.market.id, UNIT)


def test_the_tape_says_plainly_that_it_has_no_depth(tmp_path):
    imported("tob_15m", tmp_path / "a.parquet", [QUOTE, OTHER])
    header = TapeReader(tmp_path / "a.tape").header
    assert header.depth == "best"
    assert "0.01 share, which stands for unknown" in " ".join(header.notes)


def test_a_price_of_0_or_1_is_an_empty_side(tmp_path):
    events = imported("tob_15m", tmp_path / "a.parquet", [{**OTHER, "up_bid": 0.0, "up_ask": 1.0}])
    assert (events[1].bid_prices, events[1].ask_prices) == ([], [])


def test_a_market_without_an_outcome_is_not_resolved(tmp_path):
    events = imported("tob_15m", tmp_path / "a.parquet", [{**OTHER, "y": None}, {**OTHER, "start": START + 900}])
    assert [event.market for event in events if isinstance(event, MarketResolved)] == [f"btc-updown-15m-{START + 900}"]


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [
        ({"up_bid": -0.1}, "not between 0 and 1"),
        ({"up_bid": float("nan")}, "not a number"),
        ({"up_ask_sz": -5.0}, "not a possible number"),
        ({"t": 1e9}, "too far"),
        ({"y": 0.5}, "not 0 or 1"),
        ({"y": 0.0}, "not that of the market's other rows"),
        ({"start": START + 1}, "boundary"),
    ],
)
def test_a_damaged_quote_is_named_by_row_and_nothing_is_written(tmp_path, changes, trouble):
    with pytest.raises(BadInput, match=rf"a\.parquet: row 1: .*{trouble}"):
        imported("tob_15m", tmp_path / "a.parquet", [OTHER, {**OTHER, **changes}])
    assert not list(tmp_path.glob("*.tape*"))
