"""The files of a recording: one segment after another, each with a tape, the frames as received, and the looks.

    20260928T141500.123Z-000000001.tape     market events as the floor took them in; plays like any tape
    20260928T141500.123Z-000000001.frames   every frame as received (tape_blocks.py)
    20260928T141500.123Z-000000001.looks    every look of a trader, for `polybot replay`

The number is the tape's first event on its floor. Only the writing thread calls in here.
"""

import contextlib
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from polybot.domain.events import MarketEvent
from polybot.domain.units import Millis
from polybot.storage.tape_blocks import BlockWriter, Look, RawFrame
from polybot.storage.tape_format import FrameKind, TapeHeader
from polybot.storage.tape_recording import ENDINGS, FRAMES, LOOKS, TAPE
from polybot.storage.tape_writer import TapeWriter


def segment_name(received: Millis, position: int) -> str:
    """Sorts by time. Milliseconds are in it, as a floor may be started twice a second."""
    seconds, ms = divmod(received, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m%dT%H%M%S}.{ms:03d}Z-{position:09d}"


class SegmentWriter:
    """One segment while it grows. Raises OSError where the disk refuses; the segment is then left as it is."""

    def __init__(self, folder: Path, name: str, header: TapeHeader, preamble: Sequence[MarketEvent]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self._files: list[BinaryIO] = []
        try:
            self._tape_file = self._open(folder / f"{name}{TAPE}")
            self.tape = TapeWriter(self._tape_file, header, name=name)
            self.frames = BlockWriter[RawFrame](self._open(folder / f"{name}{FRAMES}"), FrameKind.RAW)
            self.looks = BlockWriter[Look](self._open(folder / f"{name}{LOOKS}"), FrameKind.LOOKS)
            for event in preamble:
                self.tape.append(event)
        except BaseException:
            self.abandon()
            raise

    @property
    def size(self) -> int:
        """Bytes written so far, in all three files."""
        return sum(file.tell() for file in self._files)

    def flush(self) -> None:
        """What a kill from here on cannot take."""
        self.tape.flush()
        self.frames.flush()
        self.looks.flush()

    def finish(self) -> None:
        self.flush()
        self.tape.finish()
        self.abandon()

    def abandon(self) -> None:
        """Let go of the files, whatever state they are in; they are read up to their last whole block."""
        for file in self._files:
            with contextlib.suppress(OSError):  # what is still buffered may not fit on the disk either
                file.close()

    def _open(self, path: Path) -> BinaryIO:
        file = path.open("xb")
        self._files.append(file)
        return file


class DiskBound:
    """Keeps a recording within its space: whole segments go, oldest first, never the one that is written."""

    def __init__(self, folder: Path, bytes_max: int, free_bytes_min: int) -> None:
        self._folder, self._bytes_max, self._free_bytes_min = folder, bytes_max, free_bytes_min
        self.removed = 0
        self.bytes = 0

    def keep(self, current: str) -> None:
        """Remove what is too much. Raises OSError where even then too little of the disk is free for the journal."""
        segments: dict[str, int] = {}
        for path in self._folder.iterdir():
            if path.suffix in ENDINGS:
                segments[path.stem] = segments.get(path.stem, 0) + path.stat().st_size
        self.bytes = sum(segments.values())
        for name in sorted(segments):
            if name == current or (self.bytes <= self._bytes_max and self._is_roomy()):
                break
            for ending in ENDINGS:
                (self._folder / f"{name}{ending}").unlink(missing_ok=True)
            self.bytes -= segments[name]
            self.removed += 1
        if not self._is_roomy():
            free = shutil.disk_usage(self._folder).free
            kept = self._free_bytes_min
            raise OSError(f"only {free / 1e6:.0f} MB of the disk are free, {kept / 1e6:.0f} MB are kept")

    def _is_roomy(self) -> bool:
        return shutil.disk_usage(self._folder).free >= self._free_bytes_min
