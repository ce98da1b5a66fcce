"""How we stand with the venue: whether it takes orders now, and what it has said that a person should know.

The venue object notes, the floor asks: nothing here pauses trading by itself.
"""

from collections import deque

import msgspec

from polybot.domain.units import Millis
from polybot.venue.polymarket.order_errors import Treatment

NOTICES_KEPT = 200
PAUSE_S_FIRST, PAUSE_S_MAX = 1.0, 30.0
"""Where the venue does not say how long: doubled each time, as its restarts ask for (polymarket.md 6.5, 425)."""

TOLD_S_MAX = 600.0
"""Where it does say, and names a day or a year, it is asked again after so long: nothing else would end the pause."""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """PAUSE, STOP (until a person has seen to it), or LOOK_UP for what is merely worth a line."""

    at: Millis
    treatment: Treatment
    text: str


class Standing:
    """`stopped` is why no order is sent until a person clears it, "" otherwise.

    Pauses are counted in monotonic seconds (`now_s`): the venue's Retry-After is of its machine's time, and the floor's
    own may run at another speed (a loopback exchange's).
    """

    def __init__(self) -> None:
        self.stopped = ""
        self._paused = ""
        self._until_s = 0.0
        self._post_only = False
        self._pause_s = PAUSE_S_FIRST
        self._notices: deque[Notice] = deque(maxlen=NOTICES_KEPT)

    def paused(self, now_s: float, *, post_only: bool) -> str:
        """Why this order would not be taken at `now_s`, "" where nothing is known against it."""
        if now_s >= self._until_s or (post_only and self._post_only):
            return ""
        return f"{self._paused}, for {self._until_s - now_s:.0f} s more"

    def pause(self, at: Millis, now_s: float, text: str, retry_after_s: float | None, *, post_only_taken: bool) -> None:
        """A pause that is told of again while it lasts, by orders that left together, is the same one."""
        if now_s < self._until_s and text == self._paused:
            return
        wait_s = self._pause_s if retry_after_s is None else min(retry_after_s, TOLD_S_MAX)
        self._pause_s = min(2 * self._pause_s, PAUSE_S_MAX)
        self._paused, self._until_s, self._post_only = text, now_s + wait_s, post_only_taken
        self.note(at, Treatment.PAUSE, text)

    def stop(self, now: Millis, text: str) -> None:
        if not self.stopped:
            self.note(now, Treatment.STOP, text)
        self.stopped = text

    def resume(self) -> None:
        """A person has seen to it."""
        self.stopped = ""

    def worked(self) -> None:
        """The venue took an order: the next pause begins small again."""
        self._pause_s = PAUSE_S_FIRST

    def note(self, now: Millis, treatment: Treatment, text: str) -> None:
        self._notices.append(Notice(at=now, treatment=treatment, text=text))

    def drain(self) -> list[Notice]:
        """What has been noted since the last time, oldest first."""
        notices = list(self._notices)
        self._notices.clear()
        return notices
