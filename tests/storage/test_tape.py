"""Tapes: what goes in comes out in order, damage is told with its place, a broken-off recording keeps its prefix."""

import contextlib
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.domain.errors import BadInput
from polybot.domain.events import (
    BookReplaced,
    LevelChange,
    LevelsChanged,
    MarketEvent,
    MarketListed,
    MarketResolved,
    ReferencePriced,
    TickSizeChanged,
    TradePrinted,
)
from polybot.domain.fees import FeeSchedule
from polybot.domain.ids import ConditionId, MarketId, SeriesId
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.units import Millis, Price, Shares
from polybot.storage import tape_format, tape_writer
from polybot.storage.tape import (
    TapeError,
    TapeHeader,
    TapeReader,
    merge_tapes,
    new_tape,
    read_tape,
    recorded_tape,
    tape_summary,
    verify_tape,
)

HEADER = TapeHeader(
    name="test",
    source="made here",
    licence="none",
    attribution="nobody",
    created_from="nothing",
    depth="full",
    has_trades=True,
    has_reference=True,
    has_receive_times=True,
    has_settlements=True,
)
SLUG = MarketId("btc-updown-15m-1790586000")


def market(slug: str = SLUG) -> Market:
    return Market(
        id=MarketId(slug),
        condition_id=ConditionId("0xfb"),
        series=SeriesId("BTC-15m"),
        asset="BTC",
        window_start=Millis(1_790_586_000_000),
        window_end=Millis(1_790_586_900_000),
        tick=Price(10_000),
        size_min=Shares(5_000_000),
        fees=FeeSchedule(rate=70_000),
        taker_delay_ms=150,
        rule_set="chainlink-twap60-2026-08-07",
    )


def priced(received: int, price: int = 1) -> ReferencePriced:
    return ReferencePriced(Millis(received), Millis(received), "BTC", "test", price)


def write(path: Path, events) -> Path:
    with new_tape(path, HEADER, level=1) as tape:
        for event in events:
            tape.append(event)
    return path


@pytest.fixture
def short_blocks(monkeypatch):
    """Four events a block, so that a small tape has many."""
    monkeypatch.setattr(tape_writer, "BLOCK_EVENTS_MAX", 4)


times = st.integers(0, 2**42).map(Millis)
prices = st.integers(1, 999_999).map(Price)
sizes = st.integers(1, 10**15).map(Shares)
outcomes = st.sampled_from(Outcome)
sides = st.sampled_from(Side)
slugs = st.sampled_from([SLUG, MarketId("eth-updown-5m-1790586000"), MarketId("ü" * 40)])
tops = st.none() | prices
changes = st.builds(LevelChange, outcomes, sides, prices, sizes, tops, tops)
events_of_every_kind = (
    st.builds(MarketListed, times, times, slugs.map(market))
    | st.builds(
        BookReplaced,
        *(times, times, slugs, outcomes),
        *(st.lists(prices, max_size=5), st.lists(sizes, max_size=5)) * 2,
    )
    | st.builds(LevelsChanged, times, times, slugs, st.lists(changes, max_size=3))
    | st.builds(TradePrinted, times, times, slugs, outcomes, sides, prices, sizes)
    | st.builds(ReferencePriced, times, times, st.text(max_size=5), st.text(max_size=5), st.integers(1, 2**60))
    | st.builds(TickSizeChanged, times, times, slugs, prices)
    | st.builds(MarketResolved, times, times, slugs, prices)
)


@settings(max_examples=60, deadline=None)
@given(events=st.lists(events_of_every_kind, max_size=20))
def test_what_is_written_is_read(tmp_path_factory, events):
    events.sort(key=lambda event: event.received)
    path = write(tmp_path_factory.mktemp("tape") / "a.tape", events)
    assert list(read_tape(path)) == events
    assert verify_tape(path).totals.events == len(events)


