"""The buckets of the rate limits and the dead man's switch, with the time handed in."""

import pytest

from polybot.domain.units import Millis
from polybot.exchange.core.heartbeats import Expected, Heartbeats
from polybot.exchange.core.limits import RateLimits
from polybot.exchange.core.model import OwnerKey
from tests.exchange.trading import ALICE, BOB

KEY = OwnerKey("key")
START = Millis(1_790_586_000_000)


def later(seconds: float) -> Millis:
    return Millis(START + round(seconds * 1000))


@pytest.fixture
def limits() -> RateLimits:
    return RateLimits()


def test_a_bucket_empties_and_fills_at_the_tiers_rate(limits: RateLimits) -> None:
    assert limits.spend(ALICE, 60, START, cancels=False).retry_after_s == 0
    refused = limits.spend(ALICE, 1, START, cancels=False)
    assert refused.retry_after_s == pytest.approx(1 / 40)
    assert refused.headers()["Retry-After"] == "1"
    assert limits.spend(ALICE, 4, later(0.1), cancels=False).retry_after_s == 0


def test_orders_cancels_and_signers_have_buckets_of_their_own(limits: RateLimits) -> None:
    limits.spend(ALICE, 60, START, cancels=False)
    assert limits.spend(ALICE, 120, START, cancels=True).retry_after_s == 0
    assert limits.spend(BOB, 60, START, cancels=False).retry_after_s == 0


def test_what_costs_more_than_the_burst_can_never_pass(limits: RateLimits) -> None:
    assert limits.spend(ALICE, 61, later(3_600), cancels=False).retry_after_s > 0


def test_cancelling_everything_may_leave_a_debt(limits: RateLimits) -> None:
    limits.spend(ALICE, 1, START, cancels=True)
    assert limits.owe(ALICE, 279, START).remaining == -160
    assert limits.spend(ALICE, 1, later(2), cancels=True).retry_after_s > 0
    assert limits.spend(ALICE, 1, later(2.1), cancels=True).retry_after_s == 0


def test_warning_mode_counts_and_refuses_nobody(limits: RateLimits) -> None:
    limits.enforced = False
    assert limits.spend(ALICE, 100, START, cancels=False).remaining == -40


def test_an_endpoints_window_begins_anew_after_ten_seconds(limits: RateLimits) -> None:
    limits.endpoints["GET /book"] = 2
    assert [limits.too_many("GET /book", START) for _ in range(3)] == [False, False, True]
    assert not limits.too_many("GET /book", later(10))
    assert not limits.too_many("GET /unlimited", START)


# -- heartbeats -------------------------------------------------------------------------------------------------------


def test_each_heartbeat_must_carry_the_id_that_was_answered_last() -> None:
    heartbeats = Heartbeats()
    first = heartbeats.beat(KEY, "", START)
    assert isinstance(first, str)
    assert heartbeats.beat(KEY, "", later(1)) == Expected(first)
    second = heartbeats.beat(KEY, first, later(2))
    assert second not in (first, "", Expected(first))


def test_a_refused_heartbeat_does_not_move_the_deadline() -> None:
    heartbeats = Heartbeats()
    heartbeats.beat(KEY, "", START)
    heartbeats.beat(KEY, "wrong", later(9))
    assert heartbeats.take_dead(later(11)) == [KEY]


def test_the_dead_are_found_between_ten_and_fifteen_seconds_after_and_start_anew() -> None:
    heartbeats = Heartbeats()
    assert heartbeats.take_dead(START) == []
    heartbeats.beat(KEY, "", later(1))
    found = [second for second in range(1, 30) if heartbeats.take_dead(later(second))]
    assert found == [15]
    assert isinstance(heartbeats.beat(KEY, "", later(31)), str)
