"""Which windows of a series are over and done with, as spans of time rather than as a list of names: bounded, and right
for a window that is heard of late. Pure.

Windows of a series follow each other, so that the spans grow together into one. Where one was never heard of, a gap is
left, and a window that lies in it is still opened when the catalogue brings it up at last.
"""

import msgspec

from polybot.domain.units import Millis

GAP_KEPT_MS = 86_400_000
"""A gap is given up when windows a day after it are over: nobody lists its window any more, or there never was one."""
SPANS_MAX = 300
"""More gaps than a day of 5-minute windows can have. Beyond it the oldest gap is given up."""


class ToldSpan(msgspec.Struct, frozen=True, kw_only=True):
    """Every window from `since` to `until` is over and done with."""

    since: Millis
    until: Millis


class Told(msgspec.Struct, kw_only=True):
    """The spans of one series, in order, with a gap before each but a first one that begins at 0."""

    spans: list[ToldSpan] = []

    def covers(self, start: Millis, end: Millis) -> bool:
        return any(span.since <= start and end <= span.until for span in self.spans)

    def up_to(self, since: Millis) -> Millis:
        """Where the first gap after `since` begins."""
        for span in self.spans:
            if span.since > since:
                break
            since = max(since, span.until)
        return since

    def add(self, start: Millis, end: Millis) -> None:
        """The window from `start` to `end` is over and done with too."""
        self.spans = _bounded(_joined([*self.spans, ToldSpan(since=start, until=end)]))


def _joined(spans: list[ToldSpan]) -> list[ToldSpan]:
    """In order; those that touch or overlap become one."""
    joined: list[ToldSpan] = []
    for span in sorted(spans, key=lambda one: (one.since, one.until)):
        if joined and span.since <= joined[-1].until:
            joined[-1] = ToldSpan(since=joined[-1].since, until=max(joined[-1].until, span.until))
        else:
            joined.append(span)
    return joined


def _bounded(spans: list[ToldSpan]) -> list[ToldSpan]:
    """Without the gaps that are too old or too many: everything before the span after them counts as told."""
    oldest = spans[-1].until - GAP_KEPT_MS
    too_old = sum(span.since <= oldest for span in spans)
    given_up = max(too_old, len(spans) - SPANS_MAX + 1 if len(spans) > SPANS_MAX else 0)
    if not given_up:
        return spans
    return [ToldSpan(since=Millis(0), until=spans[given_up - 1].until), *spans[given_up:]]
