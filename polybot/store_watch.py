"""Tells when a store goes away and comes back, once each, with since when and how long: outages belong into the log and
into system_events, not only into /health (R10, R22). Values in, notes out; whoever calls looks some times a second.
"""

from datetime import UTC, datetime

import msgspec

from polybot.domain.events import Severity
from polybot.domain.units import Millis
from polybot.floor.status import StoreState, StoreStatus

FILES_ONLY_AFTER_MS = 60_000
"""R10. Checkpoints go to files all the time; from here on a person should know that there is no other copy."""
SLOW_NOTED_AFTER_MS = 10_000
"""A store that is behind or slow for moments is nothing to write down."""


class StoreNote(msgspec.Struct, frozen=True, kw_only=True):
    """A system event to be written: component is the store's name."""

    severity: Severity
    component: str
    text: str


class StoreWatch:
    """Follows one store. `keeps_checkpoints`: losing it for long means that they go to files only."""

    def __init__(self, name: str, *, keeps_checkpoints: bool = False) -> None:
        self._name, self._keeps_checkpoints = name, keeps_checkpoints
        self._down_since: Millis | None = None
        self._slow_since: Millis | None = None
        self._slow_noted = self._files_noted = False

    def look(self, now: Millis, status: StoreStatus) -> list[StoreNote]:
        """What there is to say at `now`, wall time like the status's own."""
        if status.state is StoreState.DOWN:
            return self._down(now, status)
        if status.state is StoreState.DEGRADED:
            return self._degraded(now, status)
        return self._well(now, status)

    def _down(self, now: Millis, status: StoreStatus) -> list[StoreNote]:
        notes: list[StoreNote] = []
        if self._down_since is None:
            self._down_since = status.since or now
            text = f"{self._name} is away since {clock_text(self._down_since)}, the floor goes on without it"
            notes.append(self._note(Severity.WARNING, f"{text}: {status.detail}"))
        lost_for = now - self._down_since
        if self._keeps_checkpoints and not self._files_noted and lost_for >= FILES_ONLY_AFTER_MS:
            self._files_noted = True
            lost = f"{self._name} has been away for {span_text(lost_for)} (since {clock_text(self._down_since)})"
            text = f"{lost}: checkpoints go to files only; {status.lag_rows:,} facts wait in the journal"
            notes.append(self._note(Severity.WARNING, text))
        return notes

    def _degraded(self, now: Millis, status: StoreStatus) -> list[StoreNote]:
        """Also between answering again and having caught up: an outage is over when nothing is missing any more."""
        if self._slow_since is None:
            self._slow_since = status.since or now
        if self._down_since is not None or self._slow_noted or now - self._slow_since < SLOW_NOTED_AFTER_MS:
            return []
        self._slow_noted = True
        behind = f", {status.lag_rows:,} facts behind" if status.lag_rows else ""
        text = f"{self._name} does not keep up since {clock_text(self._slow_since)}{behind}"
        return [self._note(Severity.WARNING, f"{text}: {status.detail}" if status.detail else text)]

    def _well(self, now: Millis, status: StoreStatus) -> list[StoreNote]:
        down_since, slow_since, slow_noted = self._down_since, self._slow_since, self._slow_noted
        self._down_since = self._slow_since = None
        self._slow_noted = self._files_noted = False
        if down_since is not None:
            text = f"{self._name} is back after {span_text(now - down_since)} (away since {clock_text(down_since)})"
            if status.caught_up_rows is not None:
                text += f"; {status.caught_up_rows:,} facts were caught up, it has them all"
            return [self._note(Severity.INFO, text)]
        if slow_noted and slow_since is not None:
            return [self._note(Severity.INFO, f"{self._name} keeps up again after {span_text(now - slow_since)}")]
        return []

    def _note(self, severity: Severity, text: str) -> StoreNote:
        return StoreNote(severity=severity, component=self._name, text=text)


def clock_text(at: Millis) -> str:
    """The time of day, with the date's place left to the log line around it."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%H:%M:%S UTC")


def span_text(span_ms: int) -> str:
    """In the two largest units that say something: 0.4 s, 12 s, 5 min 3 s, 1 h 0 min."""
    seconds = max(0, span_ms) / 1000
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3_600} h {whole % 3_600 // 60} min"
