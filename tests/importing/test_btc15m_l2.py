"""The shipped tape is its source, event for event, and damaged sources are named and leave nothing."""

from pathlib import Path
from typing import Any

import pytest

from polybot.domain.errors import BadInput
from polybot.domain.events import BookReplaced, MarketListed, MarketResolved, TickSizeChanged
from polybot.domain.market import Outcome
from polybot.domain.units import UNIT
from polybot.importing.btc15m_l2 import HEADER, read
from polybot.importing.registry import import_tape
from polybot.storage.tape import TapeReader, read_tape, verify_tape

pyarrow = pytest.importorskip("pyarrow", reason="pip install 'polybot[importing]'")
parquet = pytest.importorskip("pyarrow.parquet", reason="pip install 'polybot[importing]'")

# Untyped, so that expected events can be written with plain numbers.
resolution_of: Any = MarketResolved

TREE = Path(__file__).resolve().parents[2]
SHIPPED = TREE / "polybot/tapes/btc15m_l2.tape"
SOURCE = TREE.parent / "shared/data/btc15m_l2"
START = 1_790_586_000_000
END = START + 900_000

MARKET = {
    "market_id": "0xfb",
    "slug": "btc-updown-15m-1790586000",
    "start_ts": START,
    "end_ts": END,
    "payout_up": 0.0,
    "payout_down": 1.0,
}
BOOK: dict[str, Any] = {
    "market_id": "0xfb",
    "ts": START,
    "side": "UP",
    "bid_px": [0.49, 0.48],
    "bid_sz": [514.99, 445.0],
    "ask_px": [0.5, 0.51],
    "ask_sz": [205.0, 75.0],
}


