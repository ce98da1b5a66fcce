"""An asyncio event loop in virtual time, for simulations: deterministic, without sockets, threads and signals.

Time stands still while anything is ready and then jumps to the next timer, so an idle hour costs nothing. Callbacks run
in the order asyncio runs them; timers of the same moment in the order they were set. One loop carries the world (the
exchange, the disk) and the processes in it, one `Life` each; a life can be ended between any two callbacks.
"""

import asyncio
import gc
import sys
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from enum import Enum
from functools import partial
from heapq import heapify, heappop, heappush
from types import TracebackType
from typing import Any, Self, TypeVar, TypeVarTuple

from polybot.chaos.calls import Call, Task
from polybot.chaos.life import LIFE, Life, ProcessIsDead, throw_away
from polybot.domain.errors import PolybotError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

NEVER = float("inf")
STEPS_NEVER = 1 << 62
SPIN_STEPS_MAX = 500_000
"""So many steps within a virtual second are a livelock: somebody polls and hardly sleeps."""
TIMERS_MIN = 400
"""Cancelled timers are swept out when there are so many timers, or twice as many as were left the last time."""
UNHANDLED_KEPT = 20
FULL_COLLECTIONS = 16
"""One in so many ends of a life looks through everything."""


class LoopStuck(PolybotError):
    """The simulation can't go on: a deadlock or a livelock; the text says which, and who waits."""


class Ended(Enum):
    """Why `run` returned."""

    DONE = "done"
    STEP = "step"
    TIME = "time"


