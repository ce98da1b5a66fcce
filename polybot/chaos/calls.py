"""What a virtual loop keeps in its queue, and its tasks: as asyncio has them, less what a simulation has no use for."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


class Call(asyncio.TimerHandle):
    """A callback that waits its turn; also the handle asyncio's own code cancels it by."""

    __slots__ = ("at",)

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context) -> None:
        """Sets only what is used: one is made for every step of every task. `at`: virtual seconds, of timers only.

        What asyncio has for its debug mode is never set.
        """
        self._callback: Callable[..., object] = callback
        self._args: tuple[Any, ...] = args
        self._context: Context = context
        self._cancelled = False
        self.at: float

    def when(self) -> float:
        return self.at

    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            self._callback, self._args = _nothing, ()


class Task(asyncio.Task[T]):
    """asyncio keeps tasks in sets and cancels or returns them in a set's order: here that is not their address's."""

    number = 0

    def __hash__(self) -> int:
        return self.number


def _nothing() -> None:
    """What a cancelled callback does."""
