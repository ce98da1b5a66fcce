"""Seeds for tests of the hunt itself: what happens to each is in its number. A module, so that workers find it."""

import os
import signal
import time
from hashlib import sha256

from polybot.chaos.result import SeedResult

VIOLATED, EXITS, KILLED, SLOW = 3, 5, 7, 11


def run_seed(seed: int, *, hours: float, bug: str | None = None) -> SeedResult:
    if seed == EXITS:
        os._exit(9)
    if seed == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == SLOW:
        time.sleep(60)
    result = SeedResult(seed=seed, hours=hours, event_log_hash=sha256(f"{seed} {hours} {bug}".encode()).hexdigest())
    result.lives, result.kills, result.virtual_s = 4, 3, hours * 3600
    result.recoveries = [1_000 * seed, 1_000 * seed + 500]
    result.faults = {"process_kill": 3, "disk_slow": seed}
    if seed == VIOLATED:
        result.violation, result.last_events = "money_conserved: a cent is gone", ["+00:00:01.000  fault disk_slow"]
        result.virtual_s = 1_800.0
    return result