def test_header_and_totals_are_known_without_reading(tmp_path):
    path = write(tmp_path / "a.tape", [MarketListed(Millis(5), Millis(7), market()), priced(9)])
    reader = TapeReader(path)
    assert reader.header == HEADER
    assert reader.totals is not None
    assert (reader.totals.events, reader.totals.first_ms, reader.totals.last_ms) == (2, 7, 9)
    assert reader.markets() == [market()]
    assert tape_summary(path).finished


def test_an_empty_tape_is_a_tape(tmp_path):
    assert list(read_tape(write(tmp_path / "a.tape", []))) == []


def test_equal_times_keep_their_order(tmp_path, short_blocks):
    events = [priced(1, number) for number in range(1, 30)]
    assert list(read_tape(write(tmp_path / "a.tape", events))) == events


def test_time_running_backwards_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(TapeError, match="event 1 was received at 4, before its predecessor at 5"):
        write(tmp_path / "a.tape", [priced(5), priced(4)])
    assert list(tmp_path.iterdir()) == []


def test_an_import_that_fails_leaves_the_old_tape(tmp_path):
    path = write(tmp_path / "a.tape", [priced(1)])

    def events():
        yield priced(2)
        raise BadInput("the source is damaged")

    with pytest.raises(BadInput, match="the source"):
        write(path, events())
    assert list(read_tape(path)) == [priced(1)]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("start", [0, 1, 3, 4, 5, 8, 29, 30, 31])
def test_reading_can_start_at_any_event(tmp_path, short_blocks, start):
    events = [priced(number) for number in range(30)]
    path = write(tmp_path / "a.tape", events)
    assert list(read_tape(path, start=start)) == events[start:]


def test_tapes_merge_by_time_then_by_the_order_named(tmp_path):
    first = write(tmp_path / "a.tape", [priced(1, 10), priced(3, 11), priced(3, 12)])
    second = write(tmp_path / "b.tape", [priced(1, 20), priced(2, 21), priced(3, 22)])
    both = [priced(1, 10), priced(1, 20), priced(2, 21), priced(3, 11), priced(3, 12), priced(3, 22)]
    assert list(merge_tapes([first, second])) == both
    assert list(merge_tapes([second, first])) == [both[1], both[0], both[2], both[5], both[3], both[4]]
    assert list(merge_tapes([first, second], start=3)) == both[3:]


def test_a_cut_at_any_byte_is_told(tmp_path, short_blocks):
    path = write(tmp_path / "a.tape", [priced(number) for number in range(10)])
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(TapeError, match=r"a\.tape: "):
            list(read_tape(path))


def test_a_cut_recording_gives_a_prefix_and_says_what_is_lost(tmp_path, short_blocks):
    events = [priced(number) for number in range(10)]
    whole = write(tmp_path / "a.tape", events).read_bytes()
    start = TapeReader(tmp_path / "a.tape")._body_start
    for length in range(start, len(whole)):
        cut = tmp_path / "cut.tape"
        cut.write_bytes(whole[:length])
        reader = TapeReader(cut, allow_unfinished=True)
        found = list(reader.events())
        assert found == events[: len(found)]
        assert len(found) % 4 == 0 or len(found) == len(events)
        assert not reader.finished


def test_a_flipped_bit_is_told_wherever_it_is(tmp_path, short_blocks):
    events = [priced(number) for number in range(10)]
    path = write(tmp_path / "a.tape", events)
    whole = path.read_bytes()
    for index in range(len(whole)):
        damaged = bytearray(whole)
        damaged[index] ^= 1 << (index % 8)
        path.write_bytes(damaged)
        with pytest.raises(TapeError):
            list(read_tape(path))


def test_a_flipped_bit_never_gives_wrong_events_where_breaking_off_is_allowed(tmp_path, short_blocks):
    events = [priced(number) for number in range(10)]
    path = write(tmp_path / "a.tape", events)
    whole = path.read_bytes()
    for index in range(len(whole)):
        damaged = bytearray(whole)
        damaged[index] ^= 1 << (index % 8)
        path.write_bytes(damaged)
        found: list[MarketEvent] = []
        with contextlib.suppress(TapeError):
            found.extend(read_tape(path, allow_unfinished=True))
        assert found == events[: len(found)]


