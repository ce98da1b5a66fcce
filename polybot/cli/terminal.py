"""A line at the bottom of a terminal that is rewritten in place, with log lines passing above it."""

import sys
from datetime import UTC, datetime
from typing import TextIO

from loguru import logger

from polybot.floor.status import FloorStatus

CLEAR_LINE = "\r\x1b[2K"
PLAIN_EVERY_S = 15.0
"""Where there is no terminal, progress is a log line this often."""


class BottomLine:
    """Shows one line; on no terminal it shows nothing, and `plain` says so."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._text = ""
        self.plain = not stream.isatty()

    def show(self, text: str) -> None:
        if not self.plain:
            self._text = text
            self._stream.write(CLEAR_LINE + text)
            self._stream.flush()

    def above(self, message: object) -> None:
        """Write a log message (with its own line end) above the line."""
        self._stream.write((CLEAR_LINE if self._text else "") + str(message) + self._text)
        self._stream.flush()

    def end(self) -> None:
        """Take the line away."""
        if self._text:
            self._stream.write(CLEAR_LINE)
            self._stream.flush()
            self._text = ""


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
