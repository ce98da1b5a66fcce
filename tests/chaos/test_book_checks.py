"""An order's proof is held to what the exchange truly showed, not to what the gate believed of its own book."""

from random import Random

import msgspec

from polybot.chaos.book_checks import BookChecks
from polybot.chaos.faults import HOUR_MS, Episode, Faults
from polybot.chaos.feed import DELAY_MS, FRAME_MS
from polybot.chaos.market import World
from polybot.chaos.quotes import CENT, TOPS_KEPT, Ladder
from polybot.domain.events import BookReplaced, LevelsChanged
from polybot.domain.ids import MarketId
from polybot.domain.market import Outcome
from polybot.domain.order import OrderIntent
from polybot.domain.units import UNIT, Millis, Price, Shares
from tests.chaos.worlds import START, lasting
from tests.venue.builders import an_intent

MARKET = MarketId(f"btc-updown-15m-{START // 1_000}")
LATER = 300_000


def a_world(*episodes: Episode, run_ms: int = LATER) -> tuple[World, BookChecks]:
    faults = Faults(1, START, HOUR_MS, episodes=list(episodes))
    world = World(1, START, faults)
    list(world.advance(START + run_ms))
    return world, BookChecks(world, faults, lambda: world.now)


def decided(world: World, bid: int, ask: int, *, age_ms: int = 0, outcome: Outcome = Outcome.UP) -> OrderIntent:
    """An order that says it was decided just now, on these best prices."""
    intent = an_intent(1, limit=Price(500_000), size=Shares(20 * UNIT), at=world.now, outcome=outcome, market=MARKET)
    proof = msgspec.structs.replace(
        intent.proof, best_bid=Price(bid), best_ask=Price(ask), book_age_ms=age_ms, book_age_ms_max=5_000
    )
    return msgspec.structs.replace(intent, proof=proof)


def top(world: World, outcome: Outcome = Outcome.UP) -> tuple[int, int]:
    book = world.snapshot(MARKET, outcome)
    assert book is not None
    return book.bid_prices[-1], book.ask_prices[0]


def old_top(world: World, ago_ms: int) -> tuple[int, int]:
    """Best prices that stood before `ago_ms`, and not since."""
    window = world.windows[MARKET]
    assert window.ladder is not None
    since = world.now - ago_ms
    shown = window.ladder.shown(Outcome.UP, since, world.now)
    assert shown is not None
    before = ((bid * CENT, ask * CENT) for at, bid, ask in reversed(window.ladder.tops) if at < since)
    return next(prices for prices in before if prices not in shown)


def test_the_best_prices_that_are_remembered_are_those_of_every_snapshot_and_change() -> None:
    world = World(2, START, Faults(2, START, HOUR_MS, episodes=[]))
    seen = 0
    for event in world.advance(START + 600_000):
        if isinstance(event, LevelsChanged | BookReplaced) and event.market == MARKET:
            for outcome in Outcome:
                shown = world.shown(MARKET, outcome, event.at, event.at)
                assert shown is not None
                assert top(world, outcome) in shown
            seen += 1
    assert seen > 200


def test_what_stands_now_is_true_of_both_outcomes_and_a_cent_beside_it_is_not() -> None:
    world, checks = a_world()
    for outcome in Outcome:
        bid, ask = top(world, outcome)
        assert checks.untrue(decided(world, bid, ask, outcome=outcome)) is None
        found = checks.untrue(decided(world, 12_340, ask, outcome=outcome))
        assert found is not None
        assert found.startswith("0.01234 / ")


def test_old_prices_are_true_only_of_a_book_that_says_how_old_it_is() -> None:
    world, checks = a_world()
    bid, ask = old_top(world, 2_000)
    assert checks.untrue(decided(world, bid, ask, age_ms=100)) is not None
    assert checks.untrue(decided(world, bid, ask, age_ms=60_000)) is None


def test_only_the_last_best_prices_are_remembered_and_nobody_can_tell_of_a_time_before() -> None:
    chance = Random(1)
    ladder = Ladder(MARKET, chance)
    for number in range(1, TOPS_KEPT + 5):
        ladder.aim(500_000 + 2 * CENT * (number % 2), 1, chance, Millis(START + 100 * number))
    now = START + 100 * (TOPS_KEPT + 4)
    assert ladder.shown(Outcome.UP, now, now) == {(500_000, 510_000)}
    assert ladder.shown(Outcome.DOWN, now - 100, now) == {(490_000, 500_000), (470_000, 480_000)}
    assert ladder.shown(Outcome.UP, START + 400, now) is None


def test_a_market_that_is_over_is_not_judged() -> None:
    world, checks = a_world()
    bid, ask = top(world)
    list(world.advance(START + 900_000))
    assert checks.untrue(decided(world, bid, ask)) is None


def test_gaps_and_stale_snapshots_excuse_nothing() -> None:
    world, checks = a_world(*(lasting(name) for name in ("feed_gap", "feed_freeze", "feed_stale_snapshot")))
    assert checks.untrue(decided(world, *old_top(world, 2_000))) is not None


def test_a_contradiction_excuses_until_the_next_change_must_have_exposed_it() -> None:
    soon, long_ago = lasting("feed_contradiction", until=LATER - 4_000), lasting("feed_contradiction", until=200_000)
    world, checks = a_world(soon)
    assert checks.untrue(decided(world, *old_top(world, 2_000))) is None
    world, checks = a_world(long_ago)
    assert checks.untrue(decided(world, *old_top(world, 2_000))) is not None


def test_late_frames_excuse_as_much_as_they_can_be_late() -> None:
    world, checks = a_world(lasting("feed_delay"))
    assert checks.untrue(decided(world, *old_top(world, FRAME_MS + 1_000))) is None
    assert checks.untrue(decided(world, *old_top(world, FRAME_MS + DELAY_MS + 1))) is not None


def test_a_clock_that_is_ahead_excuses_until_it_can_agree_again() -> None:
    ahead = Episode(name="clock_jump", start_ms=Millis(START), end_ms=Millis(START + 60_000), intensity=1 / 60)
    behind = msgspec.structs.replace(ahead, intensity=-1.0)
    for jump, run_ms, excused in ((ahead, 70_000, True), (ahead, 200_000, False), (behind, 70_000, False)):
        world, checks = a_world(jump, run_ms=run_ms)
        assert (checks.untrue(decided(world, *old_top(world, 2_000))) is None) is excused
