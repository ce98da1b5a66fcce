"""Two market sockets as one stream: every message once, and the loss of one is no loss."""

import asyncio
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.domain.events import LevelChange, LevelsChanged
from polybot.domain.ids import MarketId
from polybot.domain.market import Outcome, Side
from polybot.domain.units import Millis, Price, Shares
from polybot.venue.base import VenueUnavailable
from polybot.venue.polymarket.live_feed import LaneTerms, LiveFeed
from polybot.venue.polymarket.merge import REMEMBERED, Merger
from tests.venue.polymarket.liar import LyingVenue, WindowClock, book, change, feed_of, lying_venue, served, soon

MARKET = served()
UP, DOWN = MARKET.tokens or ("", "")
NOW = WindowClock().now_ms()


def moved(at: int, size: int = 5) -> LevelsChanged:
    level = LevelChange(Outcome.UP, Side.BUY, Price(500_000), Shares(size), Price(500_000), Price(520_000))
    return LevelsChanged(Millis(at), Millis(at), MarketId("m"), [level])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3)), max_size=40), st.data())
def test_however_two_sockets_take_turns_every_message_comes_through_once_and_in_order(
    said: list[tuple[int, int]], data: st.DataObject
) -> None:
    messages = [moved(1_000 + n // 3 + jump, size) for n, (jump, size) in enumerate(said)]
    merger, left, out = Merger(2), [list(messages), list(messages)], []
    while any(left):
        lane = data.draw(st.sampled_from([number for number in (0, 1) if left[number]]))
        event = left[lane].pop(0)
        if merger.admit(lane, event):
            out.append(event)
    assert out == messages


def test_a_socket_that_is_very_far_behind_brings_nothing_old() -> None:
    merger = Merger(2)
    messages = [moved(1_000 + n) for n in range(REMEMBERED + 100)]
    assert all(merger.admit(0, event) for event in messages)
    assert not any(merger.admit(1, event) for event in messages)


def test_what_only_the_slower_socket_has_is_let_through_for_the_book_to_judge() -> None:
    merger = Merger(2)
    assert merger.admit(0, moved(1_001))
    assert merger.admit(1, moved(1_000))


async def two(venue: LyingVenue, terms: LaneTerms | None = None) -> LiveFeed:
    feed = feed_of(venue, sockets=2)
    if terms is not None:
        feed._terms = terms
    await feed.connect()
    await feed.catalog(Millis(0), Millis(0))
    await feed.follow({MARKET.id})
    return feed


async def drained(feed: LiveFeed) -> list[object]:
    found: list[object] = []
    with suppress(TimeoutError):
        while True:
            async with asyncio.timeout(0.15):
                found.append(await feed.next())
    return found


async def test_what_both_sockets_bring_is_one_event() -> None:
    async with lying_venue() as venue:
        venue.snapshot = lambda token: book(token, NOW)
        feed = await two(venue)
        await drained(feed)
        for connection in venue.connections:
            for size in ("7", "8"):
                await connection.send_json(change(UP, NOW + 5, "0.51", size, ("0.51", "0.52")))
        assert len(await drained(feed)) == 2
        assert feed.health().merged >= 2
        await feed.close()


async def test_the_loss_of_one_socket_is_no_outage_and_it_is_made_anew() -> None:
    async with lying_venue() as venue:
        feed = await two(venue, LaneTerms(retry_s_first=0.02, retry_s_max=0.05))
        await drained(feed)
        await venue.connections[0].close()
        await soon(lambda: len(venue.connections) == 3)
        await soon(lambda: feed.health().sockets_up == 2)
        await drained(feed)
        await venue.connections[1].send_json(change(UP, NOW + 90_000, "0.51", "7", ("0.51", "0.52")))
        assert len(await drained(feed)) == 1
        await feed.close()


async def test_with_both_sockets_gone_the_connection_is_gone() -> None:
    async with lying_venue() as venue:
        feed = await two(venue, LaneTerms(retry_s_first=5.0))
        await drained(feed)
        for connection in tuple(venue.connections):
            await connection.close()
        try:
            await drained(feed)
        except VenueUnavailable:
            await feed.connect()
        assert feed.health().sockets_up == 2
        await feed.close()


async def test_a_socket_that_freezes_while_the_other_speaks_is_made_anew() -> None:
    async with lying_venue() as venue:
        feed = await two(venue, LaneTerms(silence_s=0.2, look_s=0.02, retry_s_first=0.02))
        await drained(feed)
        for number in range(100):
            if len(venue.connections) == 3:
                break
            await venue.connections[0].send_json(change(UP, NOW + number, "0.51", "7", ("0.51", "0.52")))
            await asyncio.sleep(0.02)
        assert len(venue.connections) == 3
        assert feed.health().sockets_up >= 1
        await feed.close()
