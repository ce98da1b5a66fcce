"""Reading tapes: events in the order they were received, one block in memory at a time, any damage named by place.

A tape's events have non-decreasing `received`; equal times keep the file's order, so an event's number in the file is
the explicit tie-break. Several tapes merge by (received, order of the tapes given, number in the file).
"""

import heapq
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec
import zstandard

from polybot.domain.events import MarketEvent, MarketListed
from polybot.domain.market import Market
from polybot.storage.tape_format import (
    HEAD_SIZE,
    HEADER_DECODER,
    MAGIC,
    OPENING,
    PAYLOAD_BYTES_MAX,
    TOTALS_DECODER,
    TRAILER,
    TRAILER_MAGIC,
    VERSION,
    FrameHead,
    FrameKind,
    TapeError,
    TapeHeader,
    TapeTotals,
    checksum_holds,
    inflate,
    tape_error,
    unpack_events,
    unpack_head,
)
from polybot.storage.tape_writer import TapeWriter, new_tape, recorded_tape

__all__ = [
    "TapeError",
    "TapeHeader",
    "TapeReader",
    "TapeSummary",
    "TapeTotals",
    "TapeWriter",
    "merge_tapes",
    "new_tape",
    "read_tape",
    "recorded_tape",
    "tape_summary",
    "verify_tape",
]

FETCH_AGAIN = "fetch or import the tape again"
UNFINISHED = "a recording that broke off is made whole by `polybot tape join`; anything else fetch or import again"
FRAMING_ERRORS = (msgspec.DecodeError, zstandard.ZstdError)


class TapeSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What `polybot tape show` prints. `size` is in bytes; `finished` is False for a broken-off recording."""

    path: str
    size: int
    finished: bool
    header: TapeHeader
    totals: TapeTotals
    counts: dict[str, int]
    """Events by kind, for instance "BookReplaced"; empty unless the tape was read through (`verify_tape`)."""


class TapeReader:
    """One tape, opened and its header checked; the events are read by `events`, as often as wanted.

    Raises TapeError where the file is missing or not a tape, or has no end and `allow_unfinished` is not set.
    """

    def __init__(self, path: Path, *, allow_unfinished: bool = False) -> None:
        self.path = path
        self.allow_unfinished = allow_unfinished
        self.lost_bytes = 0
        """After reading an unfinished tape to its last whole block: how many bytes of a torn one followed."""
        try:
            with path.open("rb") as file:
                self.header, self._body_start = self._read_opening(file)
                self.size = file.seek(0, 2)
                self.totals = self._read_totals(file)
        except OSError as error:
            raise TapeError(f"{path}: cannot be read ({error.strerror}); check the path") from error
        if self.totals is None and not allow_unfinished:
            # Reading on to the break costs a moment once, and tells its place instead of only that there is one.
            self._complain_of_missing_end()

    @property
    def finished(self) -> bool:
        return self.totals is not None

    def events(self, start: int = 0) -> Iterator[MarketEvent]:
        """All events from number `start` (0 is the first); blocks before it are checked, but not decoded."""
        decompressor = zstandard.ZstdDecompressor()
        with self.path.open("rb") as file:
            file.seek(self._body_start)
            for head, payload, offset, first in self._blocks(file, start):
                events = self._decode(head, payload, offset, decompressor)
                yield from events if first >= start else events[start - first :]

    def markets(self) -> list[Market]:
        """Every market the tape lists, in order of listing: from the end frame, or by reading where there is none."""
        if self.totals is not None:
            return self.totals.markets
        found: dict[str, Market] = {}
        for event in self.events():
            if isinstance(event, MarketListed):
                found.setdefault(event.market.id, event.market)
        return list(found.values())

    def _read_opening(self, file: BinaryIO) -> tuple[TapeHeader, int]:
        opening = file.read(OPENING.size)
        if len(opening) < OPENING.size or opening[: len(MAGIC)] != MAGIC:
            raise TapeError(f"{self.path}: byte 0: not a tape; `polybot tape import` makes tapes from other formats")
        version = OPENING.unpack(opening)[1]
        if version != VERSION:
            raise TapeError(f"{self.path}: byte 8: tape version {version}, this program reads {VERSION}; update it")
        try:
            head, payload = self._read_frame(file, OPENING.size, 0)
        except _TornTailError as torn:
            raise tape_error(self.path, 0, OPENING.size, str(torn), FETCH_AGAIN) from torn
        if head.kind != FrameKind.HEADER:
            raise tape_error(self.path, 0, OPENING.size, "the header is missing", FETCH_AGAIN)
        try:
            return HEADER_DECODER.decode(payload), file.tell()
        except msgspec.DecodeError as error:
            raise tape_error(self.path, 0, OPENING.size, f"the header is unreadable ({error})", FETCH_AGAIN) from error

    def _read_totals(self, file: BinaryIO) -> TapeTotals | None:
        """The end frame's content, found from the file's last bytes; None where the file does not end with one."""
        if self.size < self._body_start + TRAILER.size:
            return None
        file.seek(self.size - TRAILER.size)
        length, magic = TRAILER.unpack(file.read(TRAILER.size))
        start = self.size - TRAILER.size - length
        if magic != TRAILER_MAGIC or start < self._body_start:
            return None
        file.seek(start)
        try:
            head, payload = self._read_frame(file, start, 0)
            if head.kind != FrameKind.END or file.tell() != self.size - TRAILER.size:
                return None
            return TOTALS_DECODER.decode(inflate(payload, zstandard.ZstdDecompressor()))
        except (TapeError, *FRAMING_ERRORS):
            return None

    def _complain_of_missing_end(self) -> None:
        with self.path.open("rb") as file:
            file.seek(self._body_start)
            for _ in self._blocks(file, 0):
                pass
        raise tape_error(self.path, 0, self.size, "the end is damaged", FETCH_AGAIN)

    def _blocks(self, file: BinaryIO, start: int) -> Iterator[tuple[FrameHead, bytes, int, int]]:
        """Blocks holding event `start` or later: head, payload, byte offset, number of their first event.

        Every block is checked on the way, skipped ones too: a wrong count would move all that follows.
        """
        number = seen = 0
        while True:
            offset = file.tell()
            if offset >= self.size:
                self._ends_without_end(number, offset, "the tape stops here without its end")
                return
            try:
                head, payload = self._read_frame(file, offset, number)
            except _TornTailError as torn:
                self._ends_without_end(number, offset, str(torn))
                return
            if head.kind == FrameKind.END:
                self._check_end(number, seen, offset)
                return
            if head.kind != FrameKind.EVENTS or head.number != number:
                text = f"expected event block {number}, found number {head.number} of kind {head.kind}"
                raise tape_error(self.path, number, offset, text, FETCH_AGAIN)
            if seen + head.events > start:
                yield head, payload, offset, seen
            number, seen = number + 1, seen + head.events

    def _read_frame(self, file: BinaryIO, offset: int, number: int) -> tuple[FrameHead, bytes]:
        head_bytes = file.read(HEAD_SIZE)
        if len(head_bytes) < HEAD_SIZE:
            raise _TornTailError("the file breaks off inside a block's head")
        head = unpack_head(head_bytes)
        if head.size > PAYLOAD_BYTES_MAX:
            raise tape_error(self.path, number, offset, f"a block of {head.size} bytes cannot be", FETCH_AGAIN)
        payload = file.read(head.size)
        if len(payload) < head.size:
            raise _TornTailError(f"the file breaks off {len(payload)} bytes into {head.size}")
        if not checksum_holds(head_bytes, head, payload):
            text = "the checksum does not match: the bytes were changed"
            if not file.read(1):
                raise _TornTailError(text)
            raise tape_error(self.path, number, offset, text, FETCH_AGAIN)
        return head, payload

    def _ends_without_end(self, number: int, offset: int, trouble: str) -> None:
        """A recording that broke off ends at its last whole block; anything else that has no end is damaged."""
        if not self.allow_unfinished or self.totals is not None:
            raise tape_error(self.path, number, offset, trouble, UNFINISHED)
        self.lost_bytes = max(0, self.size - offset)

    def _check_end(self, blocks: int, events: int, offset: int) -> None:
        if self.totals is None:
            self._ends_without_end(blocks, offset, "the end is damaged, or something follows it")
        elif (blocks, events) != (self.totals.blocks, self.totals.events):
            text = f"{events} events in {blocks} blocks, but the end says {self.totals.events} in {self.totals.blocks}"
            raise tape_error(self.path, blocks, offset, text, FETCH_AGAIN)

    def _decode(
        self, head: FrameHead, payload: bytes, offset: int, decompressor: zstandard.ZstdDecompressor
    ) -> list[MarketEvent]:
        try:
            events = unpack_events(payload, decompressor)
        except FRAMING_ERRORS as error:
            text = f"the block holds something else than events ({error})"
            raise tape_error(self.path, head.number, offset, text, "update this program, or import again") from error
        if len(events) != head.events:
            text = f"{len(events)} events where its head says {head.events}"
            raise tape_error(self.path, head.number, offset, text, FETCH_AGAIN)
        return events


class _TornTailError(TapeError):
    """The last thing in the file is incomplete: what a crash of the recorder leaves. Says what, not where."""


def read_tape(path: Path, *, start: int = 0, allow_unfinished: bool = False) -> Iterator[MarketEvent]:
    """The tape's events from number `start`, in the order they were received. Raises TapeError naming the place."""
    return TapeReader(path, allow_unfinished=allow_unfinished).events(start)


