"""The watch over a feed: repetitions are found, silence is not endured, and nobody is asked too often."""

from polybot.domain.events import LevelChange, LevelsChanged, MarketEvent, SnapshotRequested, TradePrinted
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.markets import MarketState
from polybot.domain.units import Millis
from polybot.floor.feed_watch import FeedWatch, Reconnect, Refresh, WatchTerms
from tests.facts import START, a_market, price, shares
from tests.floor.feeds import snapshot

MARKET = a_market()
NOW = Millis(START + 60_000)


def a_watch(**terms: int) -> FeedWatch:
    watch = FeedWatch(WatchTerms(**terms))
    watch.opened(NOW)
    return watch


def a_state(market: Market = MARKET, *, at: int = 0) -> MarketState:
    """With both books verified at so many milliseconds from now."""
    state = MarketState(market)
    hear(state, at)
    return state


def hear(state: MarketState, at: int) -> None:
    for outcome in Outcome:
        state.replace_book(snapshot(state.market.id, NOW + at, outcome=outcome))


def change(at: int, size: str = "1", *, received: int | None = None) -> LevelsChanged:
    level = LevelChange(Outcome.UP, Side.BUY, price("0.45"), shares(size))
    return LevelsChanged(Millis(NOW + at), Millis(NOW + (at if received is None else received)), MARKET.id, [level])


def trade(at: int, transaction: str = "", size: str = "5") -> TradePrinted:
    when = Millis(NOW + at)
    return TradePrinted(when, when, MARKET.id, Outcome.UP, Side.BUY, price("0.5"), shares(size), transaction)


def admitted(watch: FeedWatch, *events: MarketEvent) -> list[bool]:
    return [watch.admit(event) for event in events]


def commands(watch: FeedWatch, state: MarketState, *times: int) -> dict[int, list[Reconnect | Refresh]]:
    found = {at: watch.look(Millis(NOW + at), [state]) for at in times}
    return {at: told for at, told in found.items() if told}


# -- repetitions ------------------------------------------------------------------------------------------------------


def test_a_change_that_comes_again_is_found_among_others_and_however_much_later() -> None:
    watch = a_watch()
    assert admitted(watch, change(0), change(0, "2"), change(0, received=900), change(10)) == [True, True, False, True]
    assert watch.duplicates == 1


def test_a_change_of_the_same_date_that_says_something_else_is_news() -> None:
    assert admitted(a_watch(), change(5), change(0), change(0, "2")) == [True, True, True]


def test_a_trade_counts_once_and_two_that_are_alike_are_told_apart_by_their_transactions() -> None:
    watch = a_watch()
    story = (trade(0, "0xa"), trade(0, "0xa"), trade(0, "0xb"), trade(1, "0xa"))
    assert admitted(watch, *story) == [True, False, True, True]


def test_a_snapshot_said_again_is_news_only_if_it_was_asked_for() -> None:
    watch, again = a_watch(), snapshot(MARKET.id, NOW)
    assert admitted(watch, again, again) == [True, False]
    watch.asked([MARKET.id])
    assert admitted(watch, again, again) == [True, False]
    assert watch.admit(SnapshotRequested(NOW, NOW, [MARKET.id]))
    assert watch.admit(again)


def test_what_is_remembered_of_a_market_is_bounded() -> None:
    watch = a_watch()
    for number in range(1_000):
        watch.admit(change(0, str(number + 1)))
        watch.admit(trade(0, str(number)))
    recent = watch._recent[MARKET.id]
    assert (len(recent.changes), len(recent.trades)) == (64, 64)


# -- silence ----------------------------------------------------------------------------------------------------------


def test_a_connection_on_which_nothing_comes_is_given_up_each_time_after_longer() -> None:
    watch, state = a_watch(refresh_ms=10_000_000), a_state()
    at, patience = 0, []
    for _ in range(5):
        watch.opened(Millis(NOW + at))
        waited = next(ms for ms in range(0, 100_000, 500) if commands(watch, state, at + ms))
        patience.append(waited)
        at += waited
        watch.closed(Millis(NOW + at))
    assert patience == [10_000, 20_000, 40_000, 60_000, 60_000]
    watch.opened(Millis(NOW + at))
    watch.admit(change(at))
    assert commands(watch, state, at + 9_999) == {}
    assert commands(watch, state, at + 10_000) != {}


