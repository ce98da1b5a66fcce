"""The exchange's own clock, which may run faster than the machine's: an hour of windows in a minute.

A client follows by reading `GET /clob/time` (whole seconds) or `GET /_control/clock` (milliseconds and the speed) and
running its own clock at that speed from there (docs/exchange.md).
"""

from polybot.clock import SystemClock
from polybot.domain.errors import BadInput
from polybot.domain.units import Millis

SPEED_MAX = 3_600.0
SYSTEM = SystemClock()


class FastClock:
    """A Clock: from `start` (the machine's time by default) on, `speed` times as fast. Never goes back.

    Raises BadInput for a speed that is not above 0 and at most SPEED_MAX.
    """

    def __init__(self, speed: float = 1.0, start: Millis | None = None) -> None:
        if not 0 < speed <= SPEED_MAX:
            raise BadInput(f"a speed of {speed:g} cannot be; choose one above 0 and at most {SPEED_MAX:g}")
        self.speed = speed
        self._start = SYSTEM.now_ms() if start is None else start
        self._begun = SYSTEM.monotonic()

    def now_ms(self) -> Millis:
        return Millis(self._start + int((SYSTEM.monotonic() - self._begun) * self.speed * 1000))

    def monotonic(self) -> float:
        """The machine's seconds, not hastened: for waiting and measuring."""
        return SYSTEM.monotonic()
