"""The simulated world: true books, the same from every seed, alive enough for the shipped agents to trade on."""

import itertools
import os
import subprocess
import sys
from collections import Counter

import msgspec
import pytest

from polybot.chaos.faults import HOUR_MS, Faults
from polybot.chaos.market import World
from polybot.domain.book import Book, BookState
from polybot.domain.events import (
    BookReplaced,
    FillMatched,
    IntentRecorded,
    LevelsChanged,
    MarketListed,
    MarketResolved,
    TickSizeChanged,
    TradePrinted,
)
from polybot.domain.market import Outcome
from polybot.domain.markets import Markets
from polybot.domain.units import UNIT, Price
from polybot.settings import load_plans, load_settings
from tests.builders import Floor
from tests.chaos.worlds import START, lasting

SEEDS = (1, 2, 3)
DIGEST = """
import hashlib, sys, msgspec
from polybot.chaos.faults import Faults
from polybot.chaos.market import World
world = World(5, 1790586000000, Faults(5, 1790586000000, 3600000))
text = b"".join(msgspec.json.encode(event) for event in world.advance(1790586000000 + 3600000))
sys.stdout.write(hashlib.sha256(text).hexdigest())
"""


def calm_world(seed: int) -> World:
    return World(seed, START, Faults(seed, START, HOUR_MS, episodes=[]))


def an_hour(seed: int):
    return list(calm_world(seed).advance(START + HOUR_MS))


@pytest.mark.parametrize("seed", SEEDS)
def test_books_are_never_crossed_and_every_change_agrees_with_the_venues_best_prices(seed):
    markets = Markets()
    for event in an_hour(seed):
        state = markets.apply(event)
        if isinstance(event, BookReplaced | LevelsChanged):
            assert state is not None
            for book in state.books:
                if book.bid_prices:
                    assert book.state is BookState.VERIFIED, (event, book.state)
                    assert book.bid_prices[-1] < book.ask_prices[0]
                    assert book.bid_prices[0] > 0
                    assert book.ask_prices[-1] < UNIT


@pytest.mark.parametrize("seed", SEEDS)
def test_what_the_changes_add_up_to_is_the_next_snapshot(seed):
    markets, compared = Markets(), 0
    for event in an_hour(seed):
        if isinstance(event, BookReplaced):
            book = markets.by_id[event.market].books[event.outcome]
            if book.bid_prices:
                compared += 1
                assert (book.bid_prices, book.bid_sizes) == (event.bid_prices, event.bid_sizes)
                assert (book.ask_prices, book.ask_sizes) == (event.ask_prices, event.ask_sizes)
        markets.apply(event)
    assert compared > 200


def test_down_is_the_mirror_of_up():
    markets = Markets()
    for event in an_hour(4):
        state = markets.apply(event)
        if isinstance(event, LevelsChanged) and state is not None:
            bids, asks = state.books[Outcome.UP].mirrored()
            down: Book = state.books[Outcome.DOWN]
            assert (down.bid_prices, down.bid_sizes, down.ask_prices, down.ask_sizes) == (*bids, *asks)


def test_time_moves_forward_in_any_steps_and_the_events_are_the_same():
    in_one, world = an_hour(6), calm_world(6)
    in_steps = [event for at in range(START, START + HOUR_MS + 1, 7_777) for event in world.advance(at)]
    in_steps += world.advance(START + HOUR_MS)
    assert in_steps == in_one
    assert [event.at for event in in_one] == sorted(event.at for event in in_one)


def test_another_seed_is_another_world():
    assert an_hour(1) != an_hour(2)


def test_the_world_does_not_depend_on_the_hash_seed():
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(digests) == 1


