"""Recorded market-socket frames to verified books: how many a second one core can take in, bytes to `Markets.apply`.

The usual frames are the shipped recording's, shaped as the venue's (live.py): one level of both tokens with the best
prices after it. The others are verbatim ones that somebody has recorded (`*.raw.jsonl.gz` with their markets, as in
`polybot tape import protocol`), of which a third are dumps of several full books.
"""

import gc
import time
from collections import Counter
from pathlib import Path

import msgspec

from polybot.bench.live import make_frames, token_of
from polybot.domain.book import BookState
from polybot.domain.errors import BadInput
from polybot.domain.events import MarketEvent, MarketListed
from polybot.domain.market import Market, Outcome
from polybot.domain.markets import Markets
from polybot.domain.units import Millis
from polybot.importing.csv_rows import read_lines
from polybot.importing.protocol import RAW_ENDING, Line, read
from polybot.settings import Settings
from polybot.venue.polymarket.wire import MarketDecoder, Tokens, Undecodable

FRAMES_MAX = 60_000
FRAMES_MIN = 20_000
"""A short recording is gone through again, its books from the start, until so many frames were taken in."""
Frames = list[tuple[Millis, bytes]]


class FramesRun(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of this process's own computing (`cpu`) and by the clock. `states`: books in the end, by their state."""

    frames: int
    megabytes: float
    cpu_s: float
    wall_s: float
    decode_s: float
    unread: int
    states: dict[str, int]

    @property
    def per_second(self) -> float:
        return self.frames / self.cpu_s

    @property
    def decode_share(self) -> float:
        return self.decode_s / self.cpu_s


def shipped_frames(settings: Settings) -> tuple[list[Market], Tokens, Frames]:
    """The shipped recording's, of four markets at a time."""
    markets, frames = make_frames(settings, most=FRAMES_MAX)
    tokens = Tokens()
    for market in markets:
        for outcome in Outcome:
            tokens.put(token_of(market, outcome), market.id, outcome)
    return markets, tokens, [(Millis(at), frame) for at, frame in frames]


def recorded_frames(folder: Path) -> tuple[list[Market], Tokens, Frames]:
    """The market socket's frames of recorded sessions. Raises BadInput where there are none."""
    listed = [event.market for event in read(folder).events if isinstance(event, MarketListed)]
    markets = list({market.id: market for market in listed}.values())
    found: Frames = []
    for path in sorted(folder.glob(f"*{RAW_ENDING}")):
        lines = [msgspec.json.decode(text, type=Line) for _, text in read_lines(path)]
        mine = [line for line in lines if line.source == "polymarket_clob" and '"event_type"' in line.payload]
        found += [(Millis(line.recv_wall_ts), line.payload.encode()) for line in mine]
    if not found:
        raise BadInput(f"{folder}: no frame of the market socket in it")
    return markets, Tokens(markets), sorted(found)


def run_frames(markets: list[Market], tokens: Tokens, frames: Frames, *, at_least: int = FRAMES_MIN) -> FramesRun:
    """Take all of them in. Decoding is timed by a pass of its own, just before, over the same bytes."""
    rounds = max(1, -(-at_least // len(frames)))
    decoder, unread = MarketDecoder(tokens), 0
    gc.collect()
    began = time.process_time()
    for _ in range(rounds):
        for at, frame in frames:
            unread += sum(type(event) is Undecodable for event in decoder.decode(frame, at))
    decode_s = time.process_time() - began
    decoder, state = MarketDecoder(tokens), Markets()
    gc.collect()
    wall, began = time.perf_counter(), time.process_time()
    for _ in range(rounds):
        state = _take_in(markets, decoder, frames)
    cpu_s, wall_s = time.process_time() - began, time.perf_counter() - wall
    books = Counter(_say(book.state, bool(book.received)) for m in state.by_id.values() for book in m.books)
    return FramesRun(
        frames=rounds * len(frames),
        megabytes=rounds * sum(len(frame) for _, frame in frames) / 1e6,
        cpu_s=cpu_s,
        wall_s=wall_s,
        decode_s=decode_s,
        unread=unread // rounds,
        states=dict(books),
    )


def _take_in(markets: list[Market], decoder: MarketDecoder, frames: Frames) -> Markets:
    state = Markets()
    for market in markets:
        state.apply(MarketListed(frames[0][0], frames[0][0], market))
    for at, frame in frames:
        for event in decoder.decode(frame, at):
            if isinstance(event, MarketEvent):
                state.apply(event)
    return state


def _say(state: BookState, heard: bool) -> str:
    return state.value if heard else "never told of"
