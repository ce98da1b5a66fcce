"""How we stand with the venue: whether it takes orders now, and what it has said that a person should know.

The venue object notes, the floor asks: nothing here pauses trading by itself.
"""

from collections import deque

import msgspec

from polybot.domain.units import Millis
from polybot.venue.polymarket.order_errors import Treatment

NOTICES_KEPT = 200
PAUSE_MS_FIRST, PAUSE_MS_MAX = 1_000, 30_000
"""Where the venue does not say how long: doubled each time, as its restarts ask for (polymarket.md 6.5, 425)."""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """PAUSE, STOP, or LOOK_UP for what is merely worth a line. `until` None: until a person has seen to it."""

    at: Millis
    treatment: Treatment
    text: str
    until: Millis | None = None


class Standing:
    """`stopped` is why no order is sent until a person clears it, "" otherwise."""

    def __init__(self) -> None:
        self.stopped = ""
        self._paused = ""
        self._until = Millis(0)
        self._post_only = False
        self._pause_ms = PAUSE_MS_FIRST
        self._notices: deque[Notice] = deque(maxlen=NOTICES_KEPT)

    def paused(self, now: Millis, *, post_only: bool) -> str:
        """Why this order would not be taken at `now`, "" where nothing is known against it."""
        if now >= self._until or (post_only and self._post_only):
            return ""
        return f"{self._paused}, for {(self._until - now) / 1000:.0f} s more"

    def pause(self, now: Millis, text: str, retry_after_s: float | None, *, post_only_taken: bool) -> None:
        wait_ms = self._pause_ms if retry_after_s is None else int(1000 * retry_after_s)
        self._pause_ms = min(2 * self._pause_ms, PAUSE_MS_MAX)
        self._paused, self._until, self._post_only = text, Millis(now + wait_ms), post_only_taken
        self.note(now, Treatment.PAUSE, text, self._until)

    def stop(self, now: Millis, text: str) -> None:
        if not self.stopped:
            self.note(now, Treatment.STOP, text)
        self.stopped = text

    def resume(self) -> None:
        """A person has seen to it."""
        self.stopped = ""

    def worked(self) -> None:
        """The venue took an order: the next pause begins small again."""
        self._pause_ms = PAUSE_MS_FIRST

    def note(self, now: Millis, treatment: Treatment, text: str, until: Millis | None = None) -> None:
        self._notices.append(Notice(at=now, treatment=treatment, text=text, until=until))

    def drain(self) -> list[Notice]:
        """What has been noted since the last time, oldest first."""
        notices = list(self._notices)
        self._notices.clear()
        return notices
