"""A recording holds all that a floor saw, within its bounds, whatever happens to disk and process."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from polybot.cli import application
from polybot.clock import SystemClock
from polybot.domain.events import BookReplaced, MarketEvent, MarketListed, Severity, SnapshotRequested
from polybot.domain.ids import AgentId
from polybot.domain.markets import Markets
from polybot.domain.snapshot import market_events
from polybot.domain.units import Millis
from polybot.storage import recording_files
from polybot.storage.recorder import Recorder, RecorderTerms
from polybot.storage.tape import TapeError, read_tape, verify_tape
from polybot.storage.tape_blocks import Look, RawFrame, read_frames, read_looks
from polybot.storage.tape_recording import joined, segments
from tests.builders import book, listed, one_sided, trade

MARKET = one_sided()
ROOMY = RecorderTerms(free_bytes_min=1, flush_s=0.01)
IN_WHOLE_BLOCKS = RecorderTerms(free_bytes_min=1, flush_s=60)
WRITER = """
import sys, time
from pathlib import Path
from polybot.clock import SystemClock
from polybot.storage.recorder import Recorder, RecorderTerms
from tests.builders import book, listed, one_sided
market = one_sided()
recorder = Recorder(Path(sys.argv[1]), SystemClock(), lambda at: [], source="s", terms=RecorderTerms(flush_s=0.01))
recorder.observe(listed(market))
for n in range(1_000_000):
    recorder.observe(book(market, n))
    recorder.frame("market", n, b"frame %d" % n)
    if n % 100 == 0:
        time.sleep(0.005)
