"""The bench of frames: it takes in what it says it does, and its socket is timed through the real floor."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from polybot.bench.frames import recorded_frames, run_frames, shipped_frames
from polybot.bench.live import token_of
from polybot.bench.soak_feed import market_of, parts_of, recorded_terms
from polybot.bench.socket_path import Slice, SocketRun, run_socket
from polybot.bench.socket_server import market_of_token, stamp_of, stamped
from polybot.bench.yardstick import run_yardstick
from polybot.cli.frames import book_lines, socket_lines, yardstick_lines
from polybot.domain.errors import BadInput
from polybot.domain.market import Outcome
from polybot.settings import load_settings

RECORDED = Path(__file__).resolve().parents[2].parent / "shared/data/protocol"


def test_the_shipped_frames_become_books_that_agree_with_the_venues_best_prices() -> None:
    markets, tokens, frames = shipped_frames(load_settings())
    run = run_frames(markets, tokens, frames[:8_000], at_least=0)
    assert run.states == {"verified": 8}
    assert (run.frames, run.unread) == (8_000, 0)
    assert run.per_second > 2_000  # ten times less than the goal: this machine may be busy
    assert "8,000 frames, 0 messages not read; books in the end: 8 verified" in book_lines("shipped", [run])[-1]


def test_recorded_frames_are_gone_through_until_there_are_enough() -> None:
    if not RECORDED.is_dir():
        pytest.skip("shared/data/protocol is not here")
    markets, tokens, frames = recorded_frames(RECORDED)
    run = run_frames(markets, tokens, frames[:40], at_least=100)
    assert run.frames == 120
    assert run.states.keys() <= {"verified", "unverifiable", "never told of"}


def test_a_folder_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no session in it"):
        recorded_frames(tmp_path)


@pytest.mark.parametrize("asset", ["BTC", "ETH"])
def test_the_benchs_server_knows_its_tokens(asset: str) -> None:
    market = market_of(asset, 1_790_586_000_000, recorded_terms())
    for outcome in Outcome:
        assert market_of_token(token_of(market, outcome)) == market.id
    assert parts_of(market.id) == (asset, 1_790_586_000_000)


def test_a_frame_carries_when_it_was_sent() -> None:
    first = stamp_of(stamped(b'{"hash":"' + b"0" * 40 + b'"}'))
    assert 0 < first <= stamp_of(stamped(b'{"hash":"' + b"0" * 40 + b'"}'))
    assert stamp_of("PONG") == 0


def test_decisions_are_timed_from_a_real_socket_through_the_real_floor(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    run = asyncio.run(run_socket(tmp_path, 0.8, 200.0, warm_up_s=0.2))
    assert run.frames > 50
    assert run.to_books.total() > 50
    assert run.to_decision.total() > 50
    assert "from sending to a decision" in socket_lines(run)[2]
    assert run.stall_ms > 0


def test_the_yardstick_reads_the_same_frames_and_only_computes() -> None:
    slices = asyncio.run(run_yardstick(0.5, 200.0, 300.0))
    taken = sum((one.to_decision for one in slices), Counter[int]())
    assert taken.total() > 30
    assert min(taken) >= 300
    assert "computes 300 us over a frame" in yardstick_lines(slices, 300.0)[0]


def test_what_the_host_took_is_told_apart() -> None:
    quiet, loud = (
        Slice(to_decision=Counter({400: 100}), stolen=0.0),
        Slice(to_decision=Counter({9_000: 100}), stolen=0.3),
    )
    lines = socket_lines(SocketRun(slices=[quiet, loud]))
    assert lines[4] == "  the host took 0.0% to 30.0% of this machine's time"
    assert lines[5] == "  where it took under 1%, 1 of 2: 99.0% 400"
