"""The simulated market socket: honest without faults, and each fault seen for what it is."""

import asyncio

import msgspec
import pytest

from polybot.chaos.faults import Episode
from polybot.chaos.feed import FRAME_MS
from polybot.chaos.life import ProcessIsDead
from polybot.domain.book import BookState
from polybot.domain.events import (
    BookReplaced,
    LevelsChanged,
    MarketEvent,
    MarketListed,
    MarketResolved,
    ReferencePriced,
)
from polybot.domain.ids import MarketId
from polybot.domain.market import Outcome
from polybot.domain.markets import Markets
from polybot.domain.units import Millis
from polybot.venue.base import VenueBusy, VenueUnavailable
from tests.chaos.worlds import START, Bench, lasting

MINUTE = 60_000


async def listen(bench: Bench, until: int, markets: frozenset[MarketId] | None = None) -> list[MarketEvent]:
    """Connect, follow (default: BTC's running window), and keep what comes in until so long after the start."""
    heard: list[MarketEvent] = []
    await bench.feed.connect()
    await bench.feed.follow(markets if markets is not None else frozenset({bench.market()}))
    while (left := START + until - bench.now) > 0:
        try:
            heard.append(await asyncio.wait_for(bench.feed.next(), left / 1_000))
        except TimeoutError:
            break
    return heard


def heard_in(bench: Bench, until: int = 2 * MINUTE) -> list[MarketEvent]:
    return bench.run(listen(bench, until))


def books_after(bench: Bench, heard: list[MarketEvent]) -> Markets:
    """The books of somebody who believes what was heard."""
    markets = Markets()
    markets.apply(MarketListed(Millis(START), Millis(START), bench.world.listed(START, START + 1)[0].market))
    for event in heard:
        markets.apply(event)
    return markets


def states(bench: Bench, heard: list[MarketEvent]) -> set[BookState]:
    """Every state BTC's books were in as it came in."""
    markets, seen = books_after(bench, []), set()
    for event in heard:
        state = markets.apply(event)
        if state is not None and state.books[1].bid_prices:
            seen |= {book.state for book in state.books}
    return seen


def test_without_faults_the_followers_books_are_the_true_ones():
    bench = Bench()
    heard = heard_in(bench)
    assert [type(event) for event in heard[:2]] == [BookReplaced, BookReplaced]
    assert states(bench, heard) == {BookState.VERIFIED}
    state = books_after(bench, heard).by_id[bench.market()]
    last = max(event.at for event in heard)
    for outcome in Outcome:
        book, truth = state.books[outcome], Bench().world
        list(truth.advance(last))
        assert (book.bid_prices, book.ask_prices) == _tops(truth.snapshot(bench.market(), outcome))


def _tops(book: BookReplaced | None) -> tuple[list[int], list[int]]:
    assert book is not None
    return list(book.bid_prices), list(book.ask_prices)


def test_frames_come_in_order_and_are_stamped_with_their_receipt():
    heard = heard_in(Bench())
    assert [event.received for event in heard] == sorted(event.received for event in heard)
    assert {event.received - event.at for event in heard} == {FRAME_MS}


def test_the_stamp_is_the_processes_own_clock_even_when_it_is_wrong():
    bench = Bench()
    bench.clock.jump(5_000)
    assert {event.received - event.at for event in heard_in(bench)} == {FRAME_MS + 5_000}


def test_only_what_is_followed_is_told_and_reference_prices():
    bench = Bench()
    heard = heard_in(bench)
    told = {getattr(event, "market", None) for event in heard if not isinstance(event, ReferencePriced)}
    assert told == {bench.market()}
    assert [event for event in heard if isinstance(event, ReferencePriced)]


def test_a_refresh_brings_both_snapshots_again():
    bench = Bench()

    async def refreshes() -> list[MarketEvent]:
        await listen(bench, 5_000)
        await bench.feed.refresh(bench.market())
        return [await bench.feed.next() for _ in range(2)]

    assert {event.outcome for event in bench.run(refreshes()) if isinstance(event, BookReplaced)} == set(Outcome)


def test_a_frozen_socket_stays_open_and_says_nothing():
    bench = Bench(lasting("feed_freeze", since=30_000, until=90_000))
    heard = heard_in(bench)
    times = [event.received - START for event in heard]
    assert not [at for at in times if 30_000 + FRAME_MS <= at < 90_000 + FRAME_MS]
    assert max(times) > 100_000
    assert bench.faults.counts == {"feed_freeze": 1}


def test_most_new_connections_are_free_of_an_older_ones_freeze():
    alive = 0
    for seed in range(10):
        bench = Bench(lasting("feed_freeze"), seed=seed)
        bench.wait(1_000)
        alive += bool(heard_in(bench, 30_000))
    assert 4 <= alive <= 10


