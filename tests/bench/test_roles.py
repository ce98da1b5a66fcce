"""The bench of a shared feed: real processes, and every event at every floor."""

import asyncio

from polybot.bench.roles import run_roles


def test_two_floors_hear_every_event_of_one_feed():
    found = asyncio.run(run_roles(floors=2, events=400, rate=2_000))
    assert [(run.heard, run.gaps) for run in found] == [(401, 0)] * 2
    assert all(0 < run.median_us <= run.p99_us for run in found)
