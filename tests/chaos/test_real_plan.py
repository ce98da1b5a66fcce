"""What will be done to the floor is drawn from the seed alone."""

from collections import Counter
from itertools import pairwise

from polybot.chaos.real_plan import DOWN_S, Deed, Target, plan_lives


def test_the_same_seed_gives_the_same_plan_and_another_seed_another():
    assert plan_lives(60, 7) == plan_lives(60, 7) != plan_lives(60, 8)


def test_every_life_kills_each_of_the_three_once_and_ends_with_the_service():
    lives = plan_lives(300, 1)
    assert len(lives) == 100
    for life in lives:
        kills = Counter(strike.target for strike in life.strikes if strike.deed is Deed.KILL)
        assert kills == {Target.SERVICE: 1, Target.DATABASE: 1, Target.CACHE: 1}
        assert life.strikes[-1].target is Target.SERVICE
        assert all(a.after_s <= b.after_s for a, b in pairwise(life.strikes))


def test_kills_are_rounded_up_to_whole_lives():
    assert [len(plan_lives(kills, 1)) for kills in (1, 3, 4)] == [1, 1, 2]


def test_a_plan_has_every_kind_of_trouble():
    lives = plan_lives(300, 1)
    strikes = [strike for life in lives for strike in life.strikes]
    assert {life.patient for life in lives} == {True, False}
    assert {strike.target for strike in strikes if strike.deed is Deed.FREEZE} == set(Target)
    assert any(strike.part for strike in strikes)
    assert {len(life.ends_with) for life in lives} == {1, 2, 3}
    assert all(strike.seconds <= DOWN_S[1] for strike in strikes)
