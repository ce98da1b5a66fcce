"""The real recordings, where they are at hand, become tapes without a remark that was not expected."""

from pathlib import Path

import pytest

from polybot.importing.registry import import_tape
from polybot.storage.tape import verify_tape

pyarrow = pytest.importorskip("pyarrow", reason="pip install 'polybot[importing]'")
parquet = pytest.importorskip("pyarrow.parquet", reason="pip install 'polybot[importing]'")
SHARED = Path(__file__).resolve().parents[2].parent / "shared/data"

COUNTS = {
    "trades_20min": {"BookReplaced": 1_798, "TradePrinted": 2_508},
    "tob_15m": {"MarketListed": 119, "BookReplaced": 236_638, "MarketResolved": 114},
    "protocol": {"MarketListed": 15, "BookReplaced": 648, "LevelsChanged": 50, "ReferencePriced": 7_601},
}


@pytest.mark.parametrize("name", ["trades_20min", "protocol", "tob_15m"])
def test_a_recording_becomes_a_tape(tmp_path, name):
    if not (SHARED / name).is_dir():
        pytest.skip(f"shared/data/{name} is not here")
    summary = import_tape(name, SHARED / name, tmp_path / "a.tape")
    assert {kind: summary.counts[kind] for kind in COUNTS[name]} == COUNTS[name]
    assert verify_tape(tmp_path / "a.tape").counts == summary.counts


def test_a_piece_of_the_websocket_recording_becomes_a_tape(tmp_path):
    """The first 4,000 of 71,400 messages: all of them take twelve seconds."""
    whole = SHARED / "btc5m_ws_book/btc5m_raw_book_2026-04-14.parquet"
    if not whole.is_file():
        pytest.skip("shared/data/btc5m_ws_book is not here")
    batch = next(parquet.ParquetFile(whole).iter_batches(batch_size=4_000))
    parquet.write_table(pyarrow.Table.from_batches([batch]), tmp_path / "piece.parquet")
    summary = import_tape("btc5m_ws_book", tmp_path / "piece.parquet", tmp_path / "a.tape")
    assert summary.counts == {"MarketListed": 2, "BookReplaced": 3_700}
    assert [remark.split(" (")[0] for remark in summary.remarks] == ["300 messages of the Up token left out"]
