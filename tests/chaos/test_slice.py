"""The slice of the hunt that every change must pass."""

import json

from tests.slice import SEEDS, Slice


def test_two_hundred_hours_full_of_faults_break_nothing(hunt_beside: Slice) -> None:
    exit_code = hunt_beside.finish()
    assert exit_code == 0, hunt_beside.said[-8000:]
    assert f"no violation in {SEEDS} seeds" in hunt_beside.said
    told = [json.loads(line) for line in hunt_beside.results]
    assert sum(result["trades"] for result in told) > 10 * SEEDS, "so little is traded that the hunt shows nothing"
    assert sum(result["kills"] for result in told) > SEEDS
