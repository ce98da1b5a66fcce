"""A line at the bottom of a terminal that is rewritten in place, with log lines passing above it."""

import atexit
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from functools import partial

from loguru import logger

from polybot import log
from polybot.clock import SystemClock
from polybot.floor.status import FloorStatus
from polybot.outlet import Outlet, OutletStream

CLEAR_LINE = "\r\x1b[2K"
PLAIN_EVERY_S = 15.0
"""Where there is no terminal, progress is a log line this often."""


class BottomLine:
    """Shows one line; on no terminal it shows nothing, and `plain` says so.

    With an outlet nobody waits for the terminal, and while lines wait to be written the bottom one is left as it is.
    """

    def __init__(self, outlet: Outlet | None = None) -> None:
        self._outlet = outlet
        self._text = ""
        self.plain = not sys.stderr.isatty()

    def show(self, text: str) -> None:
        if not self.plain and not (self._outlet and self._outlet.busy):
            self._text = text
            self._write(CLEAR_LINE + text)

    def above(self, lines: str) -> None:
        """Write whole lines, with their line ends, above the line."""
        self._write((CLEAR_LINE if self._text else "") + lines + self._text)

    def end(self) -> None:
        """Take the line away."""
        if self._text:
            self._text = ""
            self._write(CLEAR_LINE)

    def _write(self, text: str) -> None:
        if self._outlet is not None:
            self._outlet.put(text)
        else:
            sys.stderr.write(text)
            sys.stderr.flush()


class Progress:
    """What goes on, on the bottom line; where there is no terminal, in the log now and then."""

    def __init__(self, line: BottomLine, monotonic: Callable[[], float]) -> None:
        self._line, self._monotonic = line, monotonic
        self._logged_s = monotonic()

    def show(self, text: str) -> None:
        self._line.show(text)
        if self._line.plain and self._monotonic() - self._logged_s >= PLAIN_EVERY_S:
            self._logged_s = self._monotonic()
            log_progress(text)


def log_outlet(style: log.Style) -> Outlet:
    """Where a running floor's log goes: stderr. What it still holds when the process ends has its second then."""
    begin = CLEAR_LINE if sys.stderr.isatty() else ""
    outlet = Outlet(
        sys.stderr.fileno(),
        SystemClock().monotonic,
        lambda lost, unread_s: begin + log.lost_line(style, lost, unread_s),
    )
    atexit.register(outlet.flush)
    return outlet


@contextmanager
def nobody_waits(line: BottomLine, outlet: Outlet) -> Iterator[None]:
    """Whatever is printed in the block goes through an outlet; at its end all of it has gone out, or nobody reads."""
    printed = _print_outlet(line, outlet)
    try:
        with redirect_stdout(printed), redirect_stderr(OutletStream(line.above, sys.stderr, outlet)) as said:
            yield
    finally:
        line.end()
        for stream in (said, printed):
            stream.drain()


def _print_outlet(line: BottomLine, outlet: Outlet) -> OutletStream:
    """For stdout: the log's own where both go to the same place, or words would overtake each other."""
    if os.path.samestat(os.fstat(sys.stdout.fileno()), os.fstat(sys.stderr.fileno())):
        return OutletStream(line.above, sys.stdout, outlet)
    own = Outlet(sys.stdout.fileno(), SystemClock().monotonic, partial(log.lost_line, "pretty"))
    return OutletStream(own.put, sys.stdout, own)


def signed(amount: int) -> str:
    return f"{amount / 1_000_000:+,.2f}"


def utc_clock(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%H:%M:%S")


def progress_text(status: FloorStatus) -> str:
    """Market time, windows, equity: `09:41:30 UTC  window 3/12  equity 1,006.32 (+6.32)  8 trades  41 %`."""
    parts = [f"{utc_clock(status.market_time)} UTC" if status.market_time else "no market data yet"]
    if status.windows_total:
        parts.append(f"{status.windows_settled}/{status.windows_total} windows settled")
    parts.append(f"equity {status.equity / 1_000_000:,.2f} ({signed(status.pnl)})")
    parts.append(f"{status.trades} trades settled, {status.exposure / 1_000_000:,.2f} at risk")
    if status.events_total:
        parts.append(f"{status.position / status.events_total:.0%}")
    if status.paused:
        parts.append(f"PAUSED: {status.paused[0].breaker}")
    return "  |  ".join(parts)


def log_progress(text: str) -> None:
    logger.bind(action="progress").info("{}", text)
