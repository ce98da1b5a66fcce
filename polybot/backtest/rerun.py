"""Does one window of a past run again, with the live code, and compares every decision with the one in the journal.

What came from outside is taken as it was: market events from the tape, and all facts but the decisions themselves from
the journal (fills, replies, settlements, pauses, the other windows' orders), each at its place. So what is compared is
the deciding alone, and it must be the same to the last digit (D5b). `looks` say who looked when: those recorded live,
or, for a run on a tape, those that follow from playing it event by event (`lockstep_looks`).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from polybot.desk.desk import AgentPlan, Desk, DeskVerdict
from polybot.desk.room import TradingRoom
from polybot.domain.events import (
    AgentChanged,
    AgentState,
    AnyFact,
    BookReplaced,
    IntentRecorded,
    Journaled,
    LevelsChanged,
    MarketEvent,
    MarketListed,
    ReferencePriced,
    RunStarted,
    SignalRefused,
    TradePrinted,
    WindowRecorded,
)
from polybot.domain.ids import AgentId, MarketId
from polybot.domain.units import Millis
from polybot.risk.gate import Approved
from polybot.risk.limits import Limits
from polybot.storage.tape_blocks import Look

Decision = IntentRecorded | SignalRefused
WAKING = (BookReplaced, LevelsChanged, TradePrinted, ReferencePriced)
KINDS: dict[str, type] = {str(kind.__struct_config__.tag): kind for kind in WAKING}
NOTHING = "nothing"
RESTARTED = "the floor was started anew in this window: refusals and records after that are not compared"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The first thing that is not equal: where, and both sides. `position` is the last market event applied."""

    agent: AgentId
    position: int
    what: str
    live: str
    replayed: str


class AgentRow(msgspec.Struct, kw_only=True):
    """One agent's part: how often it looked, and how many of each kind of decision were compared and equal."""

    agent: AgentId
    looks: int = 0
    orders: int = 0
    refusals: int = 0
    records: int = 0


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. Equal where `difference` is None; `notes` say what could not be compared, and why."""

    market: MarketId
    events: int
    rows: list[AgentRow]
    difference: Difference | None
    notes: list[str]

    @property
    def compared(self) -> int:
        return sum(row.orders + row.refusals + row.records for row in self.rows)


class _Differs(Exception):
    """Stops the pass at the first difference."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(difference.what)
        self.difference = difference


