"""The simulated machine's clock: it tells the virtual time, and can be set wrong."""

from collections.abc import Callable

from polybot.chaos.loop import VirtualLoop
from polybot.domain.units import Millis


class VirtualClock:
    """polybot.clock.Clock over a VirtualLoop. The wall clock can be set wrong (`skew_ms`); the monotonic one cannot."""

    def __init__(self, loop: VirtualLoop, epoch: Millis) -> None:
        """`epoch`: the date at which the world began, UTC milliseconds. The same clock serves all lives."""
        self._loop, self._epoch = loop, epoch
        self.skew_ms = 0
        self.monotonic: Callable[[], float] = loop.time
        """Virtual seconds: the loop's own method, as it is asked all the time."""
        self._at, self._true_ms = 0.0, epoch

    def true_ms(self) -> Millis:
        """The world's own time, which no fault changes."""
        at = self._loop.now
        if at != self._at:
            self._at, self._true_ms = at, Millis(self._epoch + int(at * 1000 + 1e-6))
        return self._true_ms

    def now_ms(self) -> Millis:
        return Millis(self.true_ms() + self.skew_ms)

    def jump(self, by_ms: int) -> None:
        """Someone sets the machine's clock: by so much, forwards or back."""
        self.skew_ms += by_ms