@pytest.mark.parametrize(
    "episode", [lasting("feed_gap", 0.3), lasting("feed_reorder", 0.3), lasting("feed_contradiction", 0.3)]
)
def test_gaps_disorder_and_lies_show_as_contradicted_books(episode: Episode):
    bench = Bench(msgspec.structs.replace(episode, start_ms=Millis(START + 5_000)))
    assert BookState.CONTRADICTED in states(bench, heard_in(bench))
    assert bench.faults.counts[episode.name] >= 3


def test_a_gap_is_of_about_the_share_asked():
    whole, gappy = heard_in(Bench(), 5 * MINUTE), heard_in(Bench(lasting("feed_gap", 0.3, since=1_000)), 5 * MINUTE)
    assert 0.55 * len(whole) < len(gappy) < 0.85 * len(whole)


def test_a_duplicate_is_the_same_frame_again():
    heard = heard_in(Bench(lasting("feed_duplicate", 0.5)))
    names = [(event.at, type(event), getattr(event, "outcome", None), str(getattr(event, "changes", 0)))
             for event in heard]  # fmt: skip
    assert len(names) - len(set(names)) > 10


def test_reordered_frames_are_received_out_of_their_order():
    heard = heard_in(Bench(lasting("feed_reorder", 0.3)))
    assert [event.at for event in heard] != sorted(event.at for event in heard)
    assert [event.received for event in heard] == sorted(event.received for event in heard)


def test_delayed_frames_keep_their_order():
    heard = heard_in(Bench(lasting("feed_delay", 0.5, since=30_000, until=60_000)))
    assert max(event.received - event.at for event in heard) == 3_000 + FRAME_MS
    assert [event.at for event in heard] == sorted(event.at for event in heard)


def test_a_stale_snapshot_is_dated_when_it_was_true():
    bench = Bench(lasting("feed_stale_snapshot", since=60_000))
    ages = [event.received - event.at for event in heard_in(bench, 4 * MINUTE) if isinstance(event, BookReplaced)]
    assert max(ages) > 10_000
    assert bench.faults.counts["feed_stale_snapshot"] >= 1


def test_a_skewed_source_dates_its_frames_wrongly():
    heard = heard_in(Bench(lasting("feed_skew", -0.5)))
    changes = [event for event in heard if isinstance(event, LevelsChanged)]
    assert {event.received - event.at for event in changes} == {30_000 + FRAME_MS}


def test_a_closed_socket_says_so_and_a_new_one_works():
    bench = Bench(lasting("feed_close", since=10_000, until=10_001))
    with pytest.raises(VenueUnavailable):
        heard_in(bench)
    assert START + 10_000 <= bench.now <= START + 11_000
    with pytest.raises(VenueUnavailable):
        bench.run(bench.feed.follow({bench.market()}))
    assert heard_in(bench, 20_000)


def test_a_refused_connection_says_so():
    bench = Bench(lasting("feed_refused", until=10_000))
    with pytest.raises((VenueUnavailable, VenueBusy)):
        bench.run(bench.feed.connect())
    bench.wait(10_000)
    bench.run(bench.feed.connect())


def catalog(bench: Bench, since: int = 0, until: int = 1) -> list[MarketListed | MarketResolved]:
    return bench.run(bench.feed.catalog(Millis(START + since), Millis(START + until)))


def test_the_catalogue_has_the_windows_asked_for_each_followed_by_its_resolution():
    bench = Bench()
    bench.wait(1_000_000)
    found = catalog(bench, 0, 900_001)
    assert [type(entry) for entry in found] == [MarketListed, MarketResolved] * 2 + [MarketListed] * 2
    assert found[1].market == found[0].market.id == bench.market()  # type: ignore[union-attr]


def test_a_catalogue_that_is_down_says_so():
    bench = Bench(lasting("feed_catalog_down", until=10_000))
    with pytest.raises((VenueUnavailable, VenueBusy)):
        catalog(bench)
    bench.wait(10_000)
    assert catalog(bench)


def test_a_stale_catalogue_does_not_know_of_the_resolution_yet():
    bench = Bench(lasting("feed_catalog_stale", since=905_000, until=1_200_000))
    bench.wait(1_100_000)
    assert not [entry for entry in catalog(bench) if isinstance(entry, MarketResolved)]
    bench.wait(200_000)
    assert [entry for entry in catalog(bench) if isinstance(entry, MarketResolved)]


def test_a_window_left_out_of_the_catalogue_comes_later():
    bench = Bench(lasting("feed_catalog_missing", 0.5, until=60_000))
    some = catalog(bench, 0, 8 * 900_000)
    bench.wait(60_000)
    assert len(some) < len(catalog(bench, 0, 8 * 900_000)) == 16


def test_a_dead_processes_feed_does_nothing():
    bench = Bench()
    heard_in(bench, 5_000)
    feed = bench.feed
    bench.loop.kill(bench.life)
    assert bench.exchange.on_event is None
    bench.begin_life()
    with pytest.raises(ProcessIsDead):
        bench.run(feed.next())
    assert heard_in(bench, 10_000)
