"""The market socket: it says what the venue's protocol asks, and whatever comes back, it neither stops nor invents."""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from polybot.domain.events import BookReplaced, LevelsChanged, MarketEvent, MarketResolved, SnapshotRequested
from polybot.domain.market import Outcome
from polybot.domain.units import Millis, Price
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.polymarket.live_feed import LiveFeed
from polybot.venue.polymarket.socket import SocketTerms
from polybot.venue.polymarket.wire import FRAME_MAX
from tests.venue.polymarket.liar import WindowClock, book, change, feed_of, lying_venue, served, soon, streaming

NOW = WindowClock().now_ms()
MARKET = served()
UP, DOWN = MARKET.tokens or ("", "")
RECORDED = Path(__file__).resolve().parents[3].parent / "shared/data/protocol"


async def read(stream: LiveFeed, count: int, seconds: float = 30.0) -> list[MarketEvent]:
    async with asyncio.timeout(seconds):
        return [await stream.next() for _ in range(count)]


async def test_a_subscription_is_as_documented_and_brings_the_snapshots() -> None:
    async with lying_venue() as venue, streaming(venue) as stream:
        up, down = await read(stream, 2)
        assert isinstance(up, BookReplaced)
        assert isinstance(down, BookReplaced)
        assert (up.market, up.outcome, down.outcome) == (MARKET.id, Outcome.UP, Outcome.DOWN)
        assert venue.subscriptions == [
            {"assets_ids": [UP, DOWN], "type": "market", "initial_dump": True, "custom_feature_enabled": True}
        ]


async def test_later_windows_are_added_and_old_ones_taken_away_on_the_same_socket() -> None:
    async with lying_venue() as venue, streaming(venue) as stream:
        await read(stream, 2)
        await stream.follow({served(1).id})
        snapshots = await read(stream, 2)
        assert {event.market for event in snapshots if isinstance(event, BookReplaced)} == {served(1).id}
        assert venue.subscriptions[1:] == [
            {"assets_ids": [UP, DOWN], "operation": "unsubscribe"},
            {"assets_ids": list(served(1).tokens or ()), "operation": "subscribe", "custom_feature_enabled": True},
        ]
        assert len(venue.connections) == 1


async def test_a_market_wanted_before_its_tokens_are_known_is_subscribed_when_they_are() -> None:
    async with lying_venue() as venue:
        stream = feed_of(venue)
        await stream.connect()
        await stream.follow({MARKET.id})
        assert venue.heard == []
        await stream.catalog(Millis(0), Millis(0))
        assert len(await read(stream, 2)) == 2
        await stream.close()


async def test_a_refresh_subscribes_again_and_brings_a_new_snapshot() -> None:
    async with lying_venue() as venue, streaming(venue) as stream:
        await read(stream, 2)
        await stream.refresh(MARKET.id)
        assert [type(event) for event in await read(stream, 2)] == [BookReplaced] * 2
        assert [message.get("operation") for message in venue.subscriptions] == [None, "unsubscribe", "subscribe"]


async def test_it_pings_and_a_pong_is_no_event() -> None:
    async with lying_venue() as venue, streaming(venue) as stream:
        await read(stream, 2)
        with pytest.raises(TimeoutError):
            await read(stream, 1, seconds=0.4)
        assert venue.heard.count("PING") >= 3


async def test_a_socket_whose_pings_are_not_answered_is_given_up() -> None:
    async with lying_venue() as venue, streaming(venue) as stream:
        await read(stream, 2)
        venue.pongs = False
        with pytest.raises(VenueUnavailable):
            await read(stream, 1)


async def test_a_peer_that_reads_nothing_is_given_up_and_does_not_hold_up_the_next_connection() -> None:
    async with lying_venue() as venue:
        venue.reads = False
        async with streaming(venue) as stream:
            with pytest.raises(VenueUnavailable):
                await read(stream, 1)
            venue.reads = True
            async with asyncio.timeout(20):
                await stream.connect()
            await stream.follow({MARKET.id})
            assert len(await read(stream, 2)) == 2


@pytest.mark.parametrize(
    "frame",
    [
        "garbage",
        b"\xff\xfe\x00",
        '{"event_type":"price_change","market":"0x7',
        "[" * 5_000,
    ],
    ids=["words", "bytes", "half a message", "brackets"],
)
async def test_a_frame_that_cannot_be_read_puts_every_book_in_doubt_and_stops_nothing(frame: str | bytes) -> None:
    async with lying_venue() as venue, streaming(venue, follow=2) as stream:
        await read(stream, 4)
        await (venue.socket.send_bytes(frame) if isinstance(frame, bytes) else venue.socket.send_str(frame))
        await venue.say(change(UP, NOW, "0.51", "7", ("0.51", "0.52")))
        doubt, changed = await read(stream, 2)
        assert isinstance(doubt, SnapshotRequested)
        assert doubt.markets == [served(0).id, served(1).id]
        assert isinstance(changed, LevelsChanged)
        assert stream.health().unreadable == 1


async def test_news_of_a_kind_nobody_knows_and_of_other_markets_puts_nothing_in_doubt() -> None:
    async with lying_venue() as venue, streaming(venue) as stream:
        await read(stream, 2)
        await venue.say(
            {"event_type": "fireworks", "asset_id": UP},
            book("999", NOW),
            {"event_type": "best_bid_ask", "asset_id": UP, "best_bid": "0.08", "best_ask": "0.09"},
            change(UP, NOW, "0.51", "7", ("0.51", "0.52")),
        )
        (changed,) = await read(stream, 1)
        assert isinstance(changed, LevelsChanged)
        assert stream.health().unreadable == 0