def test_a_block_lost_doubled_or_moved_is_told(tmp_path, short_blocks):
    path = write(tmp_path / "a.tape", [priced(number) for number in range(12)])
    whole = path.read_bytes()
    start = TapeReader(path)._body_start
    blocks, rest = [], whole[start:]
    for _ in range(3):
        length = tape_format.HEAD_SIZE + tape_format.unpack_head(rest).size
        blocks.append(rest[:length])
        rest = rest[length:]
    a, b, c = blocks
    for wrong in ([a, c], [a, a, b, c], [b, a, c], [a, b]):
        path.write_bytes(whole[:start] + b"".join(wrong) + rest)
        with pytest.raises(TapeError):
            list(read_tape(path))


def test_damage_names_file_block_byte_and_remedy(tmp_path, short_blocks):
    path = write(tmp_path / "a.tape", [priced(number) for number in range(12)])
    offset = TapeReader(path)._body_start
    offset += tape_format.HEAD_SIZE + tape_format.unpack_head(path.read_bytes()[offset:]).size
    damaged = bytearray(path.read_bytes())
    damaged[offset + tape_format.HEAD_SIZE] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(TapeError, match=rf"a\.tape: block 1, byte {offset}: the checksum .*; fetch or import"):
        list(read_tape(path))


def test_something_after_the_end_is_told(tmp_path):
    path = write(tmp_path / "a.tape", [priced(1)])
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(TapeError, match="damaged, or something follows"):
        list(read_tape(path))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"POLYTAPE", b"POLYTAPE\x00\x01", b"\x00" * 100])
def test_what_is_no_tape_is_called_so(tmp_path, content):
    path = tmp_path / "a.tape"
    path.write_bytes(content)
    with pytest.raises(TapeError):
        TapeReader(path)


def test_a_newer_version_asks_for_an_update(tmp_path):
    path = tmp_path / "a.tape"
    path.write_bytes(b"POLYTAPE\x00\x09")
    with pytest.raises(TapeError, match="tape version 9, this program reads 1; update it"):
        TapeReader(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TapeError, match=r"no\.tape: cannot be read"):
        TapeReader(tmp_path / "no.tape")


def test_a_block_of_something_else_with_a_good_checksum_is_told(tmp_path):
    path = write(tmp_path / "a.tape", [priced(1)])
    start = TapeReader(path)._body_start
    whole = path.read_bytes()
    compressor = zstandard.ZstdCompressor()
    payload = compressor.compress(msgspec.msgpack.encode([["book", 1, "not a time"]]))
    head = tape_format.FrameHead(tape_format.FrameKind.EVENTS, 0, 1, 1, 1, 0)
    end = start + tape_format.HEAD_SIZE + tape_format.unpack_head(whole[start:]).size
    path.write_bytes(whole[:start] + tape_format.pack_frame(head, payload) + whole[end:])
    with pytest.raises(TapeError, match=r"block 0, byte .* something else than events"):
        list(read_tape(path))


def test_a_block_cannot_ask_for_gigabytes():
    bomb = zstandard.ZstdCompressor().compress(b"\x00" * (tape_format.PAYLOAD_BYTES_MAX + 1))
    with pytest.raises(zstandard.ZstdError, match="are allowed"):
        tape_format.inflate(bomb, zstandard.ZstdDecompressor())


def test_a_recording_can_be_read_while_it_grows(tmp_path):
    path = tmp_path / "a.tape"
    with recorded_tape(path, HEADER) as tape:
        tape.append(MarketListed(Millis(1), Millis(1), market()))
        tape.flush()
        tape.append(priced(2))
        reader = TapeReader(path, allow_unfinished=True)
        assert [event.received for event in reader.events()] == [1]
        assert reader.markets() == [market()]
        assert not tape_summary(path).finished
    assert [event.received for event in read_tape(path)] == [1, 2]


def test_a_recording_never_overwrites_another(tmp_path):
    path = write(tmp_path / "a.tape", [priced(1)])
    with pytest.raises(FileExistsError), recorded_tape(path, HEADER):
        pass
    assert list(read_tape(path)) == [priced(1)]
