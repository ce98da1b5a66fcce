"""Someone who breaks the floor on purpose is found out: for every invariant a planted bug, by the ordinary hunt."""

import pytest

from polybot.chaos.bugs import BUGS
from polybot.chaos.invariants import INVARIANTS
from polybot.chaos.result import SeedResult
from polybot.chaos.seed import run_seed

SEEDS_MAX = 80
"""The hunt has this many hours to find a bug in; most show in the first."""
SHOWS_IN = {
    "drops-late-fills": 4,
    "pays-fees-back": 4,
    "records-who-was-there": 57,
    "trades-any-market": 23,
    "believes-torn-writes": 10,
    "sees-what-it-likes": 35,
    "believes-in-the-venue": 27,
    "knows-no-drawdown": 5,
}
"""Where to look first, to save time; a changed world moves a bug to another seed, and then it is looked for."""


def first_violation(bug: str) -> SeedResult | None:
    hint = SHOWS_IN.get(bug, 1)
    for seed in (hint, *(seed for seed in range(1, SEEDS_MAX + 1) if seed != hint)):
        result = run_seed(seed, hours=1.0, bug=bug)
        if result.violation is not None:
            return result
    return None


@pytest.mark.parametrize("bug", BUGS)
def test_the_hunt_finds_the_planted_bug(bug: str) -> None:
    found = first_violation(bug)
    assert found is not None, f"{SEEDS_MAX} seeds did not show {bug}"
    assert str(found.violation).startswith(BUGS[bug].invariant)


def test_every_invariant_has_a_planted_bug() -> None:
    assert {bug.invariant for bug in BUGS.values()} == set(INVARIANTS)
