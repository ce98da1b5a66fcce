"""A thread that watches the event loop and what is vital on it, and ends the process where nothing else would (D11).

A process that hangs is worse than one that ends: Docker starts again what ends, and start-up is recovery. The thread
sees whatever keeps the loop in Python or lets other threads run; what holds the interpreter itself holds this thread
too, and is the guard's business (`guard.py`). A process that was suspended lost that time in this thread as well: such
time never counts against the loop.
"""

import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

import msgspec
from loguru import logger

from polybot.floor.status import LoopHealth

if TYPE_CHECKING:
    import asyncio

BEAT_S = 0.02
"""How often the loop beats. A stall is measured from the beat that did not come: up to so much of it goes unseen."""
LOOK_S = 0.05
STALL_LOG_S = 0.25
STANDSTILL_S = 1.0
"""This thread waking up so much too late means that the process did not run, rather than that the loop was busy."""
GUARD_BEAT_S = 1.0
SAY_S_MAX = 1.0
"""A log that does not take a line in this time (its reader hangs) is not waited for."""
STACK_FRAMES_MAX = 20
LOOP_CALL = "run_until_complete("
EXIT_STUCK = 70
"""EX_SOFTWARE of sysexits.h: the process ended itself, because it or something vital in it hung."""


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """To be said; nothing else follows from it."""

    text: str


class Fatal(msgspec.Struct, frozen=True, kw_only=True):
    """The process must end now, without waiting for anybody."""

    text: str
    exit_code: int = EXIT_STUCK


Look = Callable[[float], Remark | Fatal | None]
"""Asked some twenty times a second from the watchdog's thread, so it may only read. Told for how many seconds the
process has been running since it last stood still: nothing can have been stuck of its own doing for longer."""


class Vital(msgspec.Struct, frozen=True, kw_only=True):
    """Something the floor cannot do without: `stuck_for` seconds without getting on, at most `limit_s`."""

    name: str
    stuck_for: Callable[[], float]
    limit_s: float

    def judge(self, running_s: float) -> Fatal | None:
        """As a `Look`, but not asked while the loop stands still: that says more than what depends on it."""
        stuck_s = min(self.stuck_for(), running_s)
        if stuck_s <= self.limit_s:
            return None
        return Fatal(text=f"{self.name} has not got on for {stuck_s:.1f} s (at most {self.limit_s:g})")


class Guard(Protocol):
    """The second net: ends this process from outside when `beat` has not been called for long."""

    def start(self) -> None: ...

    def beat(self) -> None: ...

    def close(self) -> None: ...


class Pulse:
    """The loop's side: beats by the loop's own timers, so it beats only while the loop turns. Others only read it."""

    def __init__(
        self, loop: "asyncio.AbstractEventLoop", monotonic: Callable[[], float], guard: Guard | None = None
    ) -> None:
        self._loop, self._monotonic, self._guard = loop, monotonic, guard
        self.thread = threading.get_ident()
        self.last = self._guarded = monotonic()
        self.beats = self.stalls = 0
        self.longest_s = self.stalled_s = self.last_stall_s = 0.0
        self._timer = loop.call_later(BEAT_S, self._beat)

    def stop(self) -> None:
        self._timer.cancel()

    def late(self, now: float) -> float:
        """Seconds by which the next beat is overdue; below 0 while it is not."""
        return now - self.last - BEAT_S

    def _beat(self) -> None:
        now = self._monotonic()
        late = self.late(now)
        self.beats += 1
        self.longest_s = max(self.longest_s, late)
        if late > STALL_LOG_S:
            self.last_stall_s = late
            self.stalled_s += late
            self.stalls += 1
        self.last = now
        if self._guard is not None and now - self._guarded >= GUARD_BEAT_S:
            self._guarded = now
            self._guard.beat()
        self._timer = self._loop.call_later(BEAT_S, self._beat)