class VirtualLoop(asyncio.BaseEventLoop):
    """Make one per simulated world, `run` it piecewise, and close it (it is a context manager)."""

    def __init__(self, *, start_s: float = 0.0, collect_at_death: bool = False) -> None:
        """`collect_at_death`: run the garbage collector at each end of a life, for use with gc.disable()."""
        self._running = False
        super().__init__()
        self.create_future = partial(asyncio.Future, loop=self)  # type: ignore[method-assign]
        self.steps = 0
        self.lives = 0
        self.unhandled: list[str] = []
        self.unhandled_count = 0
        self.outside = copy_context()
        """The world's own context: pass it to call_later for what goes on though the process that began it dies."""
        self.outside.run(LIFE.set, None)
        self.thread_seconds: Callable[[], float] = _at_once
        """How long a function handed to a thread takes; it runs in the middle of that time."""
        self._collect_at_death = collect_at_death
        self.now = start_s
        """Virtual seconds since the world began; to be read only."""
        self._queue: deque[Call] = deque()
        self._timers: list[tuple[float, int, Call]] = []
        self._timers_made = 0
        self._sweep_at = TIMERS_MIN
        self._tasks_made = 0
        self._batch = 0  # callbacks left of the present round
        self._second_ends = start_s + 1.0
        self._second_began_at = 0
        self._look_at_step = STEPS_NEVER
        self._doomed: list[Life] = []
        self._generators: dict[int, Life | None] = {}

    @property
    def timers(self) -> int:
        """Kept at present, cancelled ones included."""
        return len(self._timers)

    # -- what asyncio asks of a loop -----------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds since the world began."""
        return self.now

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if context is None:
            context = copy_context()
        call = Call(callback, args, context)
        life = context.get(LIFE)
        if life is None or not life.dead:
            self._queue.append(call)
        return call

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self._set_timer(self.now + delay, callback, args, context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self._set_timer(when, callback, args, context)

    def _set_timer(
        self, when: float, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> asyncio.TimerHandle:
        if context is None:
            context = copy_context()
        call = Call(callback, args, context)
        call.at = when
        life = context.get(LIFE)
        if life is None or not life.dead:
            if len(self._timers) >= self._sweep_at:
                self._sweep()
            self._timers_made += 1
            heappush(self._timers, (when, self._timers_made, call))
        return call

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> "asyncio.Task[T]":
        self._tasks_made += 1
        known_as = f"task-{self._tasks_made}" if name is None else str(name)  # asyncio's own counter is the process's
        task = Task(coro, loop=self, name=known_as, context=context)
        task.number = self._tasks_made
        life = LIFE.get() if context is None else context.get(LIFE)
        if life is not None:
            life.adopt(task)
        return task

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> "asyncio.Future[T]":
        """The function runs here, undivided; cancelling the wait does not stop it, as with a thread."""
        return asyncio.shield(self.create_task(self._as_in_a_thread(func, args)))

    async def _as_in_a_thread(self, func: Callable[[*Ts], T], args: tuple[*Ts]) -> T:
        seconds = self.thread_seconds()
        if seconds:
            await asyncio.sleep(seconds / 2)
        result = func(*args)
        if seconds:
            await asyncio.sleep(seconds / 2)
        return result

    get_debug = staticmethod(bool)  # False; it is asked for every future, so without a frame of its own

    def is_running(self) -> bool:
        return self._running

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Kept for whoever looks; nothing may depend on it, since the garbage collector decides when it comes."""
        self.unhandled_count += 1
        if len(self.unhandled) < UNHANDLED_KEPT:
            self.unhandled.append(f"{context.get('message')}: {context.get('exception')!r}")

    def run_forever(self) -> None:
        raise LoopStuck("a virtual loop has no for ever: use run, with a limit")

    def run_until_complete(self, future: Awaitable[T] | Generator[Any, None, T]) -> T:
        """As asyncio's; the coroutine belongs to the world. Raises LoopStuck where asyncio would hang."""
        with self._as_running():
            waited: asyncio.Future[T] = asyncio.ensure_future(future, loop=self)  # type: ignore[arg-type]
        self.run(until=waited)
        return waited.result()

    def close(self) -> None:
        """Throw away everything that still waits. Tasks of lives should have been ended by `kill`."""
        if not self.is_closed():
            self._queue.clear()
            self._timers.clear()
            super().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- running -------------------------------------------------------------------------------------------------------

    def run(
        self,
        *,
        until: "asyncio.Future[Any] | None" = None,
        until_step: int = STEPS_NEVER,
        until_time: float = NEVER,
        spin_steps_max: int = SPIN_STEPS_MAX,
    ) -> Ended:
        """Run until `until` is done, `until_step` callbacks have run in all, or `until_time` (virtual) is reached.

        Stops between two callbacks and can be called again to go on as if it had not stopped. What a bare callback
        raises comes out here. Raises LoopStuck for a deadlock or a livelock.
        """
        with self._as_running():
            return self._run(until, until_step, until_time, spin_steps_max)

    @contextmanager
    def _as_running(self) -> Iterator[None]:
        """Make it this thread's running loop, unless it is already."""
        if self._running:
            yield
            return
        asyncio._set_running_loop(self)
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self._generator_begins, finalizer=self._generator_is_dropped)
        self._running = True
        try:
            yield
        finally:
            self._running = False
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(None)

    def _generator_begins(self, generator: AsyncGenerator[object, object]) -> None:
        self._generators[id(generator)] = LIFE.get()

    def _generator_is_dropped(self, generator: AsyncGenerator[object, object]) -> None:
        """One that nobody finished is closed by a task, as asyncio does; a dead process's is not: that is its end.

        By its address: whatever refers to it weakly is cleared by now. One that is finished leaves its entry behind
        until the address is used again, so there are never more than there were generators at one time.
        """
        life = self._generators.pop(id(generator), None)
        if life is not None and not life.dead:
            self.call_soon(self.create_task, generator.aclose(), context=life.context)

    def _run(
        self, until: "asyncio.Future[Any] | None", until_step: int, until_time: float, spin_steps_max: int
    ) -> Ended:
        queue, timers = self._queue, self._timers
        while True:
            if until is not None and not self._batch and until.done():
                return Ended.DONE
            if self.steps >= until_step:
                return Ended.STEP
            if not self._batch:
                if not queue and not self._move_on(until_time):
                    self.now = max(self.now, until_time)
                    return Ended.TIME
                while timers and timers[0][0] <= self.now:
                    call = heappop(timers)[2]
                    if not call._cancelled:
                        queue.append(call)
                self._batch = len(queue)
            if self.steps - self._second_began_at > spin_steps_max:
                raise LoopStuck(f"livelock: {spin_steps_max} steps by {self.now:.6f} s; {self._who_waits()}")
            self._look_at_step = until_step
            self._run_batch()

    def _run_batch(self) -> None:
        """The callbacks that were ready when this round began; ends early where somebody must look."""
        queue = self._queue
        while self._batch and self.steps < self._look_at_step:
            self._batch -= 1
            call = queue.popleft()
            if call._cancelled:
                continue
            self.steps += 1
            try:
                call._context.run(call._callback, *call._args)
            except ProcessIsDead:
                life = call._context.get(LIFE)
                if life is None or not life.dead:
                    raise
        while self._doomed:
            self._throw_away(self._doomed.pop(0))

    def _move_on(self, until_time: float) -> bool:
        """Nothing is ready: jump to the next timer. False if that lies beyond `until_time`."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heappop(timers)
        if not timers and until_time == NEVER:
            raise LoopStuck(f"deadlock at {self.now:.6f} s: nothing is ready and no timer runs; {self._who_waits()}")
        if not timers or timers[0][0] > until_time:
            return False
        self.now = max(self.now, timers[0][0])
        if self.now >= self._second_ends:
            self._second_ends, self._second_began_at = self.now + 1.0, self.steps
        return True

    def _sweep(self) -> None:
        """Drop cancelled timers, so that what is kept stays within twice what still runs."""
        self._timers[:] = [timer for timer in self._timers if not timer[2]._cancelled]
        heapify(self._timers)
        self._sweep_at = max(TIMERS_MIN, 2 * len(self._timers))

    def _who_waits(self) -> str:
        waiting = sorted(task.get_name() for task in asyncio.all_tasks(self))
        return f"{len(waiting)} tasks wait: {', '.join(waiting[:12])}"

    # -- lives ---------------------------------------------------------------------------------------------------------

    def begin_life(self) -> Life:
        self.lives += 1
        return Life(self.lives)

    def start(self, life: Life, coro: Coroutine[Any, Any, T], name: str = "main") -> "asyncio.Task[T]":
        """Start a process's main coroutine in its own context: all it starts belongs to this life."""
        with self._as_running():
            return life.context.run(self.create_task, coro, name=name)

    def kill(self, life: Life) -> None:
        """End a life. From within a callback (a door may do this) the rest of that callback meets shut doors only."""
        if life.dead:
            return
        life.end()
        self._generators = {number: owner for number, owner in self._generators.items() if owner is not life}
        self._drop_calls()
        if self._running:
            self._doomed.append(life)
            self._look_at_step = 0
        else:
            self._throw_away(life)

    def _drop_calls(self) -> None:
        """Keep what belongs to the living, in order; the present round is as long as what is left of it."""
        queue = list(self._queue)
        batch = [call for call in queue[: self._batch] if _is_of_the_living(call)]
        later = [call for call in queue[self._batch :] if _is_of_the_living(call)]
        self._queue.clear()
        self._queue.extend(batch + later)
        self._batch = len(batch)
        self._timers[:] = [timer for timer in self._timers if not timer[2]._cancelled and _is_of_the_living(timer[2])]
        heapify(self._timers)

    def _throw_away(self, life: Life) -> None:
        """Close the coroutines of a dead life, oldest task first. Their `finally` blocks run and meet shut doors."""
        with self._as_running():
            while tasks := life.remains:
                life.remains = []
                for task in tasks:
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                for task in tasks:
                    life.context.run(throw_away, task)
            if self._collect_at_death:
                # so that finalizers run now, as this dead process, and not in a later one; what is older than its last
                # start is looked through now and then only: it is the world's, and costs most
                life.context.run(gc.collect, 2 if life.number % FULL_COLLECTIONS == 0 else 1)


def _is_of_the_living(call: Call) -> bool:
    life = call._context.get(LIFE)
    return life is None or not life.dead


def _at_once() -> float:
    return 0.0