def test_a_market_moves_every_few_seconds_with_bursts_and_quiet_stretches():
    times: dict[str, list[int]] = {}
    for event in an_hour(1):
        if isinstance(event, LevelsChanged):
            times.setdefault(event.market, []).append(event.at)
    gaps: list[int] = []
    for asset, number in itertools.product(("btc", "eth"), (1, 2)):
        opens = START + 900_000 * number
        within = [at for at in times[f"{asset}-updown-15m-{opens // 1_000}"] if opens <= at < opens + 900_000]
        assert 200 <= len(within) <= 600
        gaps += [b - a for a, b in itertools.pairwise(within)]
    gaps.sort()
    assert gaps[len(gaps) // 20] < 400
    assert 2_000 < gaps[len(gaps) // 2] < 4_500
    assert gaps[-1] > 5_000, "longer than a book may be old"


def test_every_window_is_resolved_once_soon_after_its_end_and_pays_what_was_decided():
    world = calm_world(2)
    resolved = [event for event in world.advance(START + HOUR_MS) if isinstance(event, MarketResolved)]
    assert Counter(event.market for event in resolved) == {
        f"{asset}-updown-15m-{START // 1_000 + 900 * number}": 1 for asset in ("btc", "eth") for number in range(3)
    }
    for event in resolved:
        window = world.windows[event.market]
        assert 30_000 <= event.at - window.market.window_end <= 78_000
        assert event.payout_up == world.payout_up(event.market)


def test_both_outcomes_win_now_and_then():
    assert {e.payout_up for seed in SEEDS for e in an_hour(seed) if isinstance(e, MarketResolved)} == {0, UNIT}


def test_the_price_before_the_end_leans_to_what_wins():
    """Otherwise the strategies would trade noise, and a winner-biased fault would have nothing to bias."""
    right = 0
    for seed in range(1, 7):
        markets = Markets()
        for event in calm_world(seed).advance(START + 2_700_000 + 100_000):
            if isinstance(event, MarketResolved):
                book = markets.by_id[event.market].books[Outcome.UP]
                right += (book.ask_prices[0] > UNIT // 2) == (event.payout_up == UNIT)
            markets.apply(event)
    assert right >= 0.8 * 6 * 6


def test_a_late_resolution_is_minutes_late():
    world = World(2, START, Faults(2, START, HOUR_MS, episodes=[lasting("venue_late_resolution")]))
    late = [event.at - world.windows[event.market].market.window_end for event in world.advance(START + HOUR_MS)
            if isinstance(event, MarketResolved)]  # fmt: skip
    assert max(late) > 180_000


@pytest.mark.parametrize("seed", SEEDS)
def test_the_shipped_agents_trade_several_times_an_hour_on_it(seed):
    settings = load_settings()
    floor = Floor(
        *load_plans(settings), limits=settings.limits.limits(), model=settings.venue.model(settings.seed), at=START
    )
    floor.play(*an_hour(seed))
    assert {fact.agent for fact in floor.of(IntentRecorded)} == {"mean_reversion", "momentum", "volume_spike"}
    assert len(floor.of(IntentRecorded)) >= 8
    assert len({fill.order for fill in floor.of(FillMatched)}) >= 6


def test_trades_are_at_the_best_price_and_the_tick_gets_finer_at_the_edges():
    markets, fine, trades = Markets(), 0, 0
    for event in an_hour(3):
        if isinstance(event, TradePrinted):
            trades += 1
            book = markets.by_id[event.market].books[event.outcome]
            assert event.price in (book.best_bid, book.best_ask)
        state = markets.apply(event)
        if isinstance(event, TickSizeChanged):
            fine += 1
            assert state is not None
            assert not 60_000 < (state.books[0].best_bid or 0) < 940_000
    assert trades > 200
    assert fine >= 2


def test_changed_terms_are_in_the_listing_and_the_stream_tells_of_ticks_only():
    episodes = [
        lasting("terms_fee", 0.5, since=300_000, until=600_000),
        lasting("terms_taker_delay", 0.9, since=300_000, until=600_000),
        lasting("terms_rule_set", since=300_000, until=600_000),
        lasting("terms_tick", since=300_000, until=600_000),
    ]
    faults = Faults(1, START, HOUR_MS, episodes=episodes)
    world = World(1, START, faults)
    before = [*world.advance(START + 299_999)]
    usual = world.listed(START, START + 1)[0].market
    during = [*world.advance(START + 400_000)]
    changed = world.listed(START, START + 1)[0].market
    ticks = [(e.market, e.tick) for e in (*before, *during) if isinstance(e, TickSizeChanged)]
    assert changed.fees != usual.fees
    assert changed.rule_set != usual.rule_set
    assert (changed.taker_delay_ms, changed.tick) == (1_000, 1_000)
    assert ticks.count((usual.id, Price(1_000))) == 1
    assert {e.market for e in during if isinstance(e, MarketListed)} >= {changed}
    list(world.advance(START + 700_000))
    after = world.listed(START, START + 1)[0].market
    assert msgspec.structs.replace(after, tick=usual.tick) == usual
    assert faults.counts["terms_fee"] >= 2


def test_every_window_of_a_day_ahead_is_listed_in_order_of_its_start():
    windows = calm_world(1).listed(START, START + 86_400_000)
    starts = [window.market.window_start for window in windows]
    assert starts == sorted(starts)
    assert len(windows) == 2 * 96
    assert len({window.market.id for window in windows}) == len(windows)
