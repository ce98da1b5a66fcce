"""The rate limit as the venue keeps it: a burst at once, then so many a second, and never more."""

import hypothesis.strategies as st
from hypothesis import given

from polybot.venue.polymarket.order_pace import Bucket, Pace


def test_a_burst_goes_at_once_and_the_next_one_waits():
    bucket = Bucket(rate=10, burst=3)
    for _ in range(3):
        assert bucket.wait_s(100.0) == 0
        bucket.take(100.0)
    assert abs(bucket.wait_s(100.0) - 0.1) < 1e-9
    assert bucket.wait_s(100.1) < 1e-9


def test_what_the_venue_says_is_gone_is_gone_until_then():
    bucket = Bucket(rate=10, burst=60)
    bucket.empty_until(100.0, 130.0)
    assert abs(bucket.wait_s(100.0) - 30) < 1e-9


def test_orders_and_cancels_have_a_bucket_each():
    pace = Pace()
    pace.orders.take(1.0, 60)
    assert pace.orders.wait_s(1.0) > 0
    assert pace.cancels.wait_s(1.0) == 0


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=200))
def test_no_more_than_the_burst_and_the_rate_ever_goes(pauses):
    bucket, now, sent = Bucket(rate=40, burst=60), 1_000.0, []
    for pause in pauses:
        now += pause
        wait = bucket.wait_s(now)
        bucket.take(now)
        sent.append(now + wait)
    for first in range(0, len(sent), 7):
        in_a_second = [at for at in sent[first:] if at < sent[first] + 1]
        assert len(in_a_second) <= 101
