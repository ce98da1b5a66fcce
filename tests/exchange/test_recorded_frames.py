"""What the venue was recorded to send, played into the engine, comes out of the market channel as it went in.

The decoder is the live venue's: it and the exchange read polymarket.md independently, and the recording judges both.
"""

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polybot.domain.events import BookReplaced, LevelsChanged
from polybot.domain.fees import FeeSchedule
from polybot.domain.ids import ConditionId, MarketId, SeriesId, TokenId
from polybot.domain.market import Market
from polybot.domain.units import UNIT, Millis, Price, Shares
from polybot.exchange.core.engine import Engine
from polybot.exchange.core.model import Listing, Rules
from polybot.exchange.core.news import BookShown, LevelsShown
from polybot.exchange.sockets import encode, market_frames
from polybot.venue.polymarket.wire import MarketDecoder, Tokens

RECORDED = Path(__file__).resolve().parents[2].parent / "shared/data/protocol"
SESSIONS = ["m9-rtds-natural-20260428d", "m9-rtds-natural-20260429T021025Z-fresh", "m9-runtime-smoke-20260427b"]
HAND_MADE = [
    (
        '[{"market":"0x01","asset_id":"11","timestamp":"1777384000000","hash":"","bids":[{"price":"0.49","size":"80"}],'
        '"asks":[{"price":"0.52","size":"219.217767"},{"price":"0.51","size":"5"}],"event_type":"book"}]'
    ),
    (
        '{"market":"0x01","price_changes":[{"asset_id":"11","price":"0.5","size":"7","side":"BUY","hash":"",'
        '"best_bid":"0.5","best_ask":"0.51"},{"asset_id":"22","price":"0.5","size":"7","side":"SELL","hash":"",'
        '"best_bid":"0.49","best_ask":"0.5"}],"timestamp":"1777384000100","event_type":"price_change"}'
    ),
]


class Mirror:
    """An engine fed with what was recorded, and a decoder that hears what it sends."""

    def __init__(self, markets: list[Market]) -> None:
        self.engine = Engine(Rules(), random.Random(0))
        for number, market in enumerate(markets):
            self.engine.list_market(Listing(market=market, number=number, closes_at=Millis(2**50)), Millis(0))
        self.recorded, self.heard = (MarketDecoder(Tokens(markets)) for _ in range(2))
        self.compared = {BookReplaced: 0, LevelsChanged: 0}

    def play(self, frame: str) -> None:
        for event in self.recorded.decode(frame, Millis(0)):
            if isinstance(event, BookReplaced):
                self._compare(event, self._played_book(event))
            elif isinstance(event, LevelsChanged):
                self._compare(event, self._played_changes(event))

    def _played_book(self, event: BookReplaced) -> list[Any]:
        bids = list(zip(event.bid_prices, event.bid_sizes, strict=True))
        asks = list(zip(event.ask_prices, event.ask_sizes, strict=True))
        self.engine.replace_depth(event.market, event.outcome, bids, asks, event.at, shown_to=(event.outcome,))
        return self._sent(BookShown)

    def _played_changes(self, event: LevelsChanged) -> list[Any]:
        outcomes = tuple(dict.fromkeys(change.outcome for change in event.changes))
        self.engine.change_depth(event.market, event.changes, event.at, shown_to=outcomes)
        return self._sent(LevelsShown)

    def _sent(self, kind: type[BookShown] | type[LevelsShown]) -> list[Any]:
        news = [one for one in self.engine.take_news() if isinstance(one, kind)]
        frames = [f for one in news for _, f in market_frames(self.engine, self.engine.board(one.market), one)]
        return [event for frame in frames for event in self.heard.decode(encode(frame), Millis(0))]

    def _compare(self, was: BookReplaced | LevelsChanged, heard: list[Any]) -> None:
        (now,) = heard
        self.compared[type(was)] += 1
        if isinstance(was, BookReplaced):
            assert now == was
        else:
            assert (now.at, now.market) == (was.at, was.market)
            assert set(now.changes) == set(was.changes)  # best prices included


def a_market(record: dict[str, Any]) -> Market:
    return Market(
        id=MarketId(record["slug"]),
        condition_id=ConditionId(record["condition_id"]),
        series=SeriesId(f"{record['asset']}-15m"),
        asset=record["asset"],
        window_start=Millis(record["start_ts"]),
        window_end=Millis(record["end_ts"]),
        tick=Price(int(record["tick_size"] * UNIT)),
        size_min=Shares(int(record["min_order_size"] * UNIT)),
        fees=FeeSchedule(rate=70_000),
        taker_delay_ms=0,
        rule_set="recorded",
        tokens=tuple(TokenId(outcome["token_id"]) for outcome in record["outcomes"]),  # type: ignore[arg-type]
    )


def frames_of(session: str) -> Iterator[str]:
    with gzip.open(RECORDED / f"{session}.raw.jsonl.gz", "rt") as lines:
        for line in lines:
            record = json.loads(line)
            if record["source"] == "polymarket_clob":
                yield record["payload"]


@pytest.mark.parametrize("session", SESSIONS)
def test_recorded_frames_decode_the_same_from_the_recording_and_from_the_exchange(session: str) -> None:
    if not RECORDED.is_dir():
        pytest.skip("shared/data/protocol is not here")
    lines = (RECORDED / f"{session}.markets.jsonl").read_text().splitlines()
    mirror = Mirror([a_market(json.loads(line)) for line in lines])
    for frame in frames_of(session):
        mirror.play(frame)
    assert mirror.compared[BookReplaced] > 0


def test_the_documents_frames_decode_the_same_from_the_exchange() -> None:
    market = a_market(
        {
            "slug": "btc-updown-15m-1777384000",
            "condition_id": "0x01",
            "asset": "BTC",
            "start_ts": 0,
            "end_ts": 900_000,
            "tick_size": 0.01,
            "min_order_size": 5.0,
            "outcomes": [{"token_id": "11"}, {"token_id": "22"}],
        }
    )
    mirror = Mirror([market])
    for frame in HAND_MADE:
        mirror.play(frame)
    assert mirror.compared == {BookReplaced: 1, LevelsChanged: 1}
    assert mirror.engine.board(market.id).pool.top == (500_000, 510_000)