def write_source(folder: Path, books: list, markets: list | None = None) -> Path:
    parquet.write_table(pyarrow.Table.from_pylist(books), folder / "books.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(markets or [MARKET]), folder / "markets.parquet")
    return folder


def imported(folder: Path, books: list, markets: list | None = None) -> list[Any]:
    tape = folder / "made.tape"
    import_tape("btc15m_l2", write_source(folder, books, markets), tape)
    return list(read_tape(tape))


def test_the_shipped_tape_is_whole():
    summary = verify_tape(SHIPPED)
    assert summary.counts == {"MarketListed": 12, "BookReplaced": 25_256, "TickSizeChanged": 8, "MarketResolved": 12}
    assert summary.size < 3_000_000


def test_the_shipped_tape_says_whom_to_thank_and_what_is_assumed():
    header = TapeReader(SHIPPED).header
    assert header == HEADER
    assert header.licence == "CC BY 4.0"
    assert "Resolved Markets" in header.attribution
    assert "Settlement times" in " ".join(header.notes)
    assert "CC BY 4.0" in (SHIPPED.parent / "ATTRIBUTION.md").read_text()


def test_the_shipped_tape_equals_its_source_event_for_event():
    if not SOURCE.is_dir():
        pytest.skip("shared/data/btc15m_l2 is not here")
    assert list(read_tape(SHIPPED)) == list(read(SOURCE).events)


def test_books_become_ascending_and_exact(tmp_path):
    listed, book, _ = imported(tmp_path, [BOOK])
    assert isinstance(listed, MarketListed)
    assert isinstance(book, BookReplaced)
    assert (book.outcome, book.bid_prices, book.bid_sizes) == (
        Outcome.UP,
        [480_000, 490_000],
        [445_000_000, 514_990_000],
    )
    assert book.ask_prices == [500_000, 510_000]


def test_a_market_resolves_54_s_after_its_window(tmp_path):
    resolved = imported(tmp_path, [BOOK])[-1]
    assert resolved == resolution_of(END + 54_000, END + 54_000, "btc-updown-15m-1790586000", 0)


def test_a_market_resolves_after_its_last_book(tmp_path):
    events = imported(tmp_path, [BOOK, {**BOOK, "ts": END + 74_000}])
    assert [type(event) for event in events[-2:]] == [BookReplaced, MarketResolved]
    assert events[-1].at == END + 74_000


def test_rows_are_put_in_order_of_time(tmp_path):
    events = imported(tmp_path, [{**BOOK, "ts": START + at} for at in (5, 1, 3, 1)])
    assert [event.at - START for event in events[1:-1]] == [1, 1, 3, 5]


def test_the_tick_changes_before_the_first_price_off_the_grid(tmp_path):
    fine = {**BOOK, "ts": START + 1, "ask_px": [0.971, 0.98]}
    kinds = [type(event) for event in imported(tmp_path, [BOOK, fine, fine])]
    assert kinds == [MarketListed, BookReplaced, TickSizeChanged, BookReplaced, BookReplaced, MarketResolved]


@pytest.mark.parametrize(
    ("change", "trouble"),
    [
        ({"bid_px": [0.49, float("nan")]}, "not a number"),
        ({"bid_px": [0.49, None]}, "not a number"),
        ({"bid_px": [0.49, -0.1]}, "not between 0 and 1"),
        ({"ask_px": [1.0, 1.1]}, "not between 0 and 1"),
        ({"bid_sz": [float("inf"), 1.0]}, "not a number"),
        ({"bid_sz": [-1.0, 1.0]}, "not a possible number of shares"),
        ({"bid_sz": [1.0]}, "do not go together"),
        ({"bid_px": [0.48, 0.49]}, "not in order from the best"),
        ({"side": "SIDEWAYS"}, "neither UP nor DOWN"),
        ({"ts": 1_790_586_000}, "not a time in milliseconds"),
        ({"market_id": "0xother"}, "not in markets.parquet"),
    ],
)
def test_a_damaged_row_is_named_and_nothing_is_written(tmp_path, change, trouble):
    with pytest.raises(BadInput, match=rf"books\.parquet: row 1: .*{trouble}"):
        imported(tmp_path, [BOOK, {**BOOK, **change}])
    assert not list(tmp_path.glob("*.tape*"))


@pytest.mark.parametrize(
    ("change", "trouble"),
    [
        ({"payout_up": 0.7}, "not two shares of 1"),
        ({"end_ts": END + 1}, "not the one its slug"),
        ({"slug": "btc-above-100"}, "not the slug"),
    ],
)
def test_a_damaged_market_is_named(tmp_path, change, trouble):
    with pytest.raises(BadInput, match=rf"markets\.parquet: row 0: .*{trouble}"):
        imported(tmp_path, [BOOK], [{**MARKET, **change}])


@pytest.mark.parametrize("length", [0, 3, 100, 500])
def test_a_cut_file_is_named_and_nothing_is_written(tmp_path, length):
    source = write_source(tmp_path, [BOOK] * 50) / "books.parquet"
    source.write_bytes(source.read_bytes()[:length])
    with pytest.raises(BadInput, match=r"books\.parquet: not a whole parquet file"):
        import_tape("btc15m_l2", tmp_path, tmp_path / "made.tape")
    assert not list(tmp_path.glob("*.tape*"))


def test_a_missing_column_is_named(tmp_path):
    rows = [{key: BOOK[key] for key in BOOK if key != "ask_sz"}]
    with pytest.raises(BadInput, match=r"books\.parquet: .*ask_sz"):
        imported(tmp_path, rows)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"books\.parquet: no such file"):
        import_tape("btc15m_l2", tmp_path, tmp_path / "made.tape")


def test_an_empty_source_makes_no_tape(tmp_path):
    empty = pyarrow.Table.from_pylist([BOOK]).slice(0, 0)
    parquet.write_table(empty, tmp_path / "books.parquet")
    parquet.write_table(pyarrow.Table.from_pylist([MARKET]), tmp_path / "markets.parquet")
    with pytest.raises(BadInput, match="nothing in it"):
        import_tape("btc15m_l2", tmp_path, tmp_path / "made.tape")
    assert not list(tmp_path.glob("*.tape*"))


def test_an_unknown_format_names_those_there_are(tmp_path):
    with pytest.raises(BadInput, match="choose one of btc15m_l2, "):
        import_tape("excel", tmp_path, tmp_path / "made.tape")


def test_progress_ends_at_the_whole(tmp_path):
    seen: list[tuple[int, int]] = []
    source = write_source(tmp_path, [BOOK] * 3)
    import_tape("btc15m_l2", source, tmp_path / "made.tape", lambda done, all_: seen.append((done, all_)))
    assert seen[-1] == (5, 5)


def test_payouts_are_of_one_unit():
    payouts = {event.payout_up for event in read_tape(SHIPPED) if isinstance(event, MarketResolved)}
    assert payouts == {0, UNIT}
