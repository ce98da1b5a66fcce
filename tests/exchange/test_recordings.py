"""What the venue really sent in April 2026, against what the exchange sends for the same: the same events.

The recorded frames are read into events, the events played into an exchange, and its frames read with the live feed's
own decoder, over a real socket. The files stay in shared/data; without them the tests say so and are skipped.
"""

import asyncio
import gzip
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from polybot.domain.events import BookReplaced, LevelsChanged, MarketListed, ReferencePriced
from polybot.domain.ids import ConditionId, MarketId, TokenId
from polybot.domain.market import Market, Outcome
from polybot.domain.units import Millis
from polybot.exchange import price_frames, wire
from polybot.exchange.core.engine import Engine
from polybot.exchange.core.model import Listing, Rules
from polybot.exchange.exchange import Exchange
from polybot.exchange.fast_clock import FastClock
from polybot.exchange.gamma_api import ENCODER
from polybot.exchange.gamma_records import MarketView, market_record
from polybot.exchange.price_desk import PricePoint
from polybot.exchange.server import create_app, serve
from polybot.importing.protocol import Line, read
from polybot.venue.polymarket.wire import MarketAnnounced, MarketDecoder, Tokens
from polybot.venue.polymarket.wire_markets import market_from_gamma
from polybot.venue.polymarket.wire_prices import decode_prices
from tests.exchange.tapes import PRESENT_START, recorded_market

SHARED = Path(__file__).resolve().parents[2].parent / "shared/data"
SESSIONS = [
    "m9-pyth-proxy-smoke-20260428c",
    "m9-rtds-chainlink-smoke-20260428b",
    "m9-rtds-natural-20260428d",
    "m9-rtds-natural-20260429T021025Z-fresh",
    "m9-runtime-smoke-20260427b",
]
sessions = pytest.mark.parametrize("session", SESSIONS)


def session_file(session: str) -> Path:
    path = SHARED / "protocol" / f"{session}.raw.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"shared/data/protocol/{path.name} is not here")
    return path


def frames_of(path: Path, source: str) -> Iterator[Line]:
    with gzip.open(path, "rt") as file:
        lines = (msgspec.json.decode(text, type=Line) for text in file)
        yield from (line for line in lines if line.source.startswith(source))


def shape(value: Any) -> Any:
    """Field names and JSON types, of a list its first element's."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value)


class Played:
    """An exchange that lists the session's markets, a socket that follows them, and the decoder of the live feed."""

    def __init__(self, path: Path, start: Millis) -> None:
        markets = [event.market for event in read(path).events if isinstance(event, MarketListed)]
        self.decoder = MarketDecoder(Tokens(markets))
        self.exchange = Exchange(FastClock(start=start))
        for number, market in enumerate(markets):
            self.exchange.engine.list_market(Listing(market=market, number=number), start)
        self.tokens = [token for market in markets for token in market.tokens or ()]

    def play(self, event: BookReplaced | LevelsChanged) -> None:
        engine, now = self.exchange.engine, self.exchange.now()
        if isinstance(event, BookReplaced):
            bids = list(zip(event.bid_prices, event.bid_sizes, strict=True))
            asks = list(zip(event.ask_prices, event.ask_sizes, strict=True))
            engine.replace_depth(event.market, event.outcome, bids, asks, now, (event.outcome,))
        else:
            engine.change_depth(event.market, [c for c in event.changes if c.outcome is Outcome.UP], now)
        self.exchange.publish()

    async def echo(self, socket: aiohttp.ClientWebSocketResponse) -> tuple[Any, BookReplaced | LevelsChanged]:
        """The next book or change that comes over the socket: as JSON, and as decoded."""
        while True:
            text = await asyncio.wait_for(socket.receive_str(), 5)
            (found,) = self.decoder.decode(text, self.exchange.now())
            if isinstance(found, BookReplaced | LevelsChanged):
                return msgspec.json.decode(text), found


def comparable(event: BookReplaced | LevelsChanged) -> object:
    """All but the times, and changes in one order: the venue has the order's own token first."""
    if isinstance(event, LevelsChanged):
        return (event.market, sorted(event.changes, key=repr))
    return msgspec.structs.replace(event, at=Millis(0), received=Millis(0))


@sessions
async def test_books_and_changes_decode_identically_from_the_recording_and_from_the_exchange(session: str) -> None:
    path = session_file(session)
    lines = list(frames_of(path, "polymarket_clob"))
    played = Played(path, Millis(lines[0].recv_wall_ts))
    server = await serve(create_app(played.exchange), port=0)
    compared = 0
    async with aiohttp.ClientSession() as client, client.ws_connect(f"{server.ws_url}/ws/market") as socket:
        await socket.send_json({"assets_ids": played.tokens, "type": "market", "custom_feature_enabled": True})
        await asyncio.wait_for(socket.receive_str(), 5)  # the initial dump: empty books
        for line in lines:
            is_rest = '"event_type"' not in line.payload
            received = Millis(line.recv_wall_ts)
            recorded = (
                [played.decoder.decode_rest_book(line.payload, received)]
                if is_rest
                else played.decoder.decode(line.payload, received)
            )
            sent = msgspec.json.decode(line.payload)
            for number, event in enumerate(recorded):
                if not isinstance(event, BookReplaced | LevelsChanged):
                    continue
                played.play(event)
                frame, found = await played.echo(socket)
                assert comparable(found) == comparable(event)
                if not is_rest and compared < 20:
                    ours, theirs = shape(frame), shape(sent[number] if isinstance(sent, list) else sent)
                    assert {name: ours.get(name) for name in theirs} == theirs
                compared += 1
    await server.close()
    assert compared >= 12


