"""The only file that asks what time it is (D3). Everything else is told."""

import time
from collections.abc import Callable
from typing import Protocol

from polybot.domain.units import Millis

JUMP_MS = 1_000
"""The wall clock and ours part by more than this only when somebody sets the wall clock, or the machine slept."""
SLEW_SHARE = 0.05
"""How fast ours is brought to the wall clock: at most so much faster or slower than time passes."""
BELIEVED_AFTER_S = 5.0
"""How long the wall clock must stay ahead before ours follows in one step: one set wrong is often set right at once."""
NOTES_KEPT = 20


class Clock(Protocol):
    """What the floor means by now: the system's time when live, the tape's when replaying."""

    def now_ms(self) -> Millis:
        """UTC milliseconds since 1970: the time of the market."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start that never go back: for waiting and for measuring, always the machine's."""
        ...


class SystemClock:
    """The machine's own clock, for what people read: it may jump."""

    def now_ms(self) -> Millis:
        return wall_ms()

    def monotonic(self) -> float:
        return time.monotonic()


class SteadyClock:
    """A live floor's clock: set by the wall clock once, then carried by the monotonic one. It never goes back.

    * The wall clock drifts away (NTP slews it, or ours is a bad crystal): ours follows, at most 5 % faster or slower.
    * It jumps ahead by more than a second (set right, or the machine slept): ours follows in one step once the jump has
      stood for five seconds. Every book is then as old as the jump is long, so nothing is traded on what was before it.
    * It jumps back: ours goes on and is slowed by 5 % until the wall clock has caught up. Time that stood still would
      make stale books look fresh, and time that went back would open windows again. Meanwhile what the venue dates is
      old by our clock, so the gate refuses; after a jump back of an hour a restart is no help either, and only waiting.

    `wall` (milliseconds) and `elapsed` (seconds) are the machine's unless a simulation hands in others. `not_before`:
    the latest time a former run has seen; a floor's journal must not go back either.
    """

    def __init__(
        self,
        wall: Callable[[], int] | None = None,
        elapsed: Callable[[], float] | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        not_before: int = 0,
    ) -> None:
        self._wall, self._elapsed = wall or wall_ms, elapsed or asleep_or_awake_s
        self._at = self._elapsed()
        self._now_ms = float(max(self._wall(), not_before))
        self._monotonic = monotonic
        self._ahead_since: float | None = None
        self._is_behind = False
        self._notes: list[str] = []
        if self._now_ms > self._wall() + JUMP_MS:
            self._note_back(self._now_ms - self._wall())

    def now_ms(self) -> Millis:
        at = self._elapsed()
        if at <= self._at:
            return Millis(int(self._now_ms))
        passed_ms, self._at = (at - self._at) * 1000, at
        self._now_ms += passed_ms
        off_ms = self._wall() - self._now_ms
        if off_ms > JUMP_MS:
            self._ahead(off_ms)
        else:
            self._ahead_since = None
            bound = passed_ms * SLEW_SHARE
            self._now_ms += min(max(off_ms, -bound), bound)
            if self._is_behind or off_ms < -JUMP_MS:
                self._watch_back(off_ms)
        return Millis(int(self._now_ms))

    def monotonic(self) -> float:
        return self._monotonic()

    def take_notes(self) -> list[str]:
        """What people should know of, since this was last asked."""
        notes, self._notes = self._notes, []
        return notes

    def _ahead(self, off_ms: float) -> None:
        if self._ahead_since is None:
            self._ahead_since = self._at
        elif self._at - self._ahead_since >= BELIEVED_AFTER_S:
            self._ahead_since = None
            self._now_ms += off_ms
            self._note(f"the machine's clock jumped ahead by {off_ms / 1000:.1f} s; the floor's clock has followed")

    def _watch_back(self, off_ms: float) -> None:
        if off_ms < -JUMP_MS and not self._is_behind:
            self._note_back(-off_ms)
        elif self._is_behind and off_ms > -JUMP_MS / 2:
            self._is_behind = False
            self._note("the machine's clock has caught up with the floor's")

    def _note_back(self, by_ms: float) -> None:
        self._is_behind = True
        self._note(
            f"the machine's clock is {by_ms / 1000:.1f} s behind the floor's, which never goes back: it is slowed by "
            f"{SLEW_SHARE:.0%} until they agree, and what the venue dates looks old to it until then"
        )

    def _note(self, text: str) -> None:
        if len(self._notes) < NOTES_KEPT:
            self._notes.append(text)


class ReplayClock:
    """A clock that stands where the tape is; whoever plays the tape moves it, and it never goes back."""

    def __init__(self, start: Millis = Millis(0)) -> None:
        self._now = start

    def move_to(self, now: Millis) -> None:
        self._now = max(self._now, now)

    def now_ms(self) -> Millis:
        return self._now

    def monotonic(self) -> float:
        return time.monotonic()


def wall_ms() -> Millis:
    """UTC milliseconds by the machine's own clock."""
    return Millis(time.time_ns() // 1_000_000)


def asleep_or_awake_s() -> float:
    """Monotonic seconds, those the machine slept included where the system counts them (Linux)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
