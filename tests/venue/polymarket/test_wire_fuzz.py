"""No frame, however broken, stops the feed or corrupts a book: it is at worst doubted, and the next snapshot mends it.

Broken frames are recorded ones with bytes changed, cut, doubled and swapped, and JSON made to fit but for what it says.
"""

import gzip
import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.domain.book import Book, BookState
from polybot.domain.events import MarketEvent, MarketListed, SnapshotRequested, TickSizeChanged
from polybot.domain.market import Market, Outcome
from polybot.domain.markets import Markets
from polybot.domain.units import UNIT, Millis, Shares, parse_units
from polybot.floor.feed_watch import FeedWatch, WatchTerms
from polybot.importing.protocol import read
from polybot.venue.polymarket.merge import Merger
from polybot.venue.polymarket.stream import MarketStream
from polybot.venue.polymarket.wire import MarketDecoder, Tokens, Undecodable
from polybot.venue.polymarket.wire_clob import clob_terms
from polybot.venue.polymarket.wire_gamma import (
    events_by_slug,
    market_in_event,
    result_from_gamma,
    series_id,
    served_terms,
)
from polybot.venue.polymarket.wire_markets import market_from_gamma
from polybot.venue.polymarket.wire_polybolt import decode_polybolt
from polybot.venue.polymarket.wire_prices import decode_prices
from tests.venue.polymarket.gamma import CLOB, TERMS
from tests.venue.polymarket.liar import WindowClock, book, change, served
from tests.venue.polymarket.price_server import bolt, rtds

RECORDED = Path(__file__).resolve().parents[3].parent / "shared/data/protocol"
MARKET = served()
UP, DOWN = MARKET.tokens or ("", "")
NOW = WindowClock().now_ms()
AT = str(NOW)
TOP = ("0.50", "0.52")
BY_HAND: list[Any] = [
    [book(UP, NOW), book(DOWN, NOW, "0.48", "0.50")],
    change(UP, NOW + 1, "0.49", "7", TOP),
    change(UP, NOW + 2, "0.50", "0", ("0.49", "0.52")),
    {"event_type": "last_trade_price", "asset_id": UP, "price": "0.5", "size": "9", "side": "BUY", "timestamp": AT},
    {"event_type": "tick_size_change", "asset_id": UP, "new_tick_size": "0.001", "timestamp": AT},
    {"event_type": "market_resolved", "winning_asset_id": UP, "timestamp": AT},
    {"event_type": "best_bid_ask", "asset_id": UP, "best_bid": "0.5", "best_ask": "0.52"},
]  # fmt: skip
FRAMES = [json.dumps(message, separators=(",", ":")).encode() for message in BY_HAND]


class Floor:
    """A socket's decoding, the merger, the watch and the books: all that a frame passes, without the socket."""

    def __init__(self, *markets: Market, at: int = NOW) -> None:
        self.stream = MarketStream("", WindowClock())
        self.markets, self.merger, self.watch = Markets(), Merger(2), FeedWatch(WatchTerms())
        self.known = markets or (MARKET,)
        for market in self.known:
            self.stream._decoder.tokens.add(market)
            self.stream._subscribed[market.id] = market.tokens or ()
            self.markets.apply(MarketListed(Millis(at), Millis(at), market))

    def hear(self, frame: bytes | str, lane: int = 0) -> list[MarketEvent]:
        events = self.stream._read(frame)
        for event in events:
            if self.merger.admit(lane, event) and self.watch.admit(event):
                self.markets.apply(event)
        return events

    @property
    def books(self) -> list[Book]:
        return [book for state in self.markets.by_id.values() for book in state.books]

    def require_sane(self) -> None:
        for found in self.books:
            for prices, sizes in ((found.bid_prices, found.bid_sizes), (found.ask_prices, found.ask_sizes)):
                assert prices == sorted(set(prices))
                assert len(prices) == len(sizes)
                assert all(0 < price < UNIT for price in prices)
                assert all(size > 0 for size in sizes)
            if found.state is BookState.VERIFIED and found.bid_prices and found.ask_prices:
                assert found.bid_prices[-1] < found.ask_prices[0]
        for state in self.markets.by_id.values():
            assert UNIT % state.market.tick == 0
            assert state.payout_up in (None, 0, UNIT)


