"""Records a live floor: every frame as received, every market event as taken in, every look of a trader (R9).

    on the loop      observe, frame, looked, took ─▶ a bounded row ─▶ one thread ─▶ segments on disk

The floor never waits for it. At the row's bound records are dropped and counted, and a new segment begins that says so
and how the markets were; a disk that refuses ends the recording with a clear word, and is tried again a minute later.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from polybot.clock import Clock
from polybot.domain.events import BookReplaced, Journaled, MarketEvent, Severity
from polybot.domain.ids import AgentId, MarketId
from polybot.domain.units import Millis
from polybot.storage.recording_files import DiskBound, SegmentWriter, segment_name
from polybot.storage.tape_blocks import Look, RawFrame
from polybot.storage.tape_format import TapeError, TapeHeader

COMPONENT = "recorder"
CLOSE_SECONDS_MAX = 10.0
TELL_SECONDS = 1.0
TAKE_SECONDS = 0.05
PIECE_RECORDS, REST_SECONDS = 50, 0.002
"""So many records are taken in one go, some 0.1 ms of work, and so long is rested then, unless the row is half full."""
LOST_FRAMES = "lost"
"""The source of a frame that stands for others which were dropped; its bytes are their number."""


class RecorderTerms(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds. A segment ends at `segment_bytes_max` or after `segment_s_max`, whichever is first; `disk_bytes_max` is
    for all of them, and `free_bytes_min` of the disk are left to the journal. `row_max`: records that may wait.
    """

    segment_bytes_max: int = 64 << 20
    segment_s_max: float = 3600.0
    disk_bytes_max: int = 4 << 30
    free_bytes_min: int = 1 << 30
    row_max: int = 20_000
    flush_s: float = 1.0
    retry_s: float = 60.0


class RecorderStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Counted since the start. `stopped`: why nothing is recorded now, None while all is well. `bytes`: all on disk."""

    stopped: str | None
    segment: str | None
    events: int
    frames: int
    looks: int
    lost: int
    segments_removed: int
    waiting: int
    bytes: int


class Note(Protocol):
    """Writes a system event (floor/dispatch.py)."""

    def __call__(self, severity: Severity, component: str, text: str) -> Awaitable[None]: ...


class _Opening(msgspec.Struct, frozen=True):
    """A new segment from here on."""

    name: str
    header: TapeHeader
    preamble: Sequence[MarketEvent]


Waiting = MarketEvent | RawFrame | Look | _Opening


class Recorder:
    """`snapshot` says how the markets are now, as events (domain/snapshot.py): each segment can be played by itself.

    `position` is the number of the last market event the floor had before, `facts` of the last fact.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        snapshot: Callable[[Millis], Sequence[MarketEvent]],
        *,
        source: str,
        run: str = "",
        position: int = 0,
        facts: int = 0,
        terms: RecorderTerms | None = None,
    ) -> None:
        self._clock, self._snapshot, self._source, self._run = clock, snapshot, source, run
        self.terms = terms or RecorderTerms()
        self._position, self._facts, self._folder = position, facts, folder
        self._session = clock.now_ms()
        self._row: deque[Waiting] = deque()
        self._begin_anew, self._why_anew = True, ""
        self._last = self._segment_until = Millis(0)
        self._events = self._frames = self._looks = self._lost = self._lost_frames = 0
        self._cleared = 0
        """Of the lost, those that waited when the disk refused; the thread's own count."""
        self._told: tuple[str | None, int, int] = (None, 0, 0)
        self._stopped: str | None = None
        self._stopped_at = 0.0
        self._segment: SegmentWriter | None = None
        self._flushed_at = clock.monotonic()
        self._size = 0
        self._bound = DiskBound(folder, self.terms.disk_bytes_max, self.terms.free_bytes_min)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write, name="recorder", daemon=True)
        self._thread.start()

    # -- on the loop --------------------------------------------------------------------------------------------------

    def observe(self, event: MarketEvent) -> None:
        """A market event as the floor takes it in, in that order. Call it before the event changes any book."""
        if self._begin_anew or self._size >= self.terms.segment_bytes_max or event.received >= self._segment_until:
            self._open_segment(event.received)
        elif self._stopped is not None and self._clock.monotonic() - self._stopped_at >= self.terms.retry_s:
            self._why_anew = "records were lost before this tape: the disk refused"
            self._open_segment(event.received)
        self._position += 1
        self._last = event.received
        if isinstance(event, BookReplaced):  # its lists become the book's own, and change with it
            event = _kept(event)
        self._events += self._put(event)

    def frame(self, source: str, received: Millis, data: bytes | str) -> None:
        """Bytes as they came in, from any source: a tap of the venue's sockets (venue/polymarket/stream.py)."""
        if self._begin_anew or self._size >= self.terms.segment_bytes_max:
            self._open_segment(received)
        if self._lost_frames and self._put(RawFrame(received, LOST_FRAMES, str(self._lost_frames).encode())):
            self._lost_frames = 0
        kept = self._put(RawFrame(received, source, data.encode() if isinstance(data, str) else data))
        self._frames += kept
        self._lost_frames += not kept

    def looked(
        self, agent: AgentId, market: MarketId, kind: str, now: Millis, *, may_trade: bool, decided: bool
    ) -> None:
        """A trader has just looked; `decided` says whether it has a verdict."""
        look = Look(self._position, self._facts, agent, market, kind, now, may_trade, decided)
        self._looks += self._put(look)

    def took(self, facts: Sequence[Journaled]) -> None:
        """Facts the room has just taken in: a follower of the dispatcher."""
        self._facts = facts[-1].seq

    def status(self) -> RecorderStatus:
        segment = self._segment
        return RecorderStatus(
            stopped=self._stopped,
            segment=None if segment is None else segment.name,
            events=self._events,
            frames=self._frames,
            looks=self._looks,
            lost=self._lost + self._cleared,
            segments_removed=self._bound.removed,
            waiting=len(self._row),
            bytes=self._bound.bytes,
        )

    async def watch(self, note: Note) -> None:
        """Say what happened to the recording, for ever: a task beside the floor."""
        while True:
            await asyncio.sleep(TELL_SECONDS)
            for severity, text in self.news():
                await note(severity, COMPONENT, text)

    def news(self) -> list[tuple[Severity, str]]:
        """What is different from last time, in words."""
        (was_stopped, was_lost, was_removed), now = self._told, self.status()
        self._told = (now.stopped, now.lost, now.segments_removed)
        said = []
        if now.stopped is not None and was_stopped is None:
            said.append((Severity.ERROR, f"recording stopped, the floor goes on: {now.stopped}"))
        if now.stopped is None and was_stopped is not None:
            said.append((Severity.INFO, "recording goes on"))
        if now.stopped is None and now.lost > was_lost:
            text = f"{now.lost - was_lost} records were not recorded; the next tape says so, and a replay of it refuses"
            said.append((Severity.WARNING, text))
        if now.segments_removed > was_removed:
            text = f"{now.segments_removed - was_removed} of the oldest segments were removed to keep within the bound"
            said.append((Severity.INFO, text))
        return said

    def close(self) -> None:
        """Write what waits and finish the tape; gives up after ten seconds on a disk that does not answer."""
        self._closing.set()
        self._thread.join(CLOSE_SECONDS_MAX)

    def _put(self, record: Waiting) -> bool:
        if self._stopped is None and not self._begin_anew:
            if len(self._row) < self.terms.row_max:
                self._row.append(record)
                return True
            self._begin_anew, self._why_anew = True, "records were lost before this tape: the disk was too slow"
        self._lost += 1
        return False

    def _open_segment(self, received: Millis) -> None:
        """With how the markets are now. Put off while the row is half full after a loss: no gap lies within a tape."""
        if self._why_anew and len(self._row) >= self.terms.row_max // 2:
            return
        preamble = [_kept(said) for said in self._snapshot(self._last or received)]
        header = TapeHeader(
            name=f"recording of {self._source}",
            source=self._source,
            licence="your own",
            attribution="recorded by PolyBot",
            created_from="live data",
            depth="full",
            has_trades=True,
            has_reference=True,
            has_receive_times=True,
            has_settlements=True,
            notes=[self._why_anew] if self._why_anew else [],
            run=self._run,
            session=self._session,
            first_position=self._position + 1,
            preamble=len(preamble),
        )
        self._stopped, self._begin_anew, self._why_anew, self._size = None, False, "", 0
        self._segment_until = Millis(received + round(self.terms.segment_s_max * 1000))
        self._row.append(_Opening(segment_name(received, self._position + 1), header, preamble))

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        while True:
            closing = self._closing.wait(TAKE_SECONDS)
            try:
                self._take_row()
                self._flush_in_time()
                if closing:
                    self._finish()
            except (OSError, TapeError) as error:
                self._fail(str(error))
            if closing:
                return

    def _take_row(self) -> None:
        """Piece by piece: as long as this thread has the interpreter, the loop and its traders wait for it.

        Under load the row is never empty, so what has its time has it between two pieces.
        """
        row = self._row
        while row:
            for _ in range(min(PIECE_RECORDS, len(row))):
                self._take(row.popleft())
            self._flush_in_time()
            if len(row) < self.terms.row_max // 2:
                self._closing.wait(REST_SECONDS)

    def _take(self, record: Waiting) -> None:
        if isinstance(record, _Opening):
            self._finish()
            self._segment = SegmentWriter(self._folder, record.name, record.header, record.preamble)
            self._bound.keep(record.name)
        elif self._segment is None:
            pass  # of a segment that failed
        elif isinstance(record, Look):
            self._segment.looks.append(record)
        elif isinstance(record, RawFrame):
            self._segment.frames.append(record)
        else:
            self._segment.tape.append(record)

    def _flush_in_time(self) -> None:
        segment, now = self._segment, self._clock.monotonic()
        if segment is None or now - self._flushed_at < self.terms.flush_s:
            return
        self._flushed_at = now
        segment.flush()
        self._size = segment.size
        self._bound.keep(segment.name)

    def _finish(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.finish()

    def _fail(self, reason: str) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            with contextlib.suppress(OSError):
                segment.abandon()
        self._stopped_at = self._clock.monotonic()
        self._stopped = reason
        self._cleared += len(self._row)
        self._row.clear()


def _kept(event: MarketEvent) -> MarketEvent:
    """With lists of its own."""
    if not isinstance(event, BookReplaced):
        return event
    return BookReplaced(
        event.at,
        event.received,
        event.market,
        event.outcome,
        event.bid_prices[:],
        event.bid_sizes[:],
        event.ask_prices[:],
        event.ask_sizes[:],
    )
