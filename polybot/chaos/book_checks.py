"""Whether an order was decided on the exchange's own prices: its proof is held to what the exchange truly showed.

What the proof says of the book (verified, so many milliseconds old) is the gate's own word; this asks the world.
"""

from bisect import bisect_right
from collections.abc import Callable

from polybot.chaos.faults import MINUTE, Faults
from polybot.chaos.feed import DELAY_MS, DOUBLED_MS, FRAME_MS, OVERTAKEN_MS
from polybot.chaos.market import World
from polybot.chaos.quotes import Top
from polybot.clock import SLEW_SHARE
from polybot.domain.markets import FUTURE_MS_MAX
from polybot.domain.order import OrderIntent
from polybot.domain.units import Millis, format_units

YOUNGER_MS = {
    "feed_delay": DELAY_MS,
    "feed_reorder": OVERTAKEN_MS,
    "feed_duplicate": DOUBLED_MS,
    "feed_skew": FUTURE_MS_MAX,
}
"""By how much each makes a book look younger than it is, at most: a late snapshot is taken for the answer to a question
asked meanwhile, or a date is believed that is ahead by so little."""
LIE_LASTS_MS = 5_000
"""A best price that is wrong as our book is wrong may be believed until the next change, or until the book is too old.

No excuse have gaps, freezes, closed sockets and snapshots out of a cache: the gate must not fall for them.
"""

Spans = list[tuple[int, int]]
"""From and to, in order of time; none touches another."""


class BookChecks:
    """Asked at every intent. `faults` is the seed's plan, `true_ms` the world's own time."""

    def __init__(self, world: World, faults: Faults, true_ms: Callable[[], Millis]) -> None:
        self._world, self._true_ms = world, true_ms
        lies = _spans(faults, "feed_contradiction", LIE_LASTS_MS)
        self._excused = _merged([*lies, *_clock_ahead(faults)])
        self._younger = [(_merged(_spans(faults, name, by)), by) for name, by in YOUNGER_MS.items()]

    def untrue(self, intent: OrderIntent) -> str | None:
        """What the proof says and never was; None where it was so, or where nobody can tell.

        Its best prices must have stood at some moment between the one up to which the book is said to be known, less
        the time that frames travel, and now.
        """
        proof, now = intent.proof, self._true_ms()
        since = intent.decided_at - proof.book_age_ms - FRAME_MS
        if _touch(self._excused, since, now):
            return None
        since -= sum(by for spans, by in self._younger if _touch(spans, since, now))
        shown = self._world.shown(intent.market, intent.outcome, since, now)
        if shown is None or (proof.best_bid, proof.best_ask) in shown:
            return None
        truly = ", ".join(sorted(map(_text, shown)))
        said = _text((proof.best_bid, proof.best_ask))
        return f"{said}, {proof.book_age_ms} ms old, where the exchange showed {truly}"


def _touch(spans: Spans, since: int, until: int) -> bool:
    place = bisect_right(spans, (until, until))
    return bool(place) and spans[place - 1][1] >= since


def _text(top: Top) -> str:
    return " / ".join("none" if price is None else format_units(price) for price in top)


def _spans(faults: Faults, name: str, lasts_ms: int) -> Spans:
    return [(episode.start_ms, episode.end_ms + FRAME_MS + lasts_ms) for episode in faults.of(name)]


def _clock_ahead(faults: Faults) -> Spans:
    """While our clock is ahead of the world's, an age means nothing. Set right, it is slowed until the two agree."""
    spans: Spans = []
    until = 0
    for jump in faults.of("clock_jump"):
        if jump.intensity > 0:
            until = int(max(until, jump.end_ms) + jump.intensity * MINUTE / SLEW_SHARE)
            spans.append((jump.start_ms, until))
    return spans


def _merged(spans: Spans) -> Spans:
    merged: Spans = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
