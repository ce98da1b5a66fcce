"""Writing tapes: whole ones that appear at once or not at all, and recordings that grow block by block."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import zstandard

from polybot.domain.events import MarketEvent, MarketListed
from polybot.domain.market import Market
from polybot.storage.tape_format import (
    BLOCK_BYTES_MAX,
    BLOCK_EVENTS_MAX,
    MAGIC,
    OPENING,
    PAYLOAD_BYTES_MAX,
    TRAILER,
    TRAILER_MAGIC,
    VERSION,
    FrameHead,
    FrameKind,
    TapeError,
    TapeHeader,
    TapeTotals,
    pack_frame,
)

LEVEL_ARCHIVE = 12
"""Level 19 saves 4 % more of the shipped tape and takes thirty times as long."""
LEVEL_LIVE = 3
MARKETS_MAX = 100_000
"""Different markets one tape may list: what the end frame and the writer's memory are sized for."""


class TapeWriter:
    """Turns events into blocks on an open binary file. Closing the file, and where it lies, is the caller's affair.

    Until `finish` the file is a valid *unfinished* tape: a crash costs at most the events since the last `flush`.
    """

    def __init__(self, file: BinaryIO, header: TapeHeader, *, name: str, level: int = LEVEL_LIVE) -> None:
        self._file = file
        self._name = name
        self._compressor = zstandard.ZstdCompressor(level=level)
        self._encoder = msgspec.msgpack.Encoder()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._pending_first = 0
        self._events = 0
        self._blocks = 0
        self._first_ms = 0
        self._last_ms = 0
        self._markets: dict[str, Market] = {}
        self._totals: TapeTotals | None = None
        file.write(OPENING.pack(MAGIC, VERSION))
        file.write(pack_frame(FrameHead(FrameKind.HEADER, 0, 0, 0, 0, 0), msgspec.json.encode(header)))

    @property
    def events(self) -> int:
        return self._events

    @property
    def totals(self) -> TapeTotals:
        """Of the finished tape. Raises TapeError before `finish`."""
        if self._totals is None:
            raise TapeError(f"{self._name}: the tape is not finished, so it has no totals yet")
        return self._totals

    def append(self, event: MarketEvent) -> None:
        """Take one event. Raises TapeError where time runs backwards: a reader relies on `received` never falling."""
        received = event.received
        if self._events and received < self._last_ms:
            raise TapeError(
                f"{self._name}: event {self._events} was received at {received}, before its predecessor at "
                f"{self._last_ms}; sort the events by `received` first"
            )
        encoded = self._encoder.encode(event)
        if len(encoded) > BLOCK_BYTES_MAX:
            raise TapeError(f"{self._name}: event {self._events} takes {len(encoded)} bytes, at most {BLOCK_BYTES_MAX}")
        if self._pending_bytes + len(encoded) > BLOCK_BYTES_MAX:
            self.flush()
        if not self._pending:
            self._pending_first = received
        if not self._events:
            self._first_ms = received
        self._pending.append(encoded)
        self._pending_bytes += len(encoded)
        self._events += 1
        self._last_ms = received
        if isinstance(event, MarketListed):
            self._note_market(event.market)
        if len(self._pending) >= BLOCK_EVENTS_MAX:
            self.flush()

    def flush(self) -> None:
        """Close the block under way and hand it to the operating system; a recorder calls this about once a second."""
        if not self._pending:
            return
        content = _array_head(len(self._pending)) + b"".join(self._pending)
        head = FrameHead(
            FrameKind.EVENTS, self._blocks, len(self._pending), self._pending_first, self._last_ms, len(content)
        )
        self._file.write(pack_frame(head, self._compressor.compress(content)))
        self._file.flush()
        self._blocks += 1
        self._pending, self._pending_bytes = [], 0

    def finish(self) -> TapeTotals:
        """Write the end, which tells a finished tape from one that broke off, and push all of it to the disk."""
        self.flush()
        totals = TapeTotals(
            events=self._events,
            blocks=self._blocks,
            first_ms=self._first_ms,
            last_ms=self._last_ms,
            markets=list(self._markets.values()),
        )
        content = self._encoder.encode(totals)
        if len(content) > PAYLOAD_BYTES_MAX:
            raise TapeError(f"{self._name}: the list of markets takes {len(content)} bytes; split the tape")
        head = FrameHead(FrameKind.END, self._blocks, 0, self._first_ms, self._last_ms, len(content))
        frame = pack_frame(head, self._compressor.compress(content))
        self._file.write(frame)
        self._file.write(TRAILER.pack(len(frame), TRAILER_MAGIC))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._totals = totals
        return totals

    def _note_market(self, market: Market) -> None:
        """The first listing of a market is the one the end frame repeats; later ones change terms, not identity."""
        if market.id not in self._markets and len(self._markets) >= MARKETS_MAX:
            raise TapeError(f"{self._name}: more than {MARKETS_MAX} markets; start a new tape")
        self._markets.setdefault(market.id, market)


def _array_head(count: int) -> bytes:
    """A msgpack array's head in its 16-bit form: the events are already encoded, one by one, to know their size."""
    return b"\xdc" + count.to_bytes(2, "big")


@contextlib.contextmanager
def new_tape(path: Path, header: TapeHeader, *, level: int = LEVEL_ARCHIVE) -> Iterator[TapeWriter]:
    """A whole tape: it stands at `path` after the block ends well; if it does not, nothing is left behind.

    Raises TapeError where `path` cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            writer = TapeWriter(file, header, name=str(path), level=level)
            yield writer
            writer.finish()
        os.replace(partial, path)
        _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def recorded_tape(path: Path, header: TapeHeader) -> Iterator[TapeWriter]:
    """A recording: grows in place, never overwrites another, and is read with `allow_unfinished` if it breaks off."""
    with path.open("xb") as file:
        writer = TapeWriter(file, header, name=str(path))
        try:
            yield writer
        finally:
            writer.finish()


def _sync_folder(folder: Path) -> None:
    """The rename itself reaches the disk only when the folder does."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
