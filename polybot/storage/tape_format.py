"""The bytes of a tape file: a magic, then frames, each with its own checksum (docs/decisions/0002-tape-format.md).

Frame: kind, number, events, first and last `received`, payload length, crc32 of all of that and the payload, payload.
The first frame is the header (plain JSON, so that `head` shows it), the last is the end with the totals.
"""

import enum
import struct
import zlib
from pathlib import Path

import msgspec
import zstandard

from polybot.domain.errors import BadInput
from polybot.domain.events import MarketEvent
from polybot.domain.market import Market
from polybot.domain.units import Millis

MAGIC = b"POLYTAPE"
VERSION = 1
OPENING = struct.Struct(">8sH")
FRAME_HEAD = struct.Struct(">BIIqqI")
CHECKSUM = struct.Struct(">I")
HEAD_SIZE = FRAME_HEAD.size + CHECKSUM.size
TRAILER = struct.Struct(">I8s")
TRAILER_MAGIC = b"EPATYLOP"
"""The file's last 12 bytes: size of the end frame and this, so that totals are found without reading the tape."""

BLOCK_EVENTS_MAX = 128
"""A block of 20-level books then stays in the processor's cache: 512 compress 9 % better and read a third slower."""
BLOCK_BYTES_MAX = 4 << 20
"""A block is closed at whichever comes first; bytes are before compression and bound what a reader holds."""
PAYLOAD_BYTES_MAX = 64 << 20
"""No frame is larger before compression: one event of BLOCK_BYTES_MAX and the end frame's markets fit with room."""


class TapeError(BadInput):
    """A tape that cannot be read as one; the text names the file, the block, the byte, and what to do."""


class FrameKind(enum.IntEnum):
    """A tape has events; frames as received and the traders' looks have files of their own (tape_blocks.py)."""

    EVENTS = 1
    RAW = 2
    LOOKS = 3
    HEADER = 16
    END = 17


class TapeHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What a tape is and whom to thank for it. Known before the first event, so that a recorder can write it first.

    `depth` is "full", "top20", "top5" or "best": how much of each book the source kept. `notes` says in plain
    sentences what was assumed where the source is silent.

    A floor's recording besides: its `run`, which life of it (`session`, when that recorder was opened), the number its
    first event had on that floor, and how many events stand before that one to say how the markets were (`preamble`).
    """

    name: str
    source: str
    licence: str
    attribution: str
    created_from: str
    depth: str
    has_trades: bool
    has_reference: bool
    has_receive_times: bool
    has_settlements: bool
    notes: list[str] = []
    run: str = ""
    session: Millis = Millis(0)
    first_position: int = 1
    preamble: int = 0


class TapeTotals(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished tape holds; times are `received`, UTC milliseconds, 0 where there is no event."""

    events: int
    blocks: int
    first_ms: int
    last_ms: int
    markets: list[Market]


class FrameHead(msgspec.Struct, frozen=True, gc=False):
    """The fixed part of a frame; `size` is the payload's as stored."""

    kind: int
    number: int
    events: int
    first_ms: int
    last_ms: int
    size: int
    checksum: int = 0


EVENT_LIST_DECODER = msgspec.msgpack.Decoder(list[MarketEvent])
TOTALS_DECODER = msgspec.msgpack.Decoder(TapeTotals)
HEADER_DECODER = msgspec.json.Decoder(TapeHeader)


def pack_frame(head: FrameHead, payload: bytes) -> bytes:
    """A whole frame; the checksum covers the head too, so that no count or number can be wrong unnoticed."""
    fixed = FRAME_HEAD.pack(head.kind, head.number, head.events, head.first_ms, head.last_ms, len(payload))
    return fixed + CHECKSUM.pack(zlib.crc32(payload, zlib.crc32(fixed))) + payload


def unpack_head(data: bytes) -> FrameHead:
    return FrameHead(*FRAME_HEAD.unpack_from(data), *CHECKSUM.unpack_from(data, FRAME_HEAD.size))


def checksum_holds(head_bytes: bytes, head: FrameHead, payload: bytes) -> bool:
    return zlib.crc32(payload, zlib.crc32(head_bytes[: FRAME_HEAD.size])) == head.checksum


def unpack_events(payload: bytes, decompressor: zstandard.ZstdDecompressor) -> list[MarketEvent]:
    """A block's events in one typed call. Raises msgspec.DecodeError or zstandard.ZstdError for what is not a block."""
    return EVENT_LIST_DECODER.decode(inflate(payload, decompressor))


def inflate(payload: bytes, decompressor: zstandard.ZstdDecompressor) -> bytes:
    """Decompress, having looked first at the declared size: a hostile file must not be able to ask for gigabytes."""
    declared = zstandard.frame_content_size(payload)
    if not 0 <= declared <= PAYLOAD_BYTES_MAX:
        raise zstandard.ZstdError(f"declares {declared} bytes of content, at most {PAYLOAD_BYTES_MAX} are allowed")
    return decompressor.decompress(payload)


def tape_error(path: Path, block: int, offset: int, trouble: str, remedy: str) -> TapeError:
    return TapeError(f"{path}: block {block}, byte {offset}: {trouble}; {remedy}")
