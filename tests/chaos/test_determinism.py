"""The same seed gives the same event log in every process, whatever Python's hashes are and whatever ran before it."""

import os
import subprocess
import sys
from pathlib import Path

from polybot.chaos.seed import run_seed

ROOT = Path(__file__).parents[2]
HOURS = 0.35
PROGRAM = f"""
from polybot.chaos.seed import run_seed
result = run_seed(2, hours={HOURS})
print(result.event_log_hash, result.steps, result.facts)
"""


def in_a_process_of_its_own(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_seed_is_the_same_under_every_hash_seed_and_after_another_seed() -> None:
    run_seed(1, hours=0.05)
    here = run_seed(2, hours=HOURS)
    assert here.facts > 50, "so little happened that the test shows nothing"
    said = f"{here.event_log_hash} {here.steps} {here.facts}"
    assert {said, in_a_process_of_its_own("1"), in_a_process_of_its_own("4242")} == {said}
