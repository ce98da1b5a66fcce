"""Where a running floor's words go out: a bounded queue, and one thread that writes, so that nobody waits for a reader.

A terminal that is stopped (Ctrl-S), an ssh that hangs, a pipe whose reader sleeps: writing to them blocks. On the event
loop that would be a stall, and the watchdog would end a floor that is well, without a word. Here the lines wait; when
there are too many the oldest are dropped and counted, and the count is told where they are missing.
"""

import io
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

LINES_MAX = 2_000
BYTES_MAX = 1_000_000
WRITE_BYTES_MAX = 4096
"""Written at once: so much goes into a pipe whole (PIPE_BUF), whoever else writes there."""
FLUSH_S_MAX = 1.0
FLUSH_LOOK_S = 0.005
RETRY_S = 1.0
"""A terminal that some other program made non-blocking is tried again this often, should it never say it is ready."""


class Outlet:
    """Writes to an open file descriptor. `tell_lost` words the gap: how many lines, and seconds that nobody read.

    `put` and `busy` never wait, from whatever thread. Its own thread ends with the process.
    """

    def __init__(
        self,
        file: int,
        monotonic: Callable[[], float],
        tell_lost: Callable[[int, float], str],
        *,
        lines_max: int = LINES_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._file, self._monotonic, self._tell_lost = file, monotonic, tell_lost
        self._lines_max, self._bytes_max = lines_max, bytes_max
        self._turn = threading.Condition()  # reentrant: a finalizer that speaks may run in the middle of `put`
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._writing = False
        self._began_at = 0.0
        """When the present write began."""
        self._lost = 0
        self._unread_since = 0.0
        """When the write began that did not end before lines were lost."""
        self._writes = 0
        self._gave_up_at = -1
        threading.Thread(target=self._write_on, name="outlet", daemon=True).start()

    def put(self, text: str) -> None:
        """Have this written, with its own line end. What is too much is dropped, the oldest first."""
        line = text.encode(errors="backslashreplace")
        with self._turn:
            self._waiting.append(line)
            self._waiting_bytes += len(line)
            while len(self._waiting) > self._lines_max or self._waiting_bytes > self._bytes_max:
                self._waiting_bytes -= len(self._waiting.popleft())
                self._lose_one()
            self._turn.notify()

    @property
    def busy(self) -> bool:
        """Whether anything is still to be written. (The thread says that it writes before it takes.)"""
        return bool(self._waiting) or self._writing

    def flush(self) -> bool:
        """Wait until all is written, at most a second; who gave up once waits again only after something was read.

        Takes no lock and needs no loop: a signal handler may have interrupted a `put`, and a watchdog ends both.
        """
        if self._gave_up_at == self._writes:
            return not self.busy
        end = self._monotonic() + FLUSH_S_MAX
        while self.busy:
            if self._monotonic() >= end:
                self._gave_up_at = self._writes
                return False
            time.sleep(FLUSH_LOOK_S)
        return True

    def _lose_one(self) -> None:
        if not self._lost:
            self._unread_since = self._began_at if self._writing else self._monotonic()
        self._lost += 1

    # -- the thread's side ---------------------------------------------------------------------------------------------

    def _write_on(self) -> None:
        while True:
            lines, lost, since = self._take()
            gap = self._tell_lost(lost, self._began_at - since).encode() if lost else b""
            try:
                self._write(gap + b"".join(lines))
            except OSError:  # the reader is gone, or the disk behind it is full: there is nobody to tell
                self._end(lost + len(lines), since)
            else:
                self._end(0, since)

    def _take(self) -> tuple[list[bytes], int, float]:
        """The next lines, as many as go out at once; how many were lost before them, and since when nobody read."""
        with self._turn:
            while not self._waiting:
                self._turn.wait()
            self._writing, self._began_at = True, self._monotonic()
            lines = [self._waiting.popleft()]
            size = len(lines[0])
            while self._waiting and size + len(self._waiting[0]) <= WRITE_BYTES_MAX:
                lines.append(self._waiting.popleft())
                size += len(lines[-1])
            self._waiting_bytes -= size
            lost, self._lost = self._lost, 0
            return lines, lost, self._unread_since if lost else self._began_at

    def _end(self, lost: int, since: float) -> None:
        with self._turn:
            if lost:
                self._lost, self._unread_since = self._lost + lost, since
            self._writes += 1
            self._writing = False

    def _write(self, content: bytes) -> None:
        """All of it, however long that takes."""
        left = memoryview(content)
        while left:
            try:
                left = left[os.write(self._file, left) :]
            except BlockingIOError:
                select.select([], [self._file], [], RETRY_S)


class OutletStream(io.TextIOBase):
    """Stands in for sys.stderr or sys.stdout (`like`): what anybody prints is `put`, whole lines at a time."""

    def __init__(self, put: Callable[[str], object], like: TextIO, outlet: Outlet) -> None:
        self._put, self._like, self._outlet = put, like, outlet
        self._begun = ""

    def write(self, text: str) -> int:
        lines, end, self._begun = (self._begun + text).rpartition("\n")
        if end:
            self._put(lines + end)
        if len(self._begun) > WRITE_BYTES_MAX:
            self.flush()
        return len(text)

    def flush(self) -> None:
        begun, self._begun = self._begun, ""
        if begun:
            self._put(begun)

    def drain(self) -> None:
        """Wait until it is written, as long as the outlet does."""
        self.flush()
        self._outlet.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._like.isatty()

    def fileno(self) -> int:
        return self._like.fileno()
