"""Runs many seeds on all cores, one worker process a core, and says what came of each; a worker that dies is a finding.

Workers get one seed at a time, so the last ones end together, and a seed's result does not depend on its neighbours.
"""

import gc
import os
import signal
import time
from collections.abc import Callable, Generator
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

import msgspec

from polybot.chaos.result import SeedResult, rss_kb

HOURS_PER_DAY = 24.0
STOP_SECONDS_MAX = 5.0
SEED_SECONDS_MAX, HOUR_SECONDS_MAX = 600.0, 60.0
"""A worker that takes longer than this and that for every simulated hour is stuck where no virtual time passes."""
LOOK_SECONDS = 5.0
RESULT_DECODER = msgspec.json.Decoder(SeedResult)

RunSeed = Callable[..., SeedResult]
"""polybot.chaos.seed.run_seed: (seed, *, hours, bug)."""


class HuntPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Seeds `first` to `first + seeds - 1`, each `days` long (None: one hour), with or without a planted `bug`."""

    seeds: int
    first: int = 1
    days: float | None = None
    bug: str | None = None
    jobs: int = 1

    @property
    def hours(self) -> float:
        return 1.0 if self.days is None else self.days * HOURS_PER_DAY

    def replay_command(self, seed: int) -> str:
        """What a person types to see this seed again."""
        days = "" if self.days is None else f" --days {self.days:g}"
        bug = "" if self.bug is None else f" --bug {self.bug}"
        return f"polybot chaos --seed {seed}{days}{bug}"


class _Worker:
    """One process and the seed it has."""

    def __init__(self, run: RunSeed, plan: HuntPlan) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_work, args=(theirs, run, plan), daemon=True)
        self.process.start()
        theirs.close()
        self.seed: int | None = None
        self.began = 0.0

    def give(self, seed: int) -> None:
        self.seed, self.began = seed, time.perf_counter()
        self.connection.send(seed)

    def take(self, plan: HuntPlan) -> SeedResult:
        """The result of its seed; if it died instead, a result that says so. Raises nothing."""
        assert self.seed is not None, "only those who have a seed are waited for"
        seed, self.seed = self.seed, None
        try:
            return RESULT_DECODER.decode(self.connection.recv_bytes())
        except (EOFError, OSError):
            self.process.join(STOP_SECONDS_MAX)
            code = self.process.exitcode
            how = f"killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
            wall_s = time.perf_counter() - self.began
            text = f"worker_died: the process that ran this seed {how}; what it said is above"
            return SeedResult(seed=seed, hours=plan.hours, bug=plan.bug, violation=text, wall_s=wall_s)

    def end_if_overdue(self, plan: HuntPlan) -> None:
        """Its connection then says that it is dead, and `take` how."""
        if time.perf_counter() - self.began > SEED_SECONDS_MAX + HOUR_SECONDS_MAX * plan.hours:
            self.process.kill()

    def end(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join(STOP_SECONDS_MAX)


def hunt(plan: HuntPlan, run: RunSeed) -> Generator[SeedResult, None, None]:
    """Every seed's result as it comes in. Close the generator to stop early: the workers are ended with it.

    `run` is a function of some module, so that a new process can find it.
    """
    to_do = iter(range(plan.first, plan.first + plan.seeds))
    workers: list[_Worker] = []
    try:
        for seed in islice(to_do, plan.jobs):
            workers.append(_Worker(run, plan))
            workers[-1].give(seed)
        while busy := {worker.connection: worker for worker in workers if worker.seed is not None}:
            for worker in busy.values():
                worker.end_if_overdue(plan)
            for ready in wait(list(busy), LOOK_SECONDS):
                assert isinstance(ready, Connection)
                worker = busy[ready]
                result = worker.take(plan)
                following = next(to_do, None)
                if following is not None:
                    if not worker.process.is_alive():
                        worker.end()
                        workers[workers.index(worker)] = worker = _Worker(run, plan)
                    worker.give(following)
                yield result
    finally:
        for worker in workers:
            worker.end()


def run_here(plan: HuntPlan, seed: int, run: RunSeed) -> SeedResult:
    """One seed in this process."""
    began, cpu_began = time.perf_counter(), time.process_time()
    result = run(seed, hours=plan.hours, bug=plan.bug)
    result.bug = plan.bug
    result.wall_s, result.cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    result.memory_kb = result.memory_kb or [(int(result.hours * 3_600_000), rss_kb())]
    return result


def cores() -> int:
    """Those this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _work(connection: Connection, run: RunSeed, plan: HuntPlan) -> None:
    """A worker's whole life. Ctrl-C goes to the whole terminal, and the parent sees to the rest."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # what was imported is not looked through at every collection
    while True:
        try:
            seed = connection.recv()
        except EOFError:
            return
        connection.send_bytes(msgspec.json.encode(run_here(plan, seed, run)))
