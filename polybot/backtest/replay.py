"""Drives the very same room and paper venue over market events at full speed: no server, no socket, no waiting.

The order of things is the running floor's own (floor/dispatch.py): first what the venue does by this time, then what
is due, then the event, then what it does to our orders, then the desks.
"""

from collections.abc import Callable, Iterable

from polybot.desk.room import TradingRoom, equal_allocation
from polybot.domain.events import AnyFact, IntentRecorded, MarketEvent
from polybot.domain.units import Millis, Money
from polybot.risk.gate import Approved
from polybot.venue.matching import Simulator

FactSink = Callable[[AnyFact], None]


class Replay:
    """One pass over a tape. Every fact goes to `sink` as it happens; `play` may be called event by event."""

    def __init__(self, room: TradingRoom, venue: Simulator, sink: FactSink) -> None:
        self.room, self.venue, self._sink = room, venue, sink

    def run(self, events: Iterable[MarketEvent]) -> None:
        play = self.play
        for event in events:
            play(event)

    def play(self, event: MarketEvent) -> None:
        room, venue, now = self.room, self.venue, event.received
        for reply in venue.advance(now):
            self._commit(reply)
        self.settle_due(now)
        state = room.observe(event)
        for reply in venue.observe(event, state):
            self._commit(reply)
        self.settle_due(now)
        for affected in room.affected(event, state):
            for verdict in room.step(event, affected, now):
                self._carry_out(verdict, now)

    def settle_due(self, now: Millis) -> None:
        """Commit what is due until nothing is."""
        while facts := self.room.due(now):
            for fact in facts:
                self._commit(fact)

    def allocate(self, capital: Money, at: Millis) -> None:
        """Give every desk an equal part of the capital (the rest of the division stays with the first)."""
        for fact in equal_allocation(self.room, capital, at):
            self._commit(fact)

    def _carry_out(self, verdict: AnyFact | Approved, now: Millis) -> None:
        if isinstance(verdict, Approved):
            self._sink(IntentRecorded(at=now, agent=verdict.intent.agent, intent=verdict.intent))
            self.venue.submit(verdict.intent, now)
        else:
            self._commit(verdict)

    def _commit(self, fact: AnyFact) -> None:
        self._sink(fact)
        self.room.apply(fact)
