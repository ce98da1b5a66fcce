"""Rollovers: the next window stands before the last one ends, whatever the feed does; and the rehearsal would tell.

Five hundred of them: `polybot chaos rollover`.
"""

import pytest

from polybot.chaos.rollover import run_rollovers
from polybot.cli.chaos_rollover import report
from polybot.floor import feeder, windows


def test_twenty_rollovers_under_faults_miss_no_window_and_trade_none_outside_its_time() -> None:
    result = run_rollovers(2, 20)
    assert result.is_good, result.violation
    assert result.in_time + len(result.late_ms) == result.rollovers == 20
    assert result.orders > 50
    assert result.faults > 200
    assert report(result, 1.0)[0].startswith("20 rollovers under ")


def test_a_floor_that_follows_a_window_only_when_it_begins_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "FOLLOW_AHEAD_MS", 0)
    result = run_rollovers(2, 2)
    assert result.violation is not None
    assert result.violation.startswith("rolled_over: ")


def test_a_floor_that_never_hears_of_the_next_window_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeder, "CATALOG_AHEAD_MS", -600_000)
    result = run_rollovers(2, 2)
    assert not result.is_good
