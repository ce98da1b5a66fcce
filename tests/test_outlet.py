"""The outlet on real pipes and terminals: read slowly, not at all, again, and by nobody any more."""

import fcntl
import os
import pty
import re
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from polybot.outlet import FLUSH_S_MAX, Outlet, OutletStream

PIPE_BYTES = 4096


class Reader:
    """One end of a small pipe, and an outlet that writes to the other."""

    def __init__(self, ends: tuple[int, int] | None = None, **limits: int) -> None:
        self.end, self.file = ends or os.pipe()
        if ends is None:
            fcntl.fcntl(self.file, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.outlet = Outlet(
            self.file, time.monotonic, lambda lost, unread_s: f"{lost} lost in {unread_s:.1f} s\n", **limits
        )

    def read_until(self, last: str) -> list[str]:
        text, end = "", time.monotonic() + 5
        while not text.endswith(last + "\n"):
            assert time.monotonic() < end, text[-200:]
            text += os.read(self.end, 65536).decode().replace("\r\n", "\n")
        return text.splitlines()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture
def small() -> Iterator[Reader]:
    one = Reader(lines_max=10)
    yield one
    os.close(one.end)  # its thread gets an error for what it still wants to write, and waits for more


def fill(reader: Reader) -> None:
    """Until its thread waits for a reader in the middle of a line."""
    reader.outlet.put("x" * 3 * PIPE_BYTES + "\n")
    until(lambda: not reader.outlet._waiting)
    assert reader.outlet.busy


def test_what_is_put_is_written_in_order(small: Reader) -> None:
    for number in range(5):
        small.outlet.put(f"line {number}\n")
    assert small.outlet.flush()
    assert small.read_until("line 4") == [f"line {number}" for number in range(5)]


def test_nobody_waits_for_a_reader_and_the_lines_are_kept_for_it(small: Reader) -> None:
    began = time.monotonic()
    fill(small)
    for number in range(10):
        small.outlet.put(f"line {number}\n")
    assert time.monotonic() - began < 5
    assert small.read_until("line 9")[1:] == [f"line {number}" for number in range(10)]


def test_when_too_many_wait_the_oldest_are_dropped_and_the_gap_is_told_in_its_place(small: Reader) -> None:
    fill(small)
    time.sleep(0.2)
    for number in range(25):
        small.outlet.put(f"line {number}\n")
    lines = small.read_until("line 24")
    assert re.fullmatch(r"15 lost in \d\.\d s", lines[1])
    assert lines[2:] == [f"line {number}" for number in range(15, 25)]
    small.outlet.put("told once\n")
    assert small.read_until("told once") == ["told once"]


def test_too_many_bytes_are_too_much_as_well() -> None:
    reader = Reader(bytes_max=4 * PIPE_BYTES)
    fill(reader)
    for letter in "abc":
        reader.outlet.put(letter * 6000 + "\n")
    lines = reader.read_until("c" * 6000)
    assert lines[1].startswith("1 lost in ")
    assert [line[0] for line in lines[2:]] == ["b", "c"]
    os.close(reader.end)


def test_a_flush_gives_up_after_a_second_and_the_next_one_at_once_while_nothing_moves(small: Reader) -> None:
    fill(small)
    began = time.monotonic()
    assert not small.outlet.flush()
    assert FLUSH_S_MAX * 0.9 < time.monotonic() - began < FLUSH_S_MAX * 5
    began = time.monotonic()
    assert not small.outlet.flush()
    assert time.monotonic() - began < FLUSH_S_MAX * 0.9
    small.outlet.put("the end\n")
    small.read_until("the end")
    assert small.outlet.flush()


def test_a_reader_that_is_gone_harms_nobody() -> None:
    reader = Reader(lines_max=10)
    fill(reader)
    os.close(reader.end)
    until(lambda: not reader.outlet.busy)
    for number in range(50):
        reader.outlet.put(f"line {number}\n")
    assert reader.outlet.flush()


def test_what_a_failing_write_took_along_is_counted_with_what_comes_through_again() -> None:
    """A full disk: here a pipe without a reader, that has one later."""
    reader = Reader(lines_max=10)
    os.close(reader.end)
    reader.outlet.put("never seen\n")
    assert reader.outlet.flush()
    reader.end, other = os.pipe()
    os.dup2(other, reader.file)
    os.close(other)
    reader.outlet.put("seen\n")
    lost, seen = reader.read_until("seen")
    assert lost.startswith("1 lost in ")
    assert seen == "seen"
    os.close(reader.end)


def test_a_terminal_that_another_program_made_non_blocking_loses_nothing(small: Reader) -> None:
    os.set_blocking(small.file, False)
    fill(small)
    small.outlet.put("the end\n")
    long, last = small.read_until("the end")
    assert (len(long), last) == (3 * PIPE_BYTES, "the end")


def test_a_terminal_stopped_by_ctrl_s_holds_nobody_up_and_goes_on_by_ctrl_q() -> None:
    keyboard, terminal = pty.openpty()
    reader = Reader((keyboard, terminal), lines_max=10)
    os.write(keyboard, b"\x13")
    time.sleep(0.05)
    reader.outlet.put("before\n")
    until(lambda: not reader.outlet._waiting)
    assert reader.outlet.busy
    for number in range(15):
        reader.outlet.put(f"line {number}\n")
    os.write(keyboard, b"\x11")
    lines = reader.read_until("line 14")
    assert lines[0] == "before"
    assert lines[1].startswith("5 lost")
    assert lines[2:] == [f"line {number}" for number in range(5, 15)]


class TestWhatStandsInForStdout:
    def stream(self) -> tuple[OutletStream, list[str]]:
        got: list[str] = []
        reader = Reader()
        assert sys.__stderr__ is not None
        return OutletStream(got.append, sys.__stderr__, reader.outlet), got

    def test_a_line_is_put_whole_however_it_was_printed(self) -> None:
        stream, got = self.stream()
        print("a", 1, file=stream)
        print("b", end="", file=stream)
        print("c\nd", file=stream)
        assert got == ["a 1\n", "bc\n", "d\n"]

    def test_the_beginning_of_a_line_is_put_when_it_is_flushed_or_long(self) -> None:
        stream, got = self.stream()
        print("a prompt", end="", flush=True, file=stream)
        assert got == ["a prompt"]
        stream.write("x" * 5000)
        assert got[1:] == ["x" * 5000]

    def test_it_is_a_terminal_where_the_other_is_and_has_its_number(self) -> None:
        stream, _ = self.stream()
        assert (stream.isatty(), stream.fileno()) == (os.isatty(2), 2)