"""


class Recording:
    """Markets that are recorded as they change."""

    def __init__(self, folder: Path, terms: RecorderTerms = ROOMY) -> None:
        self.folder, self.markets = folder, Markets()
        self.saw: list[MarketEvent] = []
        self.recorder = Recorder(
            folder, SystemClock(), lambda at: market_events(self.markets, at), source="test", run="r", terms=terms
        )

    def see(self, *events: MarketEvent) -> "Recording":
        for event in events:
            self.recorder.observe(event)
            self.markets.apply(event)
            self.saw.append(event)
        return self

    def close(self) -> list[Path]:
        self.recorder.close()
        return sorted(self.folder.glob("*.tape"))


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    made = Recording(tmp_path / "recordings")
    yield made
    made.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_the_tape_has_every_event_in_the_order_the_floor_took_them_in(recording):
    recording.see(listed(MARKET), book(MARKET, 10), trade(MARKET, 20), book(MARKET, 30))
    (tape,) = recording.close()
    assert list(read_tape(tape)) == [listed(MARKET), book(MARKET, 10), trade(MARKET, 20), book(MARKET, 30)]
    assert verify_tape(tape).finished


def test_a_snapshot_is_recorded_as_it_was_though_its_lists_change_afterwards(recording):
    recording.see(listed(MARKET), book(MARKET, 10))
    state = recording.markets.by_id[MARKET.id]
    state.books[0].bid_sizes[0] = 1
    (tape,) = recording.close()
    assert list(read_tape(tape))[1] == book(MARKET, 10)


def test_frames_are_kept_verbatim_with_source_and_time_even_before_the_first_event(recording):
    recording.recorder.frame("gamma", MARKET.window_start, b"\xff not even text")
    recording.recorder.frame("market", MARKET.window_start, '{"a": 1}')
    recording.see(listed(MARKET))
    recording.close()
    (frames,) = recording.folder.glob("*.frames")
    assert list(read_frames(frames)) == [
        RawFrame(MARKET.window_start, "gamma", b"\xff not even text"),
        RawFrame(MARKET.window_start, "market", b'{"a": 1}'),
    ]


def test_a_look_knows_the_last_event_and_the_last_fact_it_was_taken_with(recording):
    recording.see(listed(MARKET), book(MARKET, 10))
    recording.recorder.looked(AgentId("a"), MARKET.id, "book", Millis(7), may_trade=True, decided=False)
    recording.close()
    (looks,) = recording.folder.glob("*.looks")
    assert list(read_looks(looks)) == [Look(2, 0, AgentId("a"), MARKET.id, "book", Millis(7), True, False)]


def test_a_new_segment_begins_with_how_the_markets_are_and_joined_they_are_one(tmp_path):
    recording = Recording(tmp_path, RecorderTerms(free_bytes_min=1, segment_s_max=0.1))
    recording.see(listed(MARKET), book(MARKET, 10), book(MARKET, 50), book(MARKET, 150), book(MARKET, 160))
    first, second = recording.close()
    assert [type(event) for event in read_tape(second)] == [MarketListed, BookReplaced, BookReplaced, BookReplaced]
    assert [s.header.first_position for s in segments(tmp_path)] == [1, 4]
    assert list(joined(sorted(tmp_path.glob("*.tape")))) == recording.saw
    assert len(list(read_tape(first))) == 3


def test_a_book_that_was_doubted_is_doubted_at_the_beginning_of_the_next_segment(tmp_path):
    recording = Recording(tmp_path, RecorderTerms(free_bytes_min=1, segment_s_max=0.1))
    asked = Millis(MARKET.window_start + 20)
    recording.see(listed(MARKET), book(MARKET, 10), SnapshotRequested(asked, asked, [MARKET.id]), trade(MARKET, 150))
    again = Markets()
    for event in read_tape(recording.close()[1]):
        again.apply(event)
    assert again.by_id[MARKET.id].books[0].needs_snapshot


def test_the_oldest_segments_go_when_the_space_is_used_up_and_are_counted(tmp_path):
    recording = Recording(tmp_path, RecorderTerms(free_bytes_min=1, segment_s_max=0.01, disk_bytes_max=6_000))
    recording.see(listed(MARKET), *(book(MARKET, at) for at in range(0, 1_000, 20)))
    left = recording.close()
    status = recording.recorder.status()
    assert status.segments_removed > 10
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 6_000 + 2_000, "the bound and what is written now"
    assert len(left) < 50
    told = f"{status.segments_removed} of the oldest segments were removed to keep within the bound"
    assert recording.recorder.news() == [(Severity.INFO, told)]


def test_a_row_that_is_never_empty_keeps_no_segment_from_its_bounds(tmp_path):
    terms = RecorderTerms(free_bytes_min=1, flush_s=0.01, segment_bytes_max=2_000)
    recording, number = Recording(tmp_path, terms).see(listed(MARKET)), 0
    over = time.monotonic() + 5
    while len(list(tmp_path.glob("*.tape"))) < 3:
        assert time.monotonic() < over
        while recording.recorder.status().waiting < 1_000:
            number += 1
            recording.recorder.frame("market", Millis(MARKET.window_start + number), os.urandom(10))
    recording.close()


def test_what_does_not_fit_in_the_row_is_counted_and_the_next_tape_says_so(tmp_path):
    recording = Recording(tmp_path, RecorderTerms(free_bytes_min=1, row_max=8))
    recording.see(listed(MARKET), *(book(MARKET, at) for at in range(100)))
    until(lambda: recording.recorder.status().waiting == 0)
    recording.see(book(MARKET, 200), book(MARKET, 201))
    _, second = recording.close()
    status = recording.recorder.status()
    header = segments(tmp_path)[1].header
    assert status.lost == 94
    assert (header.first_position, header.notes) == (102, ["records were lost before this tape: the disk was too slow"])
    assert list(read_tape(second))[-2:] == [book(MARKET, 200), book(MARKET, 201)]
    ((severity, said),) = recording.recorder.news()
    assert severity is Severity.WARNING
    assert said.startswith("94 records were not recorded")


def test_on_a_full_disk_recording_stops_with_a_word_and_the_floor_goes_on(recording, monkeypatch):
    recording.see(listed(MARKET), book(MARKET, 10))
    until(lambda: recording.recorder.status().segment is not None)

    def full(segment: recording_files.SegmentWriter) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(recording_files.SegmentWriter, "flush", full)
    recording.see(book(MARKET, 20))
    until(lambda: recording.recorder.status().stopped is not None)
    recording.see(book(MARKET, 30))
    assert recording.recorder.status().lost == 1
    (said,) = recording.recorder.news()
    assert said == (Severity.ERROR, "recording stopped, the floor goes on: [Errno 28] No space left on device")


def test_it_is_tried_again_after_a_while_with_a_new_segment(tmp_path, monkeypatch):
    recording = Recording(tmp_path, RecorderTerms(free_bytes_min=1, flush_s=0.01, retry_s=0.0))
    with monkeypatch.context() as patch:
        patch.setattr(recording_files.DiskBound, "_is_roomy", lambda bound: False)
        recording.see(listed(MARKET))
        until(lambda: recording.recorder.status().stopped is not None)
        assert "of the disk are free" in (recording.recorder.status().stopped or "")
    recording.see(book(MARKET, 10))
    last = recording.close()[-1]
    assert recording.recorder.status().stopped is None
    assert list(read_tape(last))[-1] == book(MARKET, 10)
    assert segments(tmp_path)[-1].header.notes == ["records were lost before this tape: the disk refused"]


def test_after_kill_9_everything_is_read_up_to_the_last_whole_block(tmp_path):
    folder = tmp_path / "recordings"
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], cwd=Path(__file__).parents[2])
    try:
        until_written(folder)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    (segment,) = segments(folder)
    events = [event for _, event in segment.events()]
    frames = list(read_frames(segment.path.with_suffix(".frames")))
    assert events[1:] == [book(one_sided(), n) for n in range(len(events) - 1)]
    assert [frame.data for frame in frames] == [b"frame %d" % n for n in range(len(frames))]
    assert len(events) > 1_000


def test_a_tape_that_broke_off_is_made_whole_by_joining_it(tmp_path):
    recording = Recording(tmp_path / "recordings", IN_WHOLE_BLOCKS)
    recording.see(listed(MARKET), *(book(MARKET, at) for at in range(300)))
    (tape,) = recording.close()
    tape.write_bytes(tape.read_bytes()[:-400])
    result = CliRunner().invoke(application(["tape"]), ["tape", "join", str(tmp_path / "whole.tape"), str(tape)])
    assert result.exit_code == 0, result.output
    assert verify_tape(tmp_path / "whole.tape").finished
    assert list(read_tape(tmp_path / "whole.tape")) == recording.saw[:256]


def until_written(folder: Path) -> None:
    deadline = time.monotonic() + 20
    while sum(path.stat().st_size for path in folder.glob("*")) < 60_000:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_torn_last_block_costs_only_itself(tmp_path, cut):
    recording = Recording(tmp_path / "recordings", IN_WHOLE_BLOCKS).see(listed(MARKET))
    for number in range(600):
        recording.recorder.frame("market", Millis(number), b"x%d" % number)
    recording.close()
    (path,) = recording.folder.glob("*.frames")
    path.write_bytes(path.read_bytes()[:-cut])
    assert len(list(read_frames(path))) == 512


def test_a_changed_byte_in_the_middle_is_named(tmp_path):
    recording = Recording(tmp_path / "recordings", IN_WHOLE_BLOCKS).see(listed(MARKET))
    for number in range(600):
        recording.recorder.frame("market", Millis(number), b"x%d" % number)
    recording.close()
    (path,) = recording.folder.glob("*.frames")
    content = bytearray(path.read_bytes())
    content[150] ^= 1
    path.write_bytes(content)
    with pytest.raises(TapeError, match="block 0"):
        list(read_frames(path))
