"""The plan of a rehearsal's faults."""

from itertools import islice

from polybot.rehearsal.floor import identity_of
from polybot.rehearsal.plan import Kind, plan_deeds
from polybot.rehearsal.switches import BEGINNINGS, REQUESTS


def test_every_kind_of_fault_comes_once_before_any_comes_again():
    deeds = list(islice(plan_deeds(seed=1, gap_s=5), 2 * len(Kind)))
    assert {deed.kind for deed in deeds[: len(Kind)]} == set(Kind)
    assert {deed.kind for deed in deeds[len(Kind) :]} == set(Kind)


def test_the_same_seed_has_the_same_plan_and_another_has_another():
    first, again, other = (list(islice(plan_deeds(seed, 5), 40)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_no_fault_lasts_longer_than_two_gaps_so_that_faults_do_not_become_the_weather():
    assert all(deed.lasts_s <= 4 for deed in islice(plan_deeds(seed=3, gap_s=2), 200))


def test_every_kind_of_fault_has_something_that_does_it():
    assert set(Kind) == BEGINNINGS.keys() | REQUESTS.keys() | {Kind.RESTART, Kind.RELAYER_FAILS}


def test_the_key_of_a_rehearsal_is_its_seeds_own_and_shows_nowhere():
    who = identity_of(1)
    assert who == identity_of(1)
    assert who.wallet != identity_of(2).wallet
    assert who.private_key not in repr(who)
