"""Reading what a floor recorded: which segments there are, and their events with the numbers they had on the floor."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from polybot.domain.events import MarketEvent, MarketListed
from polybot.domain.ids import MarketId
from polybot.domain.units import Millis
from polybot.storage.tape import TapeReader
from polybot.storage.tape_blocks import Look, read_looks
from polybot.storage.tape_format import TapeHeader

TAPE, FRAMES, LOOKS = ".tape", ".frames", ".looks"
ENDINGS = (TAPE, FRAMES, LOOKS)


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """One tape of a recording, with what stands beside it."""

    path: Path
    header: TapeHeader
    markets: frozenset[MarketId]
    listed_before: frozenset[MarketId]
    """Those of the markets that were there when it began; their beginning is in an earlier segment, or lost."""

    def events(self) -> Iterator[tuple[int, MarketEvent]]:
        """From the first that the floor saw, each with its number on the floor; a torn last block is passed over."""
        reader = TapeReader(self.path, allow_unfinished=True)
        return enumerate(reader.events(start=self.header.preamble), start=self.header.first_position)

    def count(self) -> int:
        """How many events `events` has; by reading them where the tape broke off."""
        totals = TapeReader(self.path, allow_unfinished=True).totals
        return totals.events - self.header.preamble if totals is not None else sum(1 for _ in self.events())

    def looks(self) -> Iterator[Look]:
        path = self.path.with_suffix(LOOKS)
        return read_looks(path) if path.exists() else iter(())


def segments(folder: Path) -> list[Segment]:
    """Every segment in the folder, in order of time. Raises TapeError for a damaged one."""
    return [_segment(path) for path in sorted(folder.glob(f"*{TAPE}")) if path.stat().st_size]


def sessions_of(market: MarketId, run: str, found: Sequence[Segment]) -> list[list[Segment]]:
    """The segments in which a run's floor knew this market, by life of the process; of each life, in order."""
    lives: dict[Millis, list[Segment]] = {}
    for segment in found:
        if segment.header.run == run and market in segment.markets:
            lives.setdefault(segment.header.session, []).append(segment)
    return [lives[session] for session in sorted(lives)]


def joined(tapes: Sequence[Path]) -> Iterator[MarketEvent]:
    """One row of events: what a tape says of how the markets were is left out where nothing is missing before it."""
    expected: tuple[str, Millis, int] | None = None
    for path in tapes:
        reader = TapeReader(path, allow_unfinished=True)
        header = reader.header
        follows = expected == (header.run, header.session, header.first_position)
        number = header.first_position - (0 if follows else header.preamble)
        for event in reader.events(start=header.preamble if follows else 0):
            number += 1
            yield event
        expected = (header.run, header.session, number)


def joined_header(tapes: Sequence[Path]) -> TapeHeader:
    """The first one's, with the notes of all."""
    headers = [TapeReader(path, allow_unfinished=True).header for path in tapes]
    notes = list(dict.fromkeys(note for header in headers for note in header.notes))
    return msgspec.structs.replace(headers[0], notes=notes, created_from=f"{len(tapes)} tapes")


def _segment(path: Path) -> Segment:
    reader = TapeReader(path, allow_unfinished=True)
    markets = frozenset(market.id for market in reader.markets())
    before = frozenset(
        event.market.id
        for _, event in zip(range(reader.header.preamble), reader.events(), strict=False)
        if isinstance(event, MarketListed)
    )
    return Segment(path=path, header=reader.header, markets=markets, listed_before=before)
