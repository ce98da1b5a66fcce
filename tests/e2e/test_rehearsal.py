"""A slice of a rehearsal: live mode against the loopback exchange, real processes, faults on, all books compared."""

import os
from pathlib import Path

import pytest

from polybot.rehearsal.plan import Kind
from polybot.rehearsal.run import Rehearsal, Terms

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("REHEARSE"), reason="set REHEARSE=1 to rehearse a window (a minute or two)"),
]
TERMS = Terms(speed=10.0, windows=1, seed=1, ghost_rate=0.35, gap_s=4.0, into_s=30.0)


async def test_after_a_window_under_faults_the_ledger_and_the_exchange_agree_to_the_last_millionth(tmp_path: Path):
    said: list[str] = []
    outcome = await Rehearsal(tmp_path, TERMS, said.append).run()
    assert outcome.findings == [], f"see {tmp_path}: {outcome}"
    assert outcome.fills
    assert outcome.batched, "agents that decide on the same tick send one request"
    assert outcome.windows >= 2
    assert outcome.faults[Kind.KILL]
    assert said[-1].endswith("coming to rest")
