"""The only file that asks what time it is (D3). Everything else is told."""

import time
from typing import Protocol

from polybot.domain.units import Millis


class Clock(Protocol):
    """What the floor means by now: the system's time when live, the tape's when replaying."""

    def now_ms(self) -> Millis:
        """UTC milliseconds since 1970: the time of the market."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start that never go back: for waiting and for measuring, always the machine's."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> Millis:
        return Millis(time.time_ns() // 1_000_000)

    def monotonic(self) -> float:
        return time.monotonic()


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