class Watchdog:
    """Make it before the loop runs; `watch_loop` from the loop's thread, once it should be judged."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        stall_exit_s: float,
        *,
        guard: Guard | None = None,
        flush: Callable[[], object] = lambda: None,
        end_process: Callable[[int], None] = os._exit,
    ) -> None:
        self._monotonic, self._stall_exit_s = monotonic, stall_exit_s
        self._guard, self._flush, self._end_process = guard, flush, end_process
        self._pulse: Pulse | None = None
        self._looks: tuple[Look, ...] = ()
        self._vitals: tuple[Vital, ...] = ()
        self._awake_since = monotonic()
        self._standstills = 0
        self._noticed_at: float | None = None
        """The beat after which the present stall began; None while there is none that has been told."""
        self._stalls_told = 0
        self._said_s = 0.0
        """How long the present look has waited for the log."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    # -- the owner's side ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the thread, and wait for it a moment. It keeps no process from ending even without this."""
        self._over.set()
        self._thread.join(SAY_S_MAX)

    def add(self, look: Look) -> None:
        """Have this looked at as well, from now on."""
        self._looks = (*self._looks, look)

    def watch_loop(self, loop: "asyncio.AbstractEventLoop", vitals: Iterable[Vital] = ()) -> None:
        """Begin to judge the loop that runs in the calling thread, and what is vital on it."""
        if self._guard is not None:
            self._guard.start()
        self._vitals = tuple(vitals)
        self._pulse = Pulse(loop, self._monotonic, self._guard)

    def leave_loop(self) -> None:
        """The loop is about to end, and what is vital on it. What else is looked at goes on being looked at."""
        pulse, self._pulse, self._vitals = self._pulse, None, ()
        if pulse is not None:
            pulse.stop()
        if self._guard is not None:
            self._guard.close()

    def health(self) -> LoopHealth:
        """How the loop has fared since it is watched. From any thread."""
        pulse = self._pulse
        if pulse is None:
            return LoopHealth()
        return LoopHealth(
            beats=pulse.beats,
            longest_stall_s=max(pulse.longest_s, pulse.late(self._monotonic())),
            stalls=pulse.stalls,
            stalled_s=pulse.stalled_s,
            standstills=self._standstills,
        )

    # -- the thread's side ---------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        before = self._monotonic()
        while not self._over.wait(LOOK_S):
            now = self._monotonic()
            self._said_s = 0.0
            self.look(now, overslept_s=now - before - LOOK_S)
            before = now + self._said_s  # a process may be suspended while this looks, too

    def look(self, now: float, overslept_s: float) -> None:
        """Judge everything once; `overslept_s` is by how much this look comes later than it was meant to."""
        if overslept_s > STANDSTILL_S:
            self._standstills += 1
            self._awake_since = now
            text = "nothing in this process ran for {:.1f} s: suspended, starved, or held by something outside Python"
            self._say("WARNING", "standstill", text.format(overslept_s))
        looks: list[Look] = [*self._looks]
        if self._loop_turns(now):
            looks += [vital.judge for vital in self._vitals]
        for look in looks:
            match look(now - self._awake_since):
                case Remark(text=text):
                    self._say("INFO", "watchdog", text)
                case Fatal() as fatal:
                    self._end(fatal)
                case None:
                    pass

    def _loop_turns(self, now: float) -> bool:
        """Whether there is no stall at the moment; tells of one once when it is seen and once when it is over."""
        pulse = self._pulse
        if pulse is None:
            return True
        if pulse.last != self._noticed_at:
            self._tell_ended(pulse)
        blocked_s = min(pulse.late(now), now - self._awake_since)
        if blocked_s > self._stall_exit_s:
            text = f"the event loop has not turned for {blocked_s:.1f} s (at most {self._stall_exit_s:g})"
            self._end(Fatal(text=text))
        elif blocked_s > STALL_LOG_S and self._noticed_at is None:
            self._noticed_at = pulse.last
            text = f"the event loop has not turned for {blocked_s:.2f} s; it is at\n{self._stack()}"
            self._say("WARNING", "loop_stalled", text)
        return blocked_s <= STALL_LOG_S

    def _tell_ended(self, pulse: Pulse) -> None:
        """A stall is over: its length, whether or not anybody could look at it meanwhile."""
        noticed, self._noticed_at = self._noticed_at is not None, None
        if pulse.stalls == self._stalls_told:
            return
        self._stalls_told = pulse.stalls
        unseen = "" if noticed else "; what blocked it left this thread no turn to look"
        self._say("WARNING", "loop_went_on", f"the event loop turns again, after {pulse.last_stall_s:.2f} s{unseen}")

    def _stack(self) -> str:
        """Where the loop's thread is, innermost line last; what lies before the loop is the same each time."""
        pulse = self._pulse
        frame = sys._current_frames().get(pulse.thread) if pulse is not None else None
        if frame is None:
            return "  (nowhere: its thread has no frame)"
        frames = traceback.extract_stack(frame)
        outside = [number for number, found in enumerate(frames) if LOOP_CALL in (found.line or "")]
        inside = frames[outside[-1] + 1 :] if outside else frames
        if not inside:
            return "  (no task's code: the loop waits, or is starved of the processor)"
        return "".join(traceback.format_list(inside[-STACK_FRAMES_MAX:])).rstrip()

    def _end(self, fatal: Fatal) -> None:
        if self._over.is_set():
            return
        stack = f"; the event loop is at\n{self._stack()}" if self._pulse is not None else ""
        text = f"{fatal.text}. The process ends itself; nothing journaled is lost{stack}"
        self._say("CRITICAL", "watchdog", text)
        self._over.set()
        self._flush()  # waits a second at most, and only where nobody reads
        self._end_process(fatal.exit_code)

    def _say(self, level: str, action: str, text: str) -> None:
        """Log from a thread of its own: a log nobody reads any more must not stop the one who ends the process."""
        saying = threading.Thread(
            target=logger.bind(action=action).log, args=(level, "{}", text), name="watchdog-says", daemon=True
        )
        began = self._monotonic()
        saying.start()
        saying.join(SAY_S_MAX)
        self._said_s += self._monotonic() - began
