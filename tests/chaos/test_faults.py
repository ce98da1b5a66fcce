"""The fault plan: the same for a seed, different between seeds, and in the end all of the menu."""

from collections import Counter

import pytest

from polybot.chaos.faults import HOUR_MS, MENU, SWITCHED_ON, Faults, plan_episodes
from polybot.domain.errors import BadInput
from tests.chaos.worlds import START, lasting

MADE_BY_OTHERS = {"venue_partial_settlement"}
"""Ghost fills bring it about; it has no episodes of its own."""


def test_a_seeds_plan_is_always_the_same():
    assert plan_episodes(7, START, HOUR_MS) == plan_episodes(7, START, HOUR_MS)
    assert plan_episodes(7, START, HOUR_MS) != plan_episodes(8, START, HOUR_MS)


def test_some_seeds_are_calm_some_hellish_and_none_has_everything():
    plans = [plan_episodes(seed, START, HOUR_MS) for seed in range(200)]
    sizes = sorted(len(plan) for plan in plans)
    assert sizes[5] == 0
    assert sizes[-5] > 150
    kinds = [len({episode.name for episode in plan}) for plan in plans]
    assert max(kinds) < 0.8 * len(MENU)
    assert sum(kinds) / len(kinds) < SWITCHED_ON * len(MENU)


def test_every_fault_of_the_menu_comes_up_in_many_seeds():
    met = Counter(name for seed in range(200) for name in {e.name for e in plan_episodes(seed, START, HOUR_MS)})
    assert set(met) == set(MENU) - MADE_BY_OTHERS
    assert min(met.values()) >= 4, met


def test_a_longer_life_begins_with_the_same_hour_and_goes_on_with_others():
    hour, three = plan_episodes(3, START, HOUR_MS), plan_episodes(3, START, 3 * HOUR_MS)
    assert [e for e in three if e in hour] == hour
    assert max(e.start_ms for e in three) > START + 2 * HOUR_MS


def test_leaving_a_fault_out_does_not_move_the_others():
    whole, without = plan_episodes(3, START, HOUR_MS), plan_episodes(3, START, HOUR_MS, {"feed_gap"})
    assert without == [episode for episode in whole if episode.name != "feed_gap"]
    with pytest.raises(BadInput, match="feed_gpa"):
        Faults(3, START, HOUR_MS, without={"feed_gpa"})


def test_what_is_in_force_is_what_the_plan_says_at_every_moment():
    faults = Faults(3, START, HOUR_MS)
    for at in range(START, START + HOUR_MS, 13_337):
        names, until = faults.in_force("feed_", at)
        for moment in (at, min(until, START + 2 * HOUR_MS) - 1):
            expected = {e.name for e in faults.plan if e.name.startswith("feed_") and e.start_ms <= moment < e.end_ms}
            assert names == expected
        for name in MENU:
            in_plan = any(e.name == name and e.start_ms <= at < e.end_ms for e in faults.plan)
            assert (faults.episode(name, at) is not None) == in_plan


def test_a_strike_is_drawn_from_the_subjects_name_and_counted_only_when_it_hits():
    logged: list[tuple[str, str]] = []
    plan = [lasting("venue_busy", 0.3)]
    faults = Faults(1, START, HOUR_MS, episodes=plan, log=lambda name, text: logged.append((name, text)))
    hits = [subject for subject in range(1_000) if faults.strikes("venue_busy", START + 1, subject)]
    again = [subject for subject in reversed(range(1_000)) if faults.strikes("venue_busy", START + 1, subject)]
    assert 240 < len(hits) < 360
    assert again[::-1] == hits
    assert faults.counts["venue_busy"] == 2 * len(hits) == len(logged)
    assert not faults.strikes("venue_busy", START - 1, hits[0])