class Rerun:
    """One life of the process. `facts` is the whole journal up to its end; `since` the number of its RunStarted."""

    def __init__(
        self, market: MarketId, plans: Sequence[AgentPlan], limits: Limits, facts: Sequence[Journaled], since: int
    ) -> None:
        self.market, self._facts = market, facts
        self.room = TradingRoom(plans, limits)
        self.room.absent.update(self.room.desks)
        self.rows = {agent: AgentRow(agent=agent) for agent in self.room.desks}
        self.notes: list[str] = []
        self.events = 0
        self._may_trade = True
        self.room.fence = lambda: self._may_trade
        self._since, self._next = since, 0
        self._restarted = False
        self._decided: dict[AgentId, deque[Journaled]] = {agent: deque() for agent in self.room.desks}
        self._made: set[int] = set()
        """The numbers of the decisions done again so far."""

    def run(self, events: Iterable[tuple[int, MarketEvent]], looks: Iterable[Look]) -> Difference | None:
        """Go through it all; the first difference, None where everything is equal."""
        self._queue_decisions()
        row = _Row(events)
        self._begin(row.first)
        try:
            for look in looks:
                self._observe(row, look.position)
                self._take_facts(row, up_to=look.facts)
                self._look(look)
                if self._is_told():
                    return None
            self._take_facts(row, up_to=len(self._facts))
        except _Differs as found:
            return found.difference
        return None

    # -- bringing everything to where it was --------------------------------------------------------------------------

    def _queue_decisions(self) -> None:
        for entry in self._facts[self._since :]:
            if isinstance(entry.fact, Decision) and entry.fact.agent in self._decided:
                self._decided[entry.fact.agent].append(entry)

    def _begin(self, position: int) -> None:
        """All facts from before the first event. What was decided then was taken in at once, and written down later."""
        while self._next < len(self._facts) and (
            self._next < self._since or self._facts[self._next].position < position - 1
        ):
            self._apply(self._facts[self._next])
            self._next += 1
        for queue in self._decided.values():
            while queue and queue[0].position < position:
                entry = queue.popleft()
                if entry.seq > self._next:
                    self.room.apply(entry.fact)
                self._made.add(entry.seq)

    def _observe(self, row: "_Row", position: int) -> None:
        """Market events up to a position. Of the other markets nothing but the order of things matters here."""
        for number, event in row.up_to(position):
            self.room.state.position = number - 1
            self.room.observe(event)
            self.events += 1

    def _take_facts(self, row: "_Row", *, up_to: int) -> None:
        while self._next < up_to:
            entry = self._facts[self._next]
            self._next += 1
            if entry.seq <= self._since:
                self._apply(entry)
                continue
            self._observe(row, entry.position)
            if isinstance(entry.fact, Decision):
                self._require_made(entry)
            else:
                if isinstance(entry.fact, WindowRecorded) and entry.fact.market == self.market:
                    self._compare_record(entry)
                self._apply(entry)

    def _apply(self, entry: Journaled) -> None:
        fact = entry.fact
        if isinstance(fact, RunStarted):
            self.room.absent.update(self.room.desks)
            if self._is_open(fact.at):
                self._restarted = True
                self.notes.append(RESTARTED)
        if isinstance(fact, AgentChanged) and fact.agent in self.room.desks:
            absent = self.room.absent
            (absent.discard if fact.state is AgentState.RUNNING else absent.add)(fact.agent)
        self.room.apply(fact)

    def _is_open(self, at: Millis) -> bool:
        """Before it opens nobody has counted anything of it."""
        market = self.room.state.markets.get(self.market)
        return market is not None and market.window_start <= at

    def _is_told(self) -> bool:
        return all(self.market in desk.state.recorded for desk in self.room.desks.values())

    # -- deciding again, and comparing --------------------------------------------------------------------------------

    def _look(self, look: Look) -> None:
        desk = self.room.desks.get(look.agent)
        if desk is None or (look.decided is None and look.agent in self.room.absent):
            return
        if look.market != self.market:
            self._take_as_it_was(desk, look)
            return
        state = self.room.markets.by_id.get(look.market)
        if state is None:
            self._differ(look.agent, look.position, "a look", "looked at the market", "does not know it yet")
            return
        self._may_trade = look.may_trade
        self.rows[look.agent].looks += 1
        verdicts = desk.step(KINDS[look.kind], state, look.now)
        self._compare(look, verdicts)

    def _take_as_it_was(self, desk: Desk, look: Look) -> None:
        """Another window's: its order counts for money and limits here."""
        entry = self._journaled(look)
        if entry is not None and _market_of(entry.fact) == look.market:
            self._decided[look.agent].popleft()
            self._made.add(entry.seq)
            if isinstance(entry.fact, IntentRecorded):
                desk.apply(entry.fact)

    def _journaled(self, look: Look) -> Journaled | None:
        """What the journal has of this look, if anything."""
        queue = self._decided[look.agent]
        if look.decided is False or not queue or queue[0].position != look.position:
            return None
        return queue[0]

    def _compare(self, look: Look, verdicts: tuple[DeskVerdict, ...]) -> None:
        entry = self._journaled(look)
        if entry is not None and (_market_of(entry.fact) != look.market or entry.fact.at != look.now):
            entry = None
        made = [_as_fact(verdict, look.now) for verdict in verdicts]
        live = entry.fact if entry is not None else None
        if not made and live is None:
            return
        fact = made[0] if made else None
        if self._restarted and not (isinstance(fact, IntentRecorded) or isinstance(live, IntentRecorded)):
            self._done_with(look.agent, entry)
            return
        if fact is not None and live is None and self._ended_before(look):
            self.notes.append(f"{look.agent}'s last decision was not written down: the floor had ended")
            return
        if fact != live:
            what = "an order" if IntentRecorded in (type(fact), type(live)) else "a refusal"
            self._differ(look.agent, look.position, what, _words(live), _words(fact))
        self._done_with(look.agent, entry)
        row = self.rows[look.agent]
        row.orders += isinstance(fact, IntentRecorded)
        row.refusals += isinstance(fact, SignalRefused)

    def _done_with(self, agent: AgentId, entry: Journaled | None) -> None:
        if entry is not None:
            self._decided[agent].popleft()
            self._made.add(entry.seq)

    def _ended_before(self, look: Look) -> bool:
        """A floor that was killed had decided, and could not write it down: the agent's last decision of this life."""
        return look.decided is True and not self._decided[look.agent]

    def _require_made(self, entry: Journaled) -> None:
        """A decision the journal has, and that no look has led to by now."""
        if entry.seq in self._made:
            return
        fact = entry.fact
        assert isinstance(fact, Decision)
        if _market_of(fact) != self.market or fact.agent not in self.rows:
            self._decided.get(fact.agent, deque((entry,))).popleft()
            self.room.apply(fact)
        elif not (self._restarted and isinstance(fact, SignalRefused)):
            what = "an order" if isinstance(fact, IntentRecorded) else "a refusal"
            self._differ(fact.agent, entry.position, what, _words(fact), NOTHING)

    def _compare_record(self, entry: Journaled) -> None:
        live = entry.fact
        assert isinstance(live, WindowRecorded)
        desk = self.room.desks.get(live.agent)
        if desk is None or self._restarted:
            return
        again = desk.window_record(self.market, live.at, down=live.agent in self.room.absent)
        if again != live:
            self._differ(live.agent, entry.position, "the window's record", _words(live), _words(again))
        self.rows[live.agent].records += 1

    def _differ(self, agent: AgentId, position: int, what: str, live: str, replayed: str) -> None:
        raise _Differs(Difference(agent=agent, position=position, what=what, live=live, replayed=replayed))