async def test_a_result_is_an_event_once_the_window_is_over_and_a_lie_before() -> None:
    resolved = {"event_type": "market_resolved", "market": "0x747d", "winning_asset_id": DOWN, "timestamp": str(NOW)}
    async with lying_venue() as venue, streaming(venue) as stream:
        await read(stream, 2)
        await venue.say(resolved, change(UP, NOW, "0.51", "7", ("0.51", "0.52")))
        assert [type(event) for event in await read(stream, 1)] == [LevelsChanged]
        assert stream.health().early_results == 1
        venue.first = -1
        await stream.catalog(Millis(0), Millis(0))
        await stream.follow({served(-1).id})
        await read(stream, 2)
        await venue.say(resolved | {"winning_asset_id": (served(-1).tokens or ("", ""))[1]})
        (result,) = await read(stream, 1)
        assert isinstance(result, MarketResolved)
        assert result.payout_up == Price(0)


async def test_a_bad_message_in_an_array_costs_only_itself() -> None:
    async with lying_venue() as venue, streaming(venue) as stream:
        await read(stream, 2)
        good, bad = book(UP, NOW), book(DOWN, NOW) | {"bids": "none"}
        await venue.socket.send_str(json.dumps([good, bad]))
        assert [type(event) for event in await read(stream, 2)] == [BookReplaced, SnapshotRequested]


async def test_an_unreadable_message_that_names_its_market_costs_no_other_its_word() -> None:
    async with lying_venue() as venue, streaming(venue, follow=2) as stream:
        await read(stream, 4)
        await venue.say(
            book(UP, NOW) | {"bids": [{"price": "NaN", "size": "1"}]}, change(DOWN, NOW, "much", "7", ("0.51", "0.52"))
        )
        for doubt in await read(stream, 2):
            assert isinstance(doubt, SnapshotRequested)
            assert doubt.markets == [MARKET.id]


async def test_the_book_of_a_market_that_nobody_has_ordered_in_yet_is_an_empty_one() -> None:
    async with lying_venue() as venue, streaming(venue) as stream:
        await read(stream, 2)
        await venue.say(book(UP, NOW) | {"bids": [], "asks": [], "timestamp": "0"})
        (empty,) = await read(stream, 1)
        assert isinstance(empty, BookReplaced)
        assert (empty.at, empty.bid_prices, empty.ask_prices) == (empty.received, [], [])


async def test_a_frame_too_large_for_the_protocol_ends_the_connection_and_the_next_one_works() -> None:
    async with lying_venue() as venue, streaming(venue) as stream:
        await read(stream, 2)
        sending = asyncio.create_task(venue.socket.send_str("x" * (FRAME_MAX + 1)))
        with pytest.raises(VenueUnavailable):
            await read(stream, 1, seconds=10)
        await asyncio.wait([sending])
        await stream.connect()
        await stream.follow({MARKET.id})
        assert len(await read(stream, 2)) == 2


@pytest.mark.parametrize("how", ["politely", "cut", "in the middle of a frame"])
async def test_a_connection_that_ends_is_said_to_be_gone(how: str) -> None:
    async with lying_venue() as venue, streaming(venue) as stream:
        await read(stream, 2)
        if how == "politely":
            await venue.socket.close()
        elif how == "cut":
            venue.cut()
        else:
            venue.write(b"\x81\x7e\xff\xff" + b'{"event_type":')  # a text frame of 65,535 bytes, of which 14 come
            venue.cut()
        with pytest.raises(VenueUnavailable):
            await read(stream, 1)
        with pytest.raises(VenueUnavailable):
            await stream.refresh(MARKET.id)


@pytest.mark.parametrize(("status", "error"), [(429, VenueBusy), (503, VenueBusy), (500, VenueUnavailable)])
async def test_a_refusal_is_told_apart_from_an_outage(status: int, error: type[Exception]) -> None:
    async with lying_venue() as venue:
        venue.refuses = status
        stream = feed_of(venue)
        with pytest.raises(error, match=str(status)):
            await stream.connect()
        await stream.close()


async def test_nobody_there_is_an_outage() -> None:
    async with lying_venue() as venue:
        pass
    stream = feed_of(venue, SocketTerms(connect_s=0.5))
    with pytest.raises(VenueUnavailable):
        await stream.connect()
    await stream.close()


async def test_recorded_frames_come_through_as_the_decoder_alone_reads_them() -> None:
    frames = recorded_frames()
    async with lying_venue() as venue:
        venue.answers = False
        async with streaming(venue, follow=1) as stream:
            await soon(lambda: bool(venue.subscriptions))
            for frame in frames:
                await venue.socket.send_str(frame)
            await venue.say(book(UP, NOW))
            (event,) = await read(stream, 1)  # the recorded markets are none of ours, and put nothing in doubt
            assert isinstance(event, BookReplaced)
            assert stream.health().unreadable == 0


def recorded_frames() -> list[str]:
    if not RECORDED.is_dir():
        pytest.skip("shared/data/protocol is not here")
    lines: list[dict[str, Any]] = []
    for path in sorted(RECORDED.glob("*.raw.jsonl.gz")):
        with gzip.open(path, "rt") as file:
            lines += [json.loads(line) for line in file]
    return [
        line["payload"] for line in lines if line["source"] == "polymarket_clob" and '"event_type"' in line["payload"]
    ]
