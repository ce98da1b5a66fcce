"""How a run ends in order: asked for how often, at which stage, and for how long it may still take (D12)."""

from collections.abc import Callable

from polybot.floor.watchdog import EXIT_STUCK, Fatal, Remark

EXIT_INTERRUPTED = 130
ANSWER_S = 0.25
"""The loop is left so much time to answer who asks first; then the watchdog does."""
ASKED_MAX = 3
"""The third time somebody asks, the process ends at once."""


class Closing:
    """Begun by a signal, by the end of the tape or by a failure; looked at by the watchdog's thread until it is done.

    The event loop may be the thing that hangs, so nothing here waits, logs or needs a loop.
    """

    def __init__(self, monotonic: Callable[[], float], seconds_max: float) -> None:
        self._monotonic, self._seconds_max = monotonic, seconds_max
        self._began_at: float | None = None
        self._stage = "the floor"
        self.asked = 0
        self._unanswered: list[int] = []
        """Which askings have not been answered yet. Taken from its end, which only one thread can do (`answer`)."""

    def ask(self) -> bool:
        """Somebody wants it to end. False when that has been said often enough: end at once."""
        self.asked += 1
        self._unanswered.append(self.asked)
        self.begin()
        return self.asked < ASKED_MAX

    def begin(self, stage: str | None = None) -> None:
        """The time runs from the first call on."""
        if stage is not None:
            self.stage(stage)
        if self._began_at is None:
            self._began_at = self._monotonic()

    def stage(self, name: str) -> None:
        """What is being closed from now on; it is named if it never ends."""
        self._stage = name

    def done(self) -> None:
        """It ended in time, or goes on: the tape is over and the page is kept up."""
        self._began_at = None

    @property
    def left_s(self) -> float:
        """Seconds until the process is ended without waiting any longer."""
        began_at = self._began_at
        spent = 0.0 if began_at is None else self._monotonic() - began_at
        return max(0.0, self._seconds_max - spent)

    def look(self, running_s: float) -> Remark | Fatal | None:
        """For the watchdog: what to say to whom, and when it has taken too long."""
        began_at = self._began_at
        if began_at is None:
            return None
        if self.asked >= ASKED_MAX:  # its handler ends the process itself, if the interpreter lets it
            return Fatal(text=f"asked to end {self.asked} times", exit_code=EXIT_INTERRUPTED)
        if min(self._monotonic() - began_at, running_s) > self._seconds_max:
            text = f"the stop in order did not end in {self._seconds_max:g} s: {self._stage} would not close"
            return Fatal(text=text, exit_code=EXIT_STUCK)
        if self.asked == 1 and self._monotonic() - began_at < ANSWER_S:
            return None
        return self.answer()

    def answer(self) -> Remark | None:
        """What to tell the one who asked last; None when that has been done.

        The loop says it before it ends anything, so that it stands in its place in the log; where the loop does not
        turn, the watchdog does.
        """
        try:
            self._unanswered.pop()
        except IndexError:
            return None
        self._unanswered.clear()
        return Remark(text=self._how_long())

    def _how_long(self) -> str:
        if self.asked == 1:
            return f"stopping in order; that takes at most {self.left_s:.0f} s"
        return (
            f"still stopping in order, now {self._stage}: at most {self.left_s:.0f} s more. "
            "Once more ends it at once, which is safe too: nothing journaled is lost"
        )
