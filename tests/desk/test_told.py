"""Windows whose story is over: known by spans of time, few of them, and never one too many."""

import random

from hypothesis import given
from hypothesis import strategies as st

from polybot.desk.room import RETIRE_AFTER_MS
from polybot.desk.told import GAP_KEPT_MS, SPANS_MAX, Told, ToldSpan
from polybot.domain.events import MarketOpened, MarketResolved, WindowRecorded
from polybot.domain.units import UNIT, Millis, Price
from tests.builders import Floor, a_plan, listed, one_sided, resolved
from tests.facts import START

WINDOW_MS = 900_000
A_DAY = GAP_KEPT_MS // WINDOW_MS
NOW = Millis(10**12)


def told_of(*numbers: int) -> Told:
    told = Told()
    for number in numbers:
        add(told, number)
    return told


def add(told: Told, number: int) -> None:
    told.add(at(number), at(number + 1))


def covers(told: Told, number: int) -> bool:
    return told.covers(at(number), at(number + 1))


def at(number: int) -> Millis:
    return Millis(NOW + number * WINDOW_MS)


def test_windows_that_follow_each_other_are_one_span_however_many_they_are():
    assert told_of(*range(A_DAY - 1)).spans == [ToldSpan(since=at(0), until=at(A_DAY - 1))]
    assert told_of(*range(1_000)).spans == [ToldSpan(since=Millis(0), until=at(1_000))]


def test_a_window_left_out_between_two_that_are_over_is_not_over_itself():
    told = told_of(1, 2, 4)
    assert [covers(told, number) for number in range(6)] == [False, True, True, False, True, False]
    assert told.up_to(at(1)) == at(3)
    add(told, 3)
    assert told.up_to(at(1)) == at(5)
    assert len(told.spans) == 1


@given(st.sets(st.integers(0, A_DAY - 2)), st.integers())
def test_what_is_over_is_known_exactly_for_a_day(numbers: set[int], seed: int):
    told = told_of(*shuffled(numbers, seed))
    assert {number for number in range(A_DAY) if covers(told, number)} == numbers


@given(st.sets(st.integers(0, 4 * A_DAY)), st.integers())
def test_the_order_in_which_it_was_told_makes_no_difference(numbers: set[int], seed: int):
    """A restart folds the journal's facts, and may find windows to be over in another order than the floor did."""
    assert told_of(*shuffled(numbers, seed)) == told_of(*sorted(numbers))


def shuffled(numbers: set[int], seed: int) -> list[int]:
    drawn = sorted(numbers)
    random.Random(seed).shuffle(drawn)
    return drawn


def test_a_gap_is_given_up_when_windows_a_day_after_it_are_over_and_not_before():
    told = told_of(0, 1, 5, 5 + A_DAY - 2)
    assert not covers(told, 3)
    add(told, 5 + A_DAY - 1)
    assert covers(told, 3)
    assert not covers(told, 6)


def test_with_too_many_gaps_the_oldest_are_given_up():
    told = Told()
    for number in range(2 * SPANS_MAX):
        told.add(Millis(10 * number + 1), Millis(10 * number + 2))
    assert len(told.spans) == SPANS_MAX
    given_up = 10 * SPANS_MAX
    assert told.covers(Millis(given_up - 5), Millis(given_up - 4))
    assert not told.covers(Millis(given_up + 15), Millis(given_up + 16))


def test_a_window_listed_after_a_later_one_was_retired_is_opened_and_recorded_all_the_same():
    first, late, last = (one_sided(number) for number in range(3))
    floor = Floor(a_plan())
    end = last.window_end + RETIRE_AFTER_MS
    floor.play(listed(first), listed(last, START + 1), resolved(first), resolved(last), listed(one_sided(9), end))
    assert {first.id, last.id}.isdisjoint(floor.room.state.markets)
    result = MarketResolved(Millis(end + 2), Millis(end + 2), late.id, Price(UNIT))
    floor.play(listed(late, end + 1), result, listed(one_sided(10), end + 3))
    assert [record.market for record in floor.of(WindowRecorded)].count(late.id) == 1
    floor.play(listed(first, end + 4), listed(last, end + 5), listed(one_sided(11), end + 6))
    opened = [fact.market.id for fact in floor.of(MarketOpened)]
    assert (opened.count(first.id), opened.count(last.id), opened.count(late.id)) == (1, 1, 1)