class _Row:
    """Numbered events, taken up to a position at a time."""

    def __init__(self, events: Iterable[tuple[int, MarketEvent]]) -> None:
        self._events = iter(events)
        self._held = next(self._events, None)
        self.first = self._held[0] if self._held is not None else 1

    def up_to(self, position: int) -> Iterator[tuple[int, MarketEvent]]:
        while self._held is not None and self._held[0] <= position:
            yield self._held
            self._held = next(self._events, None)


def lockstep_looks(
    events: Iterable[tuple[int, MarketEvent]], plans: Sequence[AgentPlan], limits: Limits, facts: Sequence[Journaled]
) -> Iterator[Look]:
    """Who looked when on a tape: after each event every trader it wakes, once, before the next is played.

    At one position the journal has what the event led to, then what was decided, then what time brought before the next
    event; only the first of the three were taken in when the traders looked.
    """
    room = TradingRoom(plans, limits)
    before = _FactsBefore(facts)
    for number, event in events:
        state = room.observe(event)
        for affected in room.affected(event, state):
            for agent, desk in room.desks.items():
                if desk.wakes_on(type(event)):
                    seen = before.look_at(number, event.received)
                    kind = str(type(event).__struct_config__.tag)
                    yield Look(number, seen, agent, affected.market.id, kind, event.received)


class _FactsBefore:
    """How many facts had been taken in when the traders looked after an event."""

    def __init__(self, facts: Sequence[Journaled]) -> None:
        self._facts, self._seen = facts, 0

    def look_at(self, position: int, received: Millis) -> int:
        facts = self._facts
        while self._seen < len(facts):
            entry = facts[self._seen]
            later = entry.position > position or (
                entry.position == position and (isinstance(entry.fact, Decision) or entry.fact.at > received)
            )
            if later:
                break
            self._seen += 1
        return self._seen


def _as_fact(verdict: DeskVerdict, now: Millis) -> Decision:
    if isinstance(verdict, Approved):
        return IntentRecorded(at=now, agent=verdict.intent.agent, intent=verdict.intent)
    return verdict


def _market_of(fact: Any) -> MarketId:
    market: MarketId = fact.intent.market if isinstance(fact, IntentRecorded) else fact.market
    return market


def _words(fact: AnyFact | None) -> str:
    """The whole of it, as the journal has it: a difference may be in the last digit of a number."""
    return NOTHING if fact is None else msgspec.json.encode(fact).decode()


def listing_of(market: MarketId, events: Iterable[tuple[int, MarketEvent]]) -> Iterator[tuple[int, MarketEvent]]:
    """The events from the market's first listing on: nothing before it concerns the window."""
    found = False
    for number, event in events:
        found = found or (isinstance(event, MarketListed) and event.market.id == market)
        if found:
            yield number, event
