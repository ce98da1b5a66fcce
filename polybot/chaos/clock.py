"""The simulated machine's clock: it tells the virtual time, and can be set wrong."""

from polybot.chaos.loop import VirtualLoop
from polybot.domain.units import Millis


class VirtualClock:
    """polybot.clock.Clock over a VirtualLoop. The wall clock can be set wrong (`skew_ms`); the monotonic one cannot."""

    def __init__(self, loop: VirtualLoop, epoch: Millis) -> None:
        """`epoch`: the date at which the world began, UTC milliseconds. The same clock serves all lives."""
        self._loop, self._epoch = loop, epoch
        self.skew_ms = 0

    def true_ms(self) -> Millis:
        """The world's own time, which no fault changes."""
        return Millis(self._epoch + int(self._loop.time() * 1000 + 1e-6))

    def now_ms(self) -> Millis:
        return Millis(self.true_ms() + self.skew_ms)

    def monotonic(self) -> float:
        return self._loop.time()

    def jump(self, by_ms: int) -> None:
        """Someone sets the machine's clock: by so much, forwards or back."""
        self.skew_ms += by_ms
