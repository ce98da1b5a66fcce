"""Tapes taken apart into windows: what was recorded of one market, timed from the start of its window.

Events are kept as they lie on the tape, encoded, and decoded when they are played: twelve windows of 20-level books are
eleven megabytes so, and ten times as much as values.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from polybot.domain.events import MarketEvent, MarketListed, MarketResolved, ReferencePriced, SnapshotRequested
from polybot.domain.ids import MarketId
from polybot.domain.market import Market
from polybot.domain.units import Price
from polybot.storage.tape import TapeError, merge_tapes

EVENTS_MAX = 5_000_000
"""Of all tapes together; a day of three markets at full depth has about two million."""
WARM_UP_MS = 120_000
"""Reference prices from so long before the window are kept: two averages of 60 s and some."""
ENCODER = msgspec.msgpack.Encoder()
DECODER: msgspec.msgpack.Decoder[MarketEvent] = msgspec.msgpack.Decoder(MarketEvent)


class RecordedEvent(msgspec.Struct, frozen=True, gc=False):
    """`offset_ms` is from the window's start, negative before it."""

    offset_ms: int
    encoded: bytes

    def event(self) -> MarketEvent:
        return DECODER.decode(self.encoded)


class RecordedPrice(msgspec.Struct, frozen=True, gc=False):
    offset_ms: int
    price: int


class RecordedWindow(msgspec.Struct, frozen=True):
    """One settled market: its books, trades and tick changes in order, its reference prices if any, and its payout."""

    market: Market
    events: list[RecordedEvent]
    references: list[RecordedPrice]
    payout_up: Price
    settled_after_ms: int
    """From the window's end to the venue's word."""

    @property
    def length_ms(self) -> int:
        return self.market.window_end - self.market.window_start


class _Gathering:
    """What is known of one market while the tape is read."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.events: list[RecordedEvent] = []
        self.resolved: MarketResolved | None = None

    def finished(self, references: Sequence[ReferencePriced]) -> RecordedWindow | None:
        if self.resolved is None or not self.events:
            return None
        market = self.market
        return RecordedWindow(
            market=market,
            events=self.events,
            references=_references_of(market, references),
            payout_up=self.resolved.payout_up,
            settled_after_ms=self.resolved.at - market.window_end,
        )


def recorded_windows(paths: Sequence[Path]) -> list[RecordedWindow]:
    """Every market of the tapes that has books and a payout, by window start. Raises TapeError where there is none."""
    windows = windows_of(merge_tapes(paths, allow_unfinished=True))
    if not windows:
        names = ", ".join(str(path) for path in paths)
        raise TapeError(f"{names}: no market with books and a settlement; choose a tape that has settlements")
    return windows


def windows_of(events: Iterable[MarketEvent]) -> list[RecordedWindow]:
    """The windows of events in the order of a tape. Raises TapeError for more than EVENTS_MAX."""
    found: dict[MarketId, _Gathering] = {}
    references: list[ReferencePriced] = []
    for number, event in enumerate(events):
        if number >= EVENTS_MAX:
            raise TapeError(f"more than {EVENTS_MAX} events; play fewer tapes at once")
        match event:
            case MarketListed():
                found.setdefault(event.market.id, _Gathering(event.market))
            case ReferencePriced():
                references.append(event)
            case MarketResolved():
                if event.market in found:
                    found[event.market].resolved = event
            case SnapshotRequested():
                pass
            case _:
                if event.market in found:
                    gathering = found[event.market]
                    offset = event.received - gathering.market.window_start
                    gathering.events.append(RecordedEvent(offset, ENCODER.encode(event)))
    finished = [gathering.finished(references) for gathering in found.values()]
    return sorted((w for w in finished if w is not None), key=lambda window: window.market.window_start)


def _references_of(market: Market, references: Sequence[ReferencePriced]) -> list[RecordedPrice]:
    """The prices of the window's asset by its settling source if that was recorded, else by the first that was."""
    since, until = market.window_start - WARM_UP_MS, market.window_end
    near = [r for r in references if r.asset == market.asset and since <= r.at < until]
    sources = [r.source for r in near]
    wanted = next((s for s in sources if "chainlink" in s and "twap" not in s), sources[0] if sources else "")
    ours = {r.at: r.price for r in near if r.source == wanted}
    return [RecordedPrice(at - market.window_start, ours[at]) for at in sorted(ours)]
