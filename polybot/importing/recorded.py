"""`recorded`: the frames as received of a recording by PolyBot itself, read again by the decoders of today.

From the frames come books, changes, trades and prices; from the tape beside them the windows, their results and our own
requests for snapshots, each at its time. So a decoder that has learnt something new makes a better tape of an old
recording, and the same files always give the same tape. What two sockets both said is in it twice, which books bear.
"""

import heapq
from collections.abc import Iterator
from pathlib import Path

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.events import MarketEvent, MarketListed, MarketResolved, SnapshotRequested
from polybot.domain.units import Millis
from polybot.importing.source import ImportJob, Tally
from polybot.storage.tape import TapeReader
from polybot.storage.tape_blocks import RawFrame, read_frames
from polybot.venue.polymarket.wire import MarketDecoder, Tokens, Undecodable
from polybot.venue.polymarket.wire_polybolt import decode_polybolt
from polybot.venue.polymarket.wire_prices import decode_prices

FRAMES, TAPE = ".frames", ".tape"
OURS = (MarketListed, MarketResolved, SnapshotRequested)


def read(source: Path) -> ImportJob:
    """`source` is the .frames file; its tape lies beside it. Raises BadInput, TapeError."""
    tape = source.with_suffix(TAPE)
    if source.suffix != FRAMES or not tape.is_file():
        raise BadInput(f"{source}: give a recording's {FRAMES} file, with its {TAPE} file beside it")
    reader, tally = TapeReader(tape, allow_unfinished=True), Tally()
    decoder = MarketDecoder(Tokens(market for market in reader.markets() if market.tokens is not None))
    ours = (event for event in reader.events() if isinstance(event, OURS))
    heard = (event for frame in read_frames(source) for event in _events(frame, decoder, tally))
    return ImportJob(
        header=msgspec.structs.replace(reader.header, created_from=source.name, preamble=0),
        events=heapq.merge(ours, heard, key=lambda event: event.received),  # of one moment, ours first
        expected=reader.totals.events if reader.totals is not None else 0,
        tally=tally,
    )


def _events(frame: RawFrame, decoder: MarketDecoder, tally: Tally) -> Iterator[MarketEvent]:
    for event in _decoded(frame, decoder, frame.received):
        if isinstance(event, MarketEvent):
            if not isinstance(event, MarketResolved):  # believed from the tape, where an early one is left out
                yield event
        elif isinstance(event, Undecodable):
            tally.count(f"{frame.source} messages not understood", event.reason)
        else:
            tally.count(f"{frame.source} messages of no use to a floor")


def _decoded(frame: RawFrame, decoder: MarketDecoder, received: Millis) -> list[object]:
    if frame.source == "market":
        return [*decoder.decode(frame.data, received)]
    if frame.source == "rtds":
        return [*decode_prices(frame.data, received)]
    if frame.source == "polybolt":
        return [*decode_polybolt(frame.data, received)]
    return [frame.source]  # answers of the catalogue: what came of them is on the tape
