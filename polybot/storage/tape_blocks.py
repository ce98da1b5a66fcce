"""What a recording keeps beside its tape, in the tape's own framing: frames as received, and every look of a trader.

A file is a magic, a header frame, and blocks; it has no end frame. What a kill leaves of the last block is passed over,
damage anywhere else is named by its place (docs/recording.md).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

import msgspec
import zstandard

from polybot.domain.ids import AgentId, MarketId
from polybot.domain.units import Millis
from polybot.storage.tape_format import (
    BLOCK_BYTES_MAX,
    HEAD_SIZE,
    OPENING,
    PAYLOAD_BYTES_MAX,
    FrameHead,
    FrameKind,
    checksum_holds,
    inflate,
    pack_frame,
    tape_error,
    unpack_head,
)

MAGIC = b"POLYKEPT"
VERSION = 1
RECORDS_MAX = 512
LEVEL = 3
REMEDY = "the rest of the file cannot be trusted; other files of the recording are not touched by this"


class RawFrame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Bytes as they came in from `source` ("market", "prices", "gamma" ...), and when, in UTC milliseconds."""

    received: Millis
    source: str
    data: bytes


class Look(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A trader looked at a market: with market events up to `position` and facts up to number `facts` taken in (D5b).

    `kind` is the tag of the event that woke it, `now` the time it was told, `may_trade` whether this floor led then,
    and `decided` whether there was a verdict (None: not known).
    """

    position: int
    facts: int
    agent: AgentId
    market: MarketId
    kind: str
    now: Millis
    may_trade: bool = True
    decided: bool | None = None


Record = TypeVar("Record", RawFrame, Look)


class BlockWriter(Generic[Record]):
    """Appends records of one kind to an open binary file; a crash costs what came after the last `flush`."""

    def __init__(self, file: BinaryIO, kind: FrameKind, *, level: int = LEVEL) -> None:
        self._file, self._kind = file, kind
        self._compressor = zstandard.ZstdCompressor(level=level)
        self._encoder = msgspec.msgpack.Encoder()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._blocks = 0
        file.write(OPENING.pack(MAGIC, VERSION))
        file.write(pack_frame(FrameHead(FrameKind.HEADER, 0, 0, 0, 0, 0), bytes([kind])))

    def append(self, record: Record) -> None:
        encoded = self._encoder.encode(record)
        self._pending.append(encoded)
        self._pending_bytes += len(encoded)
        if len(self._pending) >= RECORDS_MAX or self._pending_bytes >= BLOCK_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        if not self._pending:
            return
        content = b"\xdc" + len(self._pending).to_bytes(2, "big") + b"".join(self._pending)
        head = FrameHead(self._kind, self._blocks, len(self._pending), 0, 0, len(content))
        self._file.write(pack_frame(head, self._compressor.compress(content)))
        self._file.flush()
        self._blocks += 1
        self._pending, self._pending_bytes = [], 0


def read_frames(path: Path) -> Iterator[RawFrame]:
    """Frames as received, in order of receipt, to the last whole block. Raises TapeError naming the place of damage."""
    return _records(path, FrameKind.RAW, msgspec.msgpack.Decoder(list[RawFrame]))


def read_looks(path: Path) -> Iterator[Look]:
    """The traders' looks, in their order, to the last whole block. Raises TapeError naming the place of damage."""
    return _records(path, FrameKind.LOOKS, msgspec.msgpack.Decoder(list[Look]))


def _records(path: Path, kind: FrameKind, decoder: msgspec.msgpack.Decoder[list[Record]]) -> Iterator[Record]:
    decompressor = zstandard.ZstdDecompressor()
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        opening = file.read(OPENING.size)
        if len(opening) < OPENING.size:
            return
        if OPENING.unpack(opening) != (MAGIC, VERSION):
            raise tape_error(path, 0, 0, "not a file of a recording, or of a newer version", "check the path")
        number = -1  # of the header
        while True:
            offset = file.tell()
            found = _whole_frame(file, path, number, size)
            if found is None:
                return
            head, payload = found
            expected = FrameKind.HEADER if number < 0 else kind
            if head.kind != expected or (number < 0 and payload != bytes([kind])):
                raise tape_error(path, number, offset, f"holds no {kind.name.lower()}", "check the path")
            if number >= 0:
                try:
                    yield from decoder.decode(inflate(payload, decompressor))
                except (msgspec.DecodeError, zstandard.ZstdError) as error:
                    raise tape_error(path, number, offset, f"the block is unreadable ({error})", REMEDY) from error
            number += 1


def _whole_frame(file: BinaryIO, path: Path, number: int, size: int) -> tuple[FrameHead, bytes] | None:
    """The next frame; None at the end, or where the last one is torn."""
    offset = file.tell()
    head_bytes = file.read(HEAD_SIZE)
    if len(head_bytes) < HEAD_SIZE:
        return None
    head = unpack_head(head_bytes)
    if head.size > PAYLOAD_BYTES_MAX:
        raise tape_error(path, number, offset, f"a block of {head.size} bytes cannot be", REMEDY)
    payload = file.read(head.size)
    if len(payload) == head.size and checksum_holds(head_bytes, head, payload):
        return head, payload
    if file.tell() >= size:
        return None
    raise tape_error(path, number, offset, "the checksum does not match: the bytes were changed", REMEDY)