def test_where_no_window_is_open_silence_is_nothing() -> None:
    over, to_come = a_state(), a_state(a_market(1))
    over.payout_up = price("1")
    assert commands(a_watch(), over, 10_000, 100_000) == {}
    assert commands(a_watch(), to_come, 10_000, 100_000) == {}


def test_a_feed_that_tells_everything_late_is_made_anew() -> None:
    watch, state = a_watch(refresh_ms=10_000_000), a_state()
    told: dict[int, list[Reconnect | Refresh]] = {}
    for second in range(0, 12_000, 1_000):
        watch.admit(change(second - 6_000, received=second))
        told |= commands(watch, state, second)
    assert told == {10_000: [Reconnect("everything has come late for 10.0 s, by 6000 ms just now")]}


def test_an_outage_is_counted_from_the_last_that_was_heard_to_the_next() -> None:
    watch = a_watch()
    watch.admit(change(0))
    assert watch.closed(Millis(NOW + 4_000))
    assert not watch.closed(Millis(NOW + 6_000))
    assert watch.resumed(Millis(NOW + 9_000)) == 9_000
    assert watch.resumed(Millis(NOW + 9_001)) is None


# -- books that need a new word ---------------------------------------------------------------------------------------

REFRESH = [Refresh(MARKET.id)]


def test_a_book_is_asked_for_before_the_gate_calls_it_stale() -> None:
    watch, state = a_watch(silence_ms=10_000_000), a_state()
    assert commands(watch, state, 2_999, 3_000) == {3_000: REFRESH}


def test_a_quiet_market_that_answers_is_asked_every_three_seconds() -> None:
    watch, state = a_watch(silence_ms=10_000_000), a_state()
    asked = []
    for at in range(0, 30_000, 500):
        if commands(watch, state, at):
            asked.append(at)
            hear(state, at)
    assert asked == list(range(3_000, 30_000, 3_000))


def test_a_dead_market_is_asked_ever_more_seldom_and_a_new_connection_tried_once() -> None:
    watch, state = a_watch(silence_ms=10_000_000, silence_ms_max=10_000_000), a_state()
    told = commands(watch, state, *range(0, 240_000, 500))
    assert list(told) == [
        3_000,
        4_000,
        6_000,
        10_000,
        18_000,
        34_000,
        64_000,
        94_000,
        124_000,
        154_000,
        184_000,
        214_000,
    ]
    assert [at for at, (command,) in told.items() if isinstance(command, Reconnect)] == [34_000]


def test_a_dead_market_does_not_cost_the_others_their_connection_again_and_again() -> None:
    watch, state = a_watch(silence_ms=10_000_000, silence_ms_max=10_000_000), a_state()
    made_anew = 0
    for at in range(0, 600_000, 500):
        if any(isinstance(told, Reconnect) for told in watch.look(Millis(NOW + at), [state])):
            made_anew += 1
            watch.closed(Millis(NOW + at))
            watch.opened(Millis(NOW + at))
            watch.subscribed([state.market.id], Millis(NOW + at))
    assert made_anew == 1


def test_what_comes_late_of_a_market_that_is_not_followed_any_more_is_not_remembered_for_ever() -> None:
    watch = a_watch()
    admitted(watch, change(0), trade(1))
    watch.keep_only([])
    admitted(watch, change(2))
    watch.keep_only([])
    assert (watch._recent, watch._asked) == ({}, {})


def test_a_contradicted_book_is_asked_for_at_once() -> None:
    watch, state = a_watch(), a_state()
    state.books[0].contradict()
    assert commands(watch, state, 100) == {100: REFRESH}


def test_a_new_subscription_is_given_time_to_answer() -> None:
    watch, state = a_watch(), a_state()
    state.ask(NOW)
    watch.subscribed([MARKET.id], NOW)
    assert commands(watch, state, 0, 500, 999, 1_000) == {1_000: REFRESH}


def test_before_its_window_a_quiet_book_is_let_be_and_a_doubted_one_is_not() -> None:
    watch, state = a_watch(), a_state(a_market(1))
    assert commands(watch, state, 60_000) == {}
    state.books[1].doubt()
    assert commands(watch, state, 60_500) == {60_500: [Refresh(a_market(1).id)]}


def test_after_its_end_a_market_is_asked_for_nothing() -> None:
    watch, state = a_watch(), a_state()
    assert commands(watch, state, MARKET.window_end - NOW) == {}


def test_nothing_is_asked_of_a_connection_that_is_not_there() -> None:
    watch, state = a_watch(), a_state()
    watch.closed(NOW)
    assert commands(watch, state, 20_000) == {}
