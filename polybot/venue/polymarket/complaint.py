"""A trouble that lasts is told when it begins, when its reason is another, once a minute, and when it is over: what is
tried again every second would bury the log otherwise."""

from loguru import logger

from polybot.clock import Clock

AGAIN_S = 60.0


class Complaint:
    """`name` is the log's action. Texts with figures in them are one `reason`, told with the figures of that moment."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._log, self._clock = logger.bind(action=name), clock
        self.reason = ""
        """Why it does not work now; "" while it does."""
        self._since_s = self._told_s = 0.0

    def tell(self, text: str, reason: str = "") -> None:
        now_s, reason = self._clock.monotonic(), reason or text
        if not self.reason:
            self._since_s = now_s
        elif reason == self.reason and now_s - self._told_s < AGAIN_S:
            return
        self.reason, self._told_s = reason, now_s
        self._log.warning("{}", text)

    def over(self, text: str) -> None:
        """It works; told where it did not."""
        if self.reason:
            self.reason = ""
            self._log.info("{}, after {:.1f} s", text, self._clock.monotonic() - self._since_s)
