"""How often an agent may crash, how long it waits, and what is forgiven."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polybot.domain.errors import BadInput
from polybot.floor.crash_budget import Bench, CrashBudget, CrashTerms, Restart

TERMS = CrashTerms(restarts_max=3, period_s=100, backoff_s=1, backoff_s_max=3, cooldowns_s=(10, 60))
FULL = 1.0  # jitter: the whole wait


def crash(budget: CrashBudget, times: int, at: float) -> tuple[list[Restart | Bench], float]:
    """Crash so many times, each as soon as it is up again; the answers, and when it is up after the last."""
    answers = []
    for _ in range(times):
        answers.append(budget.note(at, FULL))
        at += answers[-1].delay_s
    return answers, at


def test_restarts_wait_twice_as_long_each_time_up_to_a_bound():
    answers, _ = crash(CrashBudget(TERMS), 3, 0)
    assert answers == [Restart(delay_s=1), Restart(delay_s=2), Restart(delay_s=3)]


def test_one_crash_more_than_the_budget_is_the_bench():
    answers, _ = crash(CrashBudget(TERMS), 4, 0)
    assert answers[-1] == Bench(delay_s=10)


def test_the_bench_gets_longer_each_time_up_to_the_last_tier():
    answers, _ = crash(CrashBudget(TERMS), 12, 0)
    assert [answer.delay_s for answer in answers if isinstance(answer, Bench)] == [10, 60, 60]


def test_sitting_out_longer_than_the_period_is_not_forgiven():
    terms = CrashTerms(restarts_max=0, period_s=300, cooldowns_s=(10, 60, 300, 1800))
    answers, _ = crash(CrashBudget(terms), 6, 0)
    assert [answer.delay_s for answer in answers] == [10, 60, 300, 1800, 1800, 1800]


def test_running_for_the_period_without_a_crash_forgives_everything():
    budget = CrashBudget(TERMS)
    _, up_again = crash(budget, 8, 0)
    assert budget.note(up_again + 101, FULL) == Restart(delay_s=1)
    answers, _ = crash(budget, 3, up_again + 102)
    assert answers[-1] == Bench(delay_s=10)


def test_crashes_far_apart_never_fill_the_budget():
    budget = CrashBudget(TERMS)
    assert all(isinstance(budget.note(at * 60.0, FULL), Restart) for at in range(50))
    assert budget.crashes == 50


@given(st.floats(0, 1))
def test_jitter_spreads_the_wait_between_half_and_whole(jitter):
    assert 0.5 <= CrashBudget(TERMS).note(0, jitter).delay_s <= 1


@pytest.mark.parametrize("terms", [{"restarts_max": -1}, {"period_s": 0}, {"cooldowns_s": ()}])
def test_terms_without_sense_are_refused(terms):
    with pytest.raises(BadInput, match="crash budget"):
        CrashTerms(**terms)