def mend(floor: Floor) -> None:
    """What the feeder does about doubt: it asks, and fresh snapshots come, dated now."""
    now = Millis(max([WindowClock().now_ms(), *(found.at for found in floor.books)]) + 1)
    requested = SnapshotRequested(now, now, [MARKET.id])
    floor.watch.admit(requested)
    floor.markets.apply(requested)
    for token in (UP, DOWN):
        floor.hear(json.dumps(book(token, now)))
    wanted = [parse_units("0.08"), parse_units("0.50")]
    for found in floor.markets.by_id[MARKET.id].books:
        assert (found.state, found.bid_prices) == (BookState.VERIFIED, wanted)
        assert found.bid_sizes == [Shares(33_343_400_000), Shares(100_000_000)]


def broken(frame: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 4)):
        at, other = sorted((rng.randrange(len(frame) + 1), rng.randrange(len(frame) + 1)))
        match rng.randrange(7):
            case 0:
                frame = frame[:at]
            case 1:
                frame = frame[:at] + frame[other:]
            case 2:
                frame = frame[:at] + frame[at:other] * 2 + frame[other:]
            case 3:
                frame = frame[:at] + rng.randbytes(rng.randint(1, 4)) + frame[at:]
            case 4:
                frame = frame[:at] + bytes([rng.randrange(256)]) + frame[at + 1 :]
            case 5:
                frame = frame[:at] + rng.choice((b'"', b"}", b"[", b",", b"-", b"0", b"9", b"null", b"e9")) + frame[at:]
            case _:
                frame = frame[:at] + str(rng.getrandbits(70)).encode() + frame[at:]
        frame = frame or b"x"
    return frame


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(FRAMES), st.integers(0, 2**32), st.integers(0, 1)), max_size=12))
def test_broken_frames_leave_books_sane_and_the_next_snapshot_makes_them_right(
    said: list[tuple[bytes, int, int]],
) -> None:
    floor = Floor()
    floor.hear(FRAMES[0])
    for frame, seed, lane in said:
        floor.hear(broken(frame, random.Random(seed)) if seed % 4 else frame, lane)
        floor.require_sane()
    mend(floor)


