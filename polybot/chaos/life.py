"""One life of a simulated process, from its start to its kill; after that nothing of it reaches the world any more.

Python cannot drop a suspended coroutine without running its `finally` blocks, as a real kill would. So the world is
fenced instead: everything that outlives a process (disk, exchange, database) is behind doors, and each asks
`require_alive` first. What a dead process still runs then has no effect.
"""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from weakref import WeakValueDictionary

CLOSE_TRIES_MAX = 50


class ProcessIsDead(BaseException):
    """A dead process came to a door. No Exception: what catches bugs and outages must not catch this."""


class Life:
    """The token that all of one process's tasks and doors share. Made by `VirtualLoop.begin_life`."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.dead = False
        self.context = copy_context()
        self.context.run(LIFE.set, self)
        self.remains: list[asyncio.Task[object]] = []
        """After death: what is still to be thrown away."""
        self._tasks: WeakValueDictionary[int, asyncio.Task[object]] = WeakValueDictionary()
        self._tasks_made = 0
        self._at_end: list[Callable[[], None]] = []

    def require_alive(self) -> None:
        """What every door does first. Raises ProcessIsDead."""
        if self.dead:
            raise ProcessIsDead(f"process {self.number} is dead")

    def at_end(self, act: Callable[[], None]) -> None:
        """Have the world told at the moment of death, in the order of these calls: the disk loses what it had not."""
        self._at_end.append(act)

    def adopt(self, task: "asyncio.Task[object]") -> None:
        if self.dead:
            self.remains.append(task)  # a cleanup started it: it must not run, nor be missed
        self._tasks_made += 1
        self._tasks[self._tasks_made] = task

    def end(self) -> None:
        """Shut every door. The loop does this; the coroutines are thrown away after it."""
        self.dead = True
        self.remains += self._tasks.values()  # in the order they were started
        acts, self._at_end = self._at_end, []
        for act in acts:
            act()


LIFE: ContextVar[Life | None] = ContextVar("polybot_life", default=None)
"""Whose code is running; None for the world's own. Tasks and callbacks inherit it as any context variable."""


def throw_away(task: "asyncio.Task[object]") -> None:
    """Close a dead process's coroutine; again, if it waits in its cleanup. Whatever it raises is nobody's affair."""
    coro = task.get_coro()
    for _ in range(CLOSE_TRIES_MAX):
        try:
            coro.close()
        except BaseException:  # noqa: BLE001
            continue
        return