def merge_tapes(paths: Sequence[Path], *, start: int = 0, allow_unfinished: bool = False) -> Iterator[MarketEvent]:
    """All the tapes' events by (received, order of `paths`, number in the file), from number `start` of the merged row.

    With one tape `start` is a seek; with several the earlier events are read past, as only the merge knows their place.
    """
    if len(paths) == 1:
        return read_tape(paths[0], start=start, allow_unfinished=allow_unfinished)
    rows = [read_tape(path, allow_unfinished=allow_unfinished) for path in paths]
    # heapq.merge breaks ties by the position of the row, then keeps each row's own order: the promise above.
    merged = heapq.merge(*rows, key=lambda event: event.received)
    return islice(merged, start, None) if start else merged


def tape_summary(path: Path, *, allow_unfinished: bool = True) -> TapeSummary:
    """Header and totals, without reading the events where the tape is finished. Raises TapeError."""
    reader = TapeReader(path, allow_unfinished=allow_unfinished)
    if reader.totals is None:
        return verify_tape(path, allow_unfinished=allow_unfinished)
    return TapeSummary(
        path=str(path), size=reader.size, finished=True, header=reader.header, totals=reader.totals, counts={}
    )


def verify_tape(path: Path, *, allow_unfinished: bool = False) -> TapeSummary:
    """Read every event, check order and totals, and count by kind. Raises TapeError naming the place."""
    reader = TapeReader(path, allow_unfinished=allow_unfinished)
    counts: dict[str, int] = {}
    markets: dict[str, Market] = {}
    first = last = number = 0
    for number, event in enumerate(reader.events(), start=1):
        if number == 1:
            first = last = event.received
        if event.received < last:
            raise TapeError(f"{path}: event {number - 1}: received before its predecessor; {FETCH_AGAIN}")
        last = event.received
        kind = type(event).__name__
        counts[kind] = counts.get(kind, 0) + 1
        if isinstance(event, MarketListed):
            markets.setdefault(event.market.id, event.market)
    found = TapeTotals(events=number, blocks=0, first_ms=first, last_ms=last, markets=list(markets.values()))
    if reader.totals is not None and msgspec.structs.replace(found, blocks=reader.totals.blocks) != reader.totals:
        raise TapeError(f"{path}: the totals at its end are not those of its events; {FETCH_AGAIN}")
    return TapeSummary(
        path=str(path),
        size=reader.size,
        finished=reader.finished,
        header=reader.header,
        totals=reader.totals or found,
        counts=counts,
    )
