"""The soak's own instruments tell what they are there to tell; and a short one runs on everything that is real."""

import asyncio
import contextlib
import time
from collections import Counter
from pathlib import Path

import pytest

from polybot.bench.soak import run_soak
from polybot.bench.soak_feed import ASSETS, STAMP, market_of, parts_of, recorded_terms, templates
from polybot.bench.soak_watch import LoopWatch, percentile, slope_per_hour
from polybot.cli.soak import report


async def watched(block: float, *, computing: bool) -> LoopWatch:
    watch = LoopWatch()
    running = asyncio.create_task(watch.run())
    await asyncio.sleep(0.05)
    until = time.perf_counter() + block
    hold_the_loop(until) if computing else time.sleep(block)  # noqa: ASYNC251 - that is what is to be found
    await asyncio.sleep(0.05)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    watch.close()
    return watch


def hold_the_loop(until: float) -> None:
    while time.perf_counter() < until:
        sum(range(200))


async def test_a_loop_that_computes_too_long_is_told_with_its_stack_and_as_ours():
    watch = await watched(0.3, computing=True)
    stall = max(watch.stalls, key=lambda one: one.late_ms)
    assert stall.late_ms > 250
    assert "hold_the_loop" in stall.stack
    assert stall.loop_ms > 50
    assert watch.computed_longest_ms > 50


async def test_a_loop_that_waits_where_it_must_not_has_stalled_without_computing():
    watch = await watched(0.3, computing=False)
    stall = max(watch.stalls, key=lambda one: one.late_ms)
    assert stall.late_ms > 250
    assert stall.loop_ms < 150
    assert stall.ours_ms > 50


def test_memory_that_grows_by_a_megabyte_a_minute_grows_by_sixty_an_hour():
    assert slope_per_hour([(minute * 60.0, 100.0 + minute) for minute in range(20)]) == pytest.approx(60)
    assert slope_per_hour([(0.0, 1.0)]) == 0


def test_percentiles_are_of_the_ordered_values():
    counted = Counter(range(100, 0, -1)) + Counter({1: 99})
    assert [percentile(counted, share) for share in (0.0, 0.49, 0.75, 1.0)] == [1, 1, 51, 100]
    assert percentile(Counter(), 0.5) == 0


def test_every_lane_begins_with_a_snapshot_and_is_stamped():
    lanes = templates()
    assert len(lanes) == 4
    for frames in lanes:
        assert b'"event_type":"book"' in frames[0]
        assert all(str(STAMP).encode() in frame for frame in frames[:500])
        assert len(frames) > 1_000


def test_a_window_is_known_again_by_its_name():
    for asset in ASSETS:
        assert parts_of(market_of(asset, 1_700_000_100_000, recorded_terms()).id) == (asset, 1_700_000_100_000)


@pytest.mark.slow
async def test_a_short_soak_runs_the_whole_floor_and_reports_on_it(tmp_path: Path):
    told: list[str] = []
    run = await run_soak(tmp_path / "soak", 0.15, 300, told.append)
    assert run.frames > 300
    assert run.facts > 20
    assert run.fit_looks > 0
    assert run.watch.late.total() > 50
    assert any(line.startswith("longest stall") for line in report(run))