@sessions
def test_answers_to_get_book_have_the_recorded_fields_and_decode_identically(session: str) -> None:
    path = session_file(session)
    lines = [line for line in frames_of(path, "polymarket_clob") if '"event_type"' not in line.payload]
    played = Played(path, Millis(lines[0].recv_wall_ts))
    engine = played.exchange.engine
    for line in lines:
        recorded = played.decoder.decode_rest_book(line.payload, Millis(line.recv_wall_ts))
        assert isinstance(recorded, BookReplaced)
        played.play(recorded)
        ours = wire.book(engine, engine.board(recorded.market), recorded.outcome)
        theirs = msgspec.json.decode(line.payload)
        again = played.decoder.decode_rest_book(msgspec.json.encode(ours), played.exchange.now())
        assert isinstance(again, BookReplaced)
        assert comparable(again) == comparable(recorded)
        for part in ("market", "asset_id", "min_order_size", "tick_size", "neg_risk"):
            assert ours[part] == theirs[part]
        assert list(ours) == list(theirs)


@sessions
def test_announcements_decode_identically(session: str) -> None:
    for line in frames_of(session_file(session), "polymarket_clob"):
        if '"new_market"' not in line.payload:
            continue
        decoder = MarketDecoder(Tokens())
        (announced,) = decoder.decode(line.payload, Millis(line.recv_wall_ts))
        assert isinstance(announced, MarketAnnounced)
        (again,) = decoder.decode(msgspec.json.encode(_announce(announced)), Millis(line.recv_wall_ts))
        assert again == announced


def _announce(announced: MarketAnnounced) -> wire.Json:
    first, second = announced.tokens
    market = msgspec.structs.replace(
        recorded_market(),
        id=MarketId(announced.slug),
        condition_id=ConditionId(announced.condition_id),
        tokens=(TokenId(first), TokenId(second)),
    )
    engine = Engine(Rules(), random.Random(0))
    listing = Listing(market=market, number=1)
    engine.list_market(listing, PRESENT_START)
    return wire.new_market_frame(listing, PRESENT_START)


@sessions
def test_price_frames_decode_identically_and_have_the_recorded_fields(session: str) -> None:
    compared = 0
    for line in frames_of(session_file(session), "polymarket_rtds"):
        received = Millis(line.recv_wall_ts)
        recorded = [e for e in decode_prices(line.payload, received) if isinstance(e, ReferencePriced)]
        if not recorded:
            continue
        asset = recorded[0].asset
        points = [PricePoint(event.at, event.price, event.price, event.price) for event in recorded]
        theirs = msgspec.json.decode(line.payload)
        topic = theirs["topic"] if "/" not in theirs["payload"]["symbol"] else price_frames.RTDS_CHAINLINK
        if theirs["type"] == "subscribe":
            ours = price_frames.rtds_snapshot(topic, asset, points, received)
        else:
            ours = price_frames.rtds_update(topic, asset, points[0], received, theirs["connection_id"])
        assert decode_prices(ours, received) == recorded
        assert _loosely(shape(msgspec.json.decode(ours))) == _loosely(shape(theirs))
        compared += 1
    if "rtds" in session:
        assert compared >= 15


def _loosely(found: Any) -> Any:
    """A JSON number is one number, whether it happens to be whole or not."""
    if isinstance(found, dict):
        return {name: _loosely(part) for name, part in found.items()}
    return [_loosely(part) for part in found] if isinstance(found, list) else {int: float}.get(found, found)


def test_recorded_markets_of_gamma_come_back_from_ours_as_the_same_market() -> None:
    path = SHARED / "gamma" / "updown_15m_2026-03-11.jsonl.gz"
    if not path.is_file():
        pytest.skip("shared/data/gamma is not here")
    compared = 0
    with gzip.open(path, "rb") as lines:
        for line in lines:
            fees = recorded_market().fees
            recorded = market_from_gamma(line, taker_delay_ms=0, fees_if_unserved=fees)
            if not isinstance(recorded, Market):
                continue
            ours = ENCODER.encode(market_record(_view(recorded)))
            assert market_from_gamma(ours, taker_delay_ms=0) == recorded
            theirs = msgspec.json.decode(line)
            ours_read = msgspec.json.decode(ours)
            shared = theirs.keys() & ours_read.keys()
            assert {k: _loosely(shape(ours_read[k])) for k in shared - VARYING} == {
                k: _loosely(shape(theirs[k])) for k in shared - VARYING
            }
            compared += 1
    assert compared > 300


VARYING = {"events", "feeSchedule", "cryptoMarketConfig"}
"""Not served then, or holding what is."""


def _view(market: Market) -> MarketView:
    return MarketView(
        now=market.window_start,
        listing=Listing(market=market, number=1),
        listed_at=market.window_start,
        tick=market.tick,
        is_accepting=True,
    )
