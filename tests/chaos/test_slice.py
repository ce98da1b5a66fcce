"""The slice of the hunt that every change must pass; the whole of it is `polybot chaos --seeds 10000`."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SEEDS = 200


def test_two_hundred_hours_full_of_faults_break_nothing(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "polybot", "chaos", "--seeds", str(SEEDS), "--json", str(results)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert f"no violation in {SEEDS} seeds" in done.stdout
    told = [json.loads(line) for line in results.read_text().splitlines()]
    assert sum(result["trades"] for result in told) > 10 * SEEDS, "so little is traded that the hunt shows nothing"
    assert sum(result["kills"] for result in told) > SEEDS