NUMBERS = st.sampled_from(["0.5", "0.50", "1", "0", "-1", "1e3", "NaN", "9" * 40, "", "0.0000001", " 1", "٣", "0x1"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NUMBERS | st.sampled_from([UP, DOWN, "BUY", "SELL"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["price", "size", "side"]), inner),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from([m for m in BY_HAND if isinstance(m, dict)]), st.data())
def test_well_formed_frames_with_anything_in_their_fields_leave_books_sane(message: dict[str, Any], data: Any) -> None:
    floor = Floor()
    floor.hear(FRAMES[0])
    for _ in range(3):
        changed = dict(message)
        for key in data.draw(st.lists(st.sampled_from(sorted(set(message) - {"event_type"})), max_size=3)):
            changed[key] = data.draw(VALUES)
        floor.hear(json.dumps([changed, message]))
        floor.require_sane()
    mend(floor)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_a_price_change_that_cannot_be_read_always_costs_the_books_their_word(seed: int) -> None:
    """Unless it is of a kind or a token that nobody knows, which costs the venue's other news nothing."""
    floor, frame = Floor(), broken(FRAMES[1], random.Random(seed))
    floor.hear(FRAMES[0])
    unread = [e for e in MarketDecoder(Tokens([MARKET])).decode(frame, NOW) if isinstance(e, Undecodable)]
    floor.hear(frame)
    if any("is not watched" not in e.reason and "event_type" not in e.reason for e in unread):
        assert all(found.state is not BookState.VERIFIED for found in floor.books)


# -- the recordings ---------------------------------------------------------------------------------------------------


@cache
def recorded() -> tuple[tuple[Market, ...], tuple[tuple[int, bytes], ...]]:
    """The markets and the market socket's frames of every recorded session, with their times of receipt."""
    if not RECORDED.is_dir():
        pytest.skip("shared/data/protocol is not here")
    markets = tuple({e.market.id: e.market for e in read(RECORDED).events if isinstance(e, MarketListed)}.values())
    texts = [gzip.decompress(path.read_bytes()) for path in sorted(RECORDED.glob("*.raw.jsonl.gz"))]
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    mine = [line for line in lines if line["source"] == "polymarket_clob" and '"event_type"' in line["payload"]]
    return markets, tuple(sorted((line["recv_wall_ts"], line["payload"].encode()) for line in mine))


def test_recordings_that_are_broken_here_and_there_leave_every_book_sane() -> None:
    markets, frames = recorded()
    for seed in range(12):
        rng, floor = random.Random(seed), Floor(*markets, at=frames[0][0])
        for _, frame in frames:
            floor.hear(broken(frame, rng) if rng.random() < 0.5 else frame, rng.randrange(2))
        floor.require_sane()


def test_recordings_as_they_are_leave_every_book_they_told_of_verified() -> None:
    markets, frames = recorded()
    decoder, floor = MarketDecoder(Tokens(markets)), Markets()
    for market in markets:
        floor.apply(MarketListed(Millis(frames[0][0]), Millis(frames[0][0]), market))
    for received, frame in frames:
        for event in decoder.decode(frame, Millis(received)):
            if isinstance(event, MarketEvent):
                floor.apply(event)
    told = [book for state in floor.by_id.values() for book in state.books if book.received]
    assert len(told) >= 6
    assert {book.state for book in told} <= {BookState.VERIFIED, BookState.UNVERIFIABLE}
    assert floor.oddities.impossible == floor.oddities.contradicted == 0


# -- what else comes over the wire ------------------------------------------------------------------------------------

GAMMA = {
    "slug": "btc-updown-15m-1790616600", "conditionId": "0xfb85", "clobTokenIds": '["7270", "7284"]', **TERMS,
    "eventStartTime": "2026-09-28T17:30:00Z", "endDate": "2026-09-28T17:45:00Z", "closedTime": "2026-09-28 17:46:27+00",
}  # fmt: skip
SAMPLES = [
    json.dumps(message).encode()
    for message in (
        GAMMA, {"slug": GAMMA["slug"], "markets": [GAMMA]}, [{"slug": "a"}], [{"id": "1", "slug": "a"}], CLOB,
        rtds(65000.5, NOW), bolt("64126.5", NOW, 1), {"op": "error", "code": "x"},
        [{"asset_id": UP, "bids": [], "asks": [{"price": "0.5", "size": "1"}], "timestamp": str(NOW)}],
    )
]  # fmt: skip
READERS: list[Callable[[bytes], object]] = [
    lambda body: market_from_gamma(body, taker_delay_ms=150),
    lambda body: market_in_event(body, "btc-updown-15m-1790616600"),
    events_by_slug,
    lambda body: series_id(body, "a"),
    result_from_gamma,
    served_terms,
    clob_terms,
    lambda body: decode_prices(body, NOW),
    lambda body: decode_polybolt(body, NOW),
    lambda body: MarketDecoder(Tokens([MARKET])).decode_rest_books(body, NOW),
]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SAMPLES), st.integers(0, 2**32))
def test_no_other_reader_ever_raises(sample: bytes, seed: int) -> None:
    body = broken(sample, random.Random(seed))
    for reader in READERS:
        reader(body)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(GAMMA)), VALUES)
def test_a_market_with_anything_in_a_field_is_read_or_refused_whole(field: str, value: Any) -> None:
    body = json.dumps(GAMMA | {field: value}).encode()
    for reader in READERS:
        reader(body)


def test_a_tick_of_the_future_does_not_outlast_what_the_catalogue_says_next() -> None:
    floor = Floor()
    for event in floor.hear(json.dumps({**BY_HAND[4], "timestamp": str(9 * 10**12)})):
        assert isinstance(event, TickSizeChanged)
    later = Millis(WindowClock().now_ms() + 5)
    floor.markets.apply(MarketListed(later, later, MARKET))
    assert floor.markets.by_id[MARKET.id].market.tick == MARKET.tick
    assert list(Outcome) == [found.outcome for found in floor.books]
