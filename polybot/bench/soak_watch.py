"""Watches an event loop from within: how late its beats come, whose fault that was, and what stood on the stack.

At every beat three clocks are read. What the loop's own thread spent computing is the floor's; so is what other threads
of the process computed meanwhile, since they hold the interpreter. What a thread of the process waited for a processor
(Linux: run delay, /proc/.../schedstat) is the machine's: the loop's thread, or one that held the interpreter.
"""

import asyncio
import contextlib
import gc
import os
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec

from polybot.bench.machine import resident_mb, slope

BEAT_S = 0.01
STALL_S = 0.05
"""What counts as a stall; the goal for the longest."""
LOOK_S = 0.005
STACK_FRAMES = 5
STALLS_KEPT = 500
SAMPLE_S = 10.0
THREADS_S = 1.0
"""How often new threads are looked for."""


class Stall(msgspec.Struct, frozen=True, kw_only=True):
    """One beat that came more than STALL_S late. Milliseconds; `at_s` since the start.

    `loop_ms`: the loop's thread computed; `process_ms`: all threads did; `machine_ms`: the thread that waited longest
    for a processor did so for so long.
    """

    at_s: float
    late_ms: float
    loop_ms: float
    process_ms: float
    machine_ms: float
    stack: str

    @property
    def ours_ms(self) -> float:
        """What is left without the wait for a processor."""
        return max(0.0, self.late_ms - self.machine_ms)


class GcPause(msgspec.Struct, frozen=True, kw_only=True):
    at_s: float
    generation: int
    ms: float


class Clocks(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds: the wall's, what this thread and all of the process have computed, what each thread has waited."""

    wall: float
    loop: float
    process: float
    waited: dict[str, float]


class RunDelays:
    """How long each thread of this process has waited for a processor so far. Empty where the system does not say."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self._listed = 0.0

    def read(self, now: float) -> dict[str, float]:
        if now - self._listed > THREADS_S:
            self._listed = now
            self._list()
        waited = {}
        for thread, file in self._files.items():
            with contextlib.suppress(OSError, IndexError):  # the thread has ended
                waited[thread] = int(os.pread(file, 100, 0).split()[1]) / 1e9
        return waited

    def close(self) -> None:
        for file in self._files.values():
            os.close(file)
        self._files = {}

    def _list(self) -> None:
        self.close()
        for folder in Path("/proc/self/task").glob("*"):
            with contextlib.suppress(OSError):
                self._files[folder.name] = os.open(folder / "schedstat", os.O_RDONLY)


class LoopWatch:
    """`run()` as a task on the loop that is watched; `close()` when it has been cancelled."""

    def __init__(self) -> None:
        self._began = self._beat_at = time.perf_counter()
        self._thread = threading.get_ident()
        self._delays = RunDelays()
        self._stack = ""
        self._over = threading.Event()
        self._looker = threading.Thread(target=self._look, name="soak-looker", daemon=True)
        self._gc_began = 0.0
        self.late: Counter[int] = Counter()
        """How many beats came how many hundredths of a millisecond late; counted, so that hours take no more room."""
        self.stalls: list[Stall] = []
        self.stalls_in_all = 0
        self.pauses: list[GcPause] = []
        self.memory: list[tuple[float, float]] = []
        """Seconds since the start, resident megabytes."""
        self.ours_longest_ms = 0.0
        """The longest lateness with the wait for a processor taken off, of all beats and not only of stalls."""
        self.computed_longest_ms = 0.0
        """The longest that the process computed while a beat was late."""

    async def run(self) -> None:
        gc.callbacks.append(self._on_gc)
        self._looker.start()
        sampled = 0.0
        before = self._clocks()
        while True:
            self._stack, self._beat_at = "", before.wall
            await asyncio.sleep(BEAT_S)
            now = self._clocks()
            self._take(before, now)
            if now.wall - sampled >= SAMPLE_S:
                sampled = now.wall
                self.memory.append((now.wall - self._began, resident_mb()))
            before = now

    def _take(self, before: Clocks, now: Clocks) -> None:
        late = (now.wall - before.wall - BEAT_S) * 1e3
        computed = (now.process - before.process) * 1e3
        machine = max((now.waited[t] - before.waited.get(t, now.waited[t]) for t in now.waited), default=0.0) * 1e3
        self.late[round(late * 100)] += 1
        self.ours_longest_ms = max(self.ours_longest_ms, late - machine)
        self.computed_longest_ms = max(self.computed_longest_ms, min(late, computed))
        if late <= STALL_S * 1e3:
            return
        self.stalls_in_all += 1
        if len(self.stalls) < STALLS_KEPT:
            self.stalls.append(
                Stall(
                    at_s=round(now.wall - self._began, 3),
                    late_ms=late,
                    loop_ms=(now.loop - before.loop) * 1e3,
                    process_ms=computed,
                    machine_ms=machine,
                    stack=self._stack,
                )
            )

    def close(self) -> None:
        self._over.set()
        self._looker.join()
        self._delays.close()
        gc.callbacks.remove(self._on_gc)

    def _clocks(self) -> Clocks:
        wall = time.perf_counter()
        return Clocks(wall=wall, loop=time.thread_time(), process=time.process_time(), waited=self._delays.read(wall))

    def _look(self) -> None:
        """In a thread of its own: when a beat is overdue, what the loop is doing."""
        while not self._over.wait(LOOK_S):
            if self._stack or time.perf_counter() - self._beat_at < BEAT_S + 0.8 * STALL_S:
                continue
            frame = sys._current_frames().get(self._thread)
            if frame is not None:
                self._stack = "".join(traceback.format_stack(frame)[-STACK_FRAMES:])

    def _on_gc(self, phase: str, info: Mapping[str, int]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._gc_began = now
        else:
            pause = GcPause(at_s=now - self._began, generation=info["generation"], ms=(now - self._gc_began) * 1e3)
            if pause.generation or pause.ms > 1:
                self.pauses.append(pause)


def slope_per_hour(samples: list[tuple[float, float]]) -> float:
    """Over the second half of `samples`, in the samples' unit per hour; the first half warms up."""
    return 3600 * slope(samples[len(samples) // 2 :])


def percentile(counted: Counter[int], share: float) -> int:
    """The value below which `share` of all that was counted lies; 0 where nothing was."""
    left = counted.total() * share
    for value, count in sorted(counted.items()):
        left -= count
        if left < 0:
            return value
    return max(counted, default=0)
