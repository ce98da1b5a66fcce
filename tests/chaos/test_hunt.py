"""The hunt: every seed is run once, the same in any company, and a worker that dies is reported with its seed."""

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from polybot.chaos.hunt import HuntPlan, hunt, run_here
from polybot.chaos.result import SeedResult, slope_per_day
from polybot.chaos.tally import Tally
from polybot.cli import application
from polybot.cli import chaos as chaos_command
from tests.chaos import fake_seed
from tests.chaos.fake_seed import EXITS, KILLED, SLOW, VIOLATED


def test_every_seed_is_run_once_and_a_dead_worker_is_a_finding_and_no_end() -> None:
    results = {result.seed: result for result in hunt(HuntPlan(first=1, seeds=9, jobs=2), fake_seed.run_seed)}
    assert sorted(results) == list(range(1, 10))
    violations = {seed: result.violation for seed, result in results.items() if result.violation is not None}
    assert sorted(violations) == [VIOLATED, EXITS, KILLED]
    assert "exit code 9" in violations[EXITS]
    assert "signal 9" in violations[KILLED]
    alone = run_here(HuntPlan(seeds=1), 2, fake_seed.run_seed)
    assert results[2].event_log_hash == alone.event_log_hash


def test_stopping_early_ends_the_workers() -> None:
    results = hunt(HuntPlan(first=SLOW - 1, seeds=4, jobs=2), fake_seed.run_seed)
    assert next(results).seed != SLOW
    began = time.perf_counter()
    results.close()
    assert time.perf_counter() - began < 20


def test_the_replay_command_is_all_it_takes() -> None:
    assert HuntPlan(seeds=9).replay_command(4) == "polybot chaos --seed 4"
    whole = HuntPlan(seeds=9, days=7, bug="forgets_a_fill").replay_command(4)
    assert whole == "polybot chaos --seed 4 --days 7 --bug forgets_a_fill"


def test_the_tally_adds_up() -> None:
    tally = Tally()
    for seed in (1, 2, VIOLATED):
        tally.add(fake_seed.run_seed(seed, hours=1.0))
    assert (tally.seeds, tally.hours, tally.lives, tally.kills) == (3, 2.5, 12, 9)
    assert tally.faults == {"process_kill": 9, "disk_slow": 6}
    assert [failed.seed for failed in tally.failed] == [VIOLATED]
    recovery = tally.recovery()
    assert recovery is not None
    assert (recovery.count, recovery.median_ms, recovery.p99_ms, recovery.worst_ms) == (6, 2_000, 3_500, 3_500)


def test_the_slope_of_memory_leaves_the_first_quarter_out() -> None:
    hour = 3_600_000
    grows = [(0, 50_000), *((n * hour, 100_000 + 10 * n) for n in range(1, 24))]
    assert slope_per_day(grows) == pytest.approx(240)
    assert slope_per_day([(0, 1)]) == 0.0


@pytest.fixture
def on_fake_seeds(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setattr(chaos_command, "run_seed", fake_seed.run_seed)
    return CliRunner()


def test_a_failing_hunt_shows_what_failed_and_how_to_see_it_again(on_fake_seeds: CliRunner) -> None:
    shown = on_fake_seeds.invoke(
        application(["chaos"]), ["chaos", "--seeds", "2", "--first", "2", "--days", "0.5", "--jobs", "1"]
    )
    assert shown.exit_code == 1
    for part in ("seed 3 VIOLATED money_conserved", "fault disk_slow", "polybot chaos --seed 3 --days 0.5"):
        assert part in shown.output
    assert shown.output.rstrip().endswith("1 of 2 seeds violated an invariant")


def test_a_hunt_without_a_finding_exits_with_0_and_says_the_figures(on_fake_seeds: CliRunner, tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    shown = on_fake_seeds.invoke(application(["chaos"]), ["chaos", "--seeds", "2", "--jobs", "1", "--json", str(file)])
    assert shown.exit_code == 0, shown.output
    for part in ("no violation in 2 seeds", "8, 6 ended by a kill", "median 1.50 s", "process_kill"):
        assert part in shown.output
    assert [line.count(b'"event_log_hash"') for line in file.read_bytes().splitlines()] == [1, 1]


def test_one_seed_shows_its_hash(on_fake_seeds: CliRunner) -> None:
    shown = [on_fake_seeds.invoke(application(["chaos"]), ["chaos", "--seed", str(seed)]) for seed in (1, 1, VIOLATED)]
    assert [one.exit_code for one in shown] == [0, 0, 1]
    expected: SeedResult = fake_seed.run_seed(1, hours=1.0)
    assert expected.event_log_hash in shown[0].output
