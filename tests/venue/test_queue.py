"""The queue by itself: what moves a resting order up, and by how much."""

from hypothesis import given
from hypothesis import strategies as st

from polybot.domain.ids import OrderId
from polybot.domain.units import Millis, Shares
from polybot.venue.queue import PAIRING_MS_MAX, Resting


def queued(ahead: int, level: int | None = None) -> Resting:
    level = ahead if level is None else level
    return Resting(order=OrderId("a"), place=-500_000, left=Shares(10), ahead=Shares(ahead), level=Shares(level))


def trade(resting: Resting, size: int, now: int = 0) -> int:
    return resting.see_trade(Shares(size), Shares(size), Millis(now))


def test_a_trade_takes_from_the_front() -> None:
    resting = queued(40)
    assert (trade(resting, 15), resting.ahead) == (0, 25)
    assert (trade(resting, 30), resting.ahead) == (5, 0)


def test_what_fell_without_a_trade_went_evenly_rounded_against_us() -> None:
    resting = queued(ahead=10, level=30)
    resting.see_level(Shares(20), Millis(0))
    assert resting.ahead == 7  # a third of ten is three and a bit: three left


def test_nobody_is_ahead_that_is_not_there() -> None:
    resting = queued(40)
    resting.see_level(Shares(0), Millis(0))
    assert resting.ahead == 0


def test_those_who_join_later_stand_behind() -> None:
    resting = queued(40)
    resting.see_level(Shares(400), Millis(0))
    assert resting.ahead == 40


def test_a_fall_that_a_trade_announced_moves_nobody_again() -> None:
    resting = queued(40)
    trade(resting, 15)
    resting.see_level(Shares(25), Millis(0))
    assert resting.ahead == 25


def test_a_trade_that_explains_a_fall_undoes_the_cancels_it_was_taken_for() -> None:
    resting = queued(ahead=40, level=100)
    resting.see_level(Shares(30), Millis(0))  # seventy gone: taken for cancels, 28 of them ahead
    assert resting.ahead == 12
    assert trade(resting, 70) == 30  # it was one trade: forty ahead, then us


def test_after_a_second_a_fall_keeps_its_first_explanation() -> None:
    resting = queued(40)
    resting.see_level(Shares(25), Millis(0))
    assert trade(resting, 26, PAIRING_MS_MAX + 1) == 1


steps = st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 2_000)), max_size=30)


@given(st.integers(0, 50), st.integers(0, 50), steps)
def test_whoever_joined_later_is_never_nearer(first: int, joined: int, story: list[tuple[bool, int, int]]) -> None:
    early, late = queued(first, first + joined), queued(first + joined)
    now = 0
    for is_trade, size, pause in story:
        now += pause
        for resting in (early, late):
            if is_trade:
                trade(resting, size, now)
            else:
                resting.see_level(Shares(size), Millis(now))
        assert 0 <= early.ahead <= late.ahead
        assert min(early.fallen, early.advanced, early.traded) >= 0


@given(st.integers(0, 100), steps)
def test_what_reaches_us_is_never_more_than_was_traded(ahead: int, story: list[tuple[bool, int, int]]) -> None:
    resting, now = queued(ahead), 0
    for is_trade, size, pause in story:
        now += pause
        if is_trade:
            assert 0 <= trade(resting, size, now) <= size
        else:
            resting.see_level(Shares(size), Millis(now))
