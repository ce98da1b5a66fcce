"""The service's process: its event loop under the watchdog's eye, its signals, and an end in bounded time."""

import asyncio
import faulthandler
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable
from types import FrameType
from typing import Any, TypeVar

import uvloop
from loguru import logger

from polybot.clock import SystemClock
from polybot.floor.closing import EXIT_INTERRUPTED, Closing
from polybot.floor.guard import GuardProcess
from polybot.floor.status import LoopHealth
from polybot.floor.watchdog import Vital, Watchdog

T = TypeVar("T")

GUARD_LATER_S = 2.0
"""The guard leaves the watchdog this much time: the watchdog can say more."""
TASKS_END_S_MAX = 1.0
"""Tasks that are left after an orderly end get so long to hear that it is over."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
GIL_TURN_S = 0.0005
"""So long the loop waits for a thread that computes (journal, hashes, compressing); by Python's own rule it is 5 ms."""


def let_the_loop_go_first() -> None:
    """For a process in which a floor runs, before it does."""
    sys.setswitchinterval(GIL_TURN_S)


class WatchedProcess:
    """Make one per process, in the main thread. `judge` begins once the floor is open: recovery may take its time.

    `flush` has written out what was said, or gives up; it is called before the process is ended the hard way.
    """

    def __init__(self, stall_exit_s: float, stop_s_max: float, flush: Callable[[], object] = lambda: None) -> None:
        clock = SystemClock()
        self.closing = Closing(clock.monotonic, stop_s_max)
        guard = GuardProcess(stall_exit_s + GUARD_LATER_S)
        self._flush = flush
        self._watchdog = Watchdog(clock.monotonic, stall_exit_s, guard=guard, flush=flush)
        self._watchdog.add(self.closing.look)
        self._loop = uvloop.new_event_loop()
        self._stop = asyncio.Event()

    def run(self, main: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
        """Run `main` to its end; its event is set when somebody wants it to end."""
        let_the_loop_go_first()
        faulthandler.enable()  # the guard's last word makes every stack come out
        self._watchdog.start()
        for sign in SIGNALS:
            signal.signal(sign, self._asked)
        try:
            return self._loop.run_until_complete(main(self._stop))
        finally:
            self.closing.begin("a task")
            self._loop.run_until_complete(_end_tasks())
            self.closing.stage("a thread")
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._watchdog.leave_loop()
            self._loop.close()
            self.closing.done()

    def judge(self, vitals: Iterable[Vital]) -> None:
        """From now on the loop and these must get on. Called on the loop."""
        gc.freeze()  # what is there now stays: to look it all through again would hold up the loop for 40 ms each time
        self._watchdog.watch_loop(self._loop, vitals)

    def health(self) -> LoopHealth:
        """How the loop has fared since it is watched."""
        return self._watchdog.health()

    def _asked(self, number: int, frame: FrameType | None) -> None:
        """A signal. Python calls this between two lines of whatever runs: no logging, and no waiting for the loop."""
        if not self.closing.ask():
            self._flush()
            os._exit(EXIT_INTERRUPTED)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop_in_order)

    def _stop_in_order(self) -> None:
        remark = self.closing.answer()
        if remark is not None:
            logger.bind(action="stopping").info("{}", remark.text)
        self._stop.set()


async def _end_tasks() -> None:
    """Like asyncio.run, but a task that swallows its cancellation keeps nobody: all it could do was shut before."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=TASKS_END_S_MAX)
    stubborn = sorted(task.get_name() for task in left if not task.done())
    if stubborn:
        logger.bind(action="stopping").warning("left behind: {}", ", ".join(stubborn))
    await asyncio.get_running_loop().shutdown_asyncgens()
