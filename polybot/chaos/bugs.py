"""Planted bugs: for each invariant one that breaks it, so that everyone can see the hunt find it.

Each replaces a function of the real code (or, where the real one is not in the hunt, of the simulated disk) by one with
a mistake that people make.
"""

import asyncio
import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from polybot.chaos import disk, journal, window
from polybot.desk import intake, room
from polybot.desk.books import DeskBooks
from polybot.desk.desk import Desk
from polybot.domain.book import Book, BookState
from polybot.domain.events import (
    FillFailed,
    FillMatched,
    IntentRecorded,
    MarketSettled,
    Verdict,
)
from polybot.domain.units import UNIT, Millis, Money
from polybot.floor import reconciler, venue_calls
from polybot.floor.boss import Boss
from polybot.floor.dispatch import Dispatcher
from polybot.risk import gate
from polybot.risk.gate import Approved
from polybot.storage import projector
from polybot.venue.base import VenueUnavailable


class Bug(msgspec.Struct, frozen=True, kw_only=True):
    """A mistake: the invariant that catches it, what it is, and how it gets into the code."""

    invariant: str
    text: str
    owner: Any
    name: str
    make: Callable[[Any], Any]
    """From the right function, the wrong one."""

    @contextmanager
    def planted(self) -> Iterator[None]:
        right = self.owner.__dict__[self.name]
        setattr(self.owner, self.name, self.make(right))
        try:
            yield
        finally:
            setattr(self.owner, self.name, right)


# -- money ------------------------------------------------------------------------------------------------------------


def _pays_fees_back(right: Any) -> Any:
    """A voided fill gives back the price and forgets the fee."""

    def failed(self: DeskBooks, fact: FillFailed) -> None:
        fill = self.state.provisional[fact.fill]
        right(self, fact)
        self.state.invest(fill.market, fill.outcome, 0, fill.fee)

    return failed


def _drops_late_fills(right: Any) -> Any:
    """A fill told of after its order was closed is taken for a mistake of the venue's."""

    def filled(self: intake.Intake, desk: Desk, order: Any, reply: FillMatched) -> None:
        if order.reason is None:
            right(self, desk, order, reply)

    return filled


def _settles_by_the_price(right: Any) -> Any:
    """Half a dollar and more is a win: good enough, until a market pays otherwise than it looked."""

    def due(self: room.TradingRoom, now: Millis) -> list[Any]:
        facts = right(self, now)
        return [
            msgspec.structs.replace(fact, payout_up=UNIT - fact.payout_up) if isinstance(fact, MarketSettled) else fact
            for fact in facts
        ]

    return due


# -- orders -----------------------------------------------------------------------------------------------------------


def _sends_again(right: Any) -> Any:
    """`retry_on_failure` around place_order, as in the brief that began all this."""

    async def send(self: Dispatcher, order: Approved, now: Millis) -> None:
        place = self.venue.place

        async def twice(order: Approved, now: Millis) -> None:
            try:
                await place(order, now)
            except VenueUnavailable:
                await place(order, now)

        self.venue.place = twice  # type: ignore[method-assign]
        try:
            await right(self, order, now)
        finally:
            self.venue.place = place  # type: ignore[method-assign]

    return send


def _sends_first(right: Any) -> Any:
    """The order leaves while its intent is still on its way to the disk: a millisecond faster."""

    async def carry_out(self: Dispatcher, verdicts: Any, now: Millis, position: int) -> None:
        for verdict in verdicts:
            if isinstance(verdict, Approved):
                await self._send(verdict, now)
        facts = [
            IntentRecorded(at=now, agent=v.intent.agent, intent=v.intent) if isinstance(v, Approved) else v
            for v in verdicts
        ]
        await self._commit(facts, position)

    return carry_out


def _trusts_any_book(right: Any) -> Any:
    """The gate looks at neither the book's state nor its age."""

    def moment(seen: gate.Circumstances, limits: Any) -> Any:
        book = copy.copy(seen.book)
        book.state, book.at, book.received = BookState.VERIFIED, seen.now, seen.now
        return right(msgspec.structs.replace(seen, book=book), limits)

    return moment


def _sees_what_it_likes(right: Any) -> Any:
    """Every book is verified, whatever the venue says its best prices are, and none has to wait for a snapshot."""

    def check(self: Book, best_bid: Any, best_ask: Any) -> None:
        self.state, self.needs_snapshot = BookState.VERIFIED, False

    return check


def _trades_any_market(right: Any) -> Any:
    """The gate does not ask under which rules a market settles."""

    def moment(seen: gate.Circumstances, limits: Any) -> Any:
        market = msgspec.structs.replace(seen.market, rule_set=window.RULE_SET)
        return right(msgspec.structs.replace(seen, market=market), limits)

    return moment


def _forgets_the_others(right: Any) -> Any:
    """An agent's limit counts its filled positions and not its open orders."""

    def money(cost_max: Money, seen: gate.Circumstances, limits: Any) -> Any:
        alone = msgspec.structs.replace(seen, agent_exposure=Money(0), floor_exposure=Money(0))
        return right(cost_max, alone, limits)

    return money


def _counts_twice(right: Any) -> Any:
    """Whatever the stream brings is taken for news."""

    def filled(self: intake.Intake, desk: Desk, order: Any, reply: FillMatched) -> None:
        known = reply.fill in desk.state.provisional or reply.fill in desk.state.final
        right(self, desk, order, reply)
        if known:
            self.taken.facts.append(reply)

    return filled


# -- windows, recovery, stores ----------------------------------------------------------------------------------------


def _records_who_was_there(right: Any) -> Any:
    """Who was down for a window has nothing to say about it."""

    def records(self: room.TradingRoom, now: Millis) -> Any:
        return [record for record in right(self, now) if record.verdict is not Verdict.DOWN]

    return records


def _calls_all_of_them_passed(right: Any) -> Any:
    """The record of a window is written before anyone asks whether there were fills."""

    def record(self: Desk, market: Any, at: Millis, *, down: bool) -> Any:
        right_one = right(self, market, at, down=down)
        return msgspec.structs.replace(right_one, verdict=Verdict.PASSED, fills=0)

    return record


def _knows_no_pause(right: Any) -> Any:
    """The breakers are configured, documented, and not wired in (evidence.md 1.12)."""

    def pause_facts(self: room.TradingRoom, now: Millis) -> list[Any]:
        return []

    return pause_facts


def _knows_no_drawdown(right: Any) -> Any:
    """What was won before noon does not count: only the day's loss is looked at, not the fall from its height."""

    def breakers(book: Any, at: Millis, limits: Any) -> Any:
        return [pause for pause in right(book, at, limits) if pause.breaker != "daily_drawdown"]

    return breakers


def _believes_in_the_venue(right: Any) -> Any:
    """The circuit to the venue has numbers so large that it never opens."""

    def plan(limits: Any) -> Any:
        return msgspec.structs.replace(right(limits), failures_max=1_000_000, calls_min=1_000_000)

    return plan


def _trips_over_itself(right: Any) -> Any:
    """A trader that raises now and then, and is started again each time: nobody need ever know."""

    def step(self: Desk, event_type: type, state: Any, now: Millis) -> Any:
        if self.state.next_order > 2:
            raise KeyError(state.market.id)
        return right(self, event_type, state, now)

    return step


def _never_looks_up(right: Any) -> Any:
    """What the stream says is all there is."""

    async def look(self: reconciler.Reconciler) -> None:
        self.last_look = self._clock.monotonic()

    return look


def _acknowledges_early(right: Any) -> Any:
    """A fact counts as durable when it has been handed to the disk."""

    def submit(self: journal.SimJournal, facts: Any, position: int) -> Any:
        done = right(self, facts, position)
        if facts and not done.done():
            done.set_result(self._pending[-1].journaled)
        return done

    return submit


def _believes_torn_writes(right: Any) -> Any:
    """The journal is opened without a look at its last rows."""

    def read_group(log: bytes) -> Any:
        rows = right(log)
        return [msgspec.structs.replace(row, hash=row.prev_hash) for row in rows]

    return read_group


def _remembers_its_place(right: Any) -> Any:
    """The projector goes on from what it believes to have carried, not from what the database has."""

    def read(self: projector.Projector, place: Any, limit: int) -> Any:
        behind = self._journal.hash_at(place.seq - 1) if place.seq else None
        before = place if behind is None else msgspec.structs.replace(place, seq=place.seq - 1, hash=behind)
        return right(self, before, limit)

    return read


def _waits_for_the_dead(right: Any) -> Any:
    """The stop waits for an agent that is gone."""

    async def close(self: Boss, supervisor: Any, reason: str, *, finished: bool) -> None:
        await supervisor.stop()
        await asyncio.Event().wait()

    return close


def _bug(invariant: str, owner: Any, name: str, make: Callable[[Any], Any]) -> Bug:
    return Bug(invariant=invariant, text=(make.__doc__ or "").strip(), owner=owner, name=name, make=make)


BUGS: dict[str, Bug] = {
    make.__name__.strip("_").replace("_", "-"): _bug(invariant, owner, name, make)
    for invariant, owner, name, make in (
        ("money_conserved", DeskBooks, "_failed", _pays_fees_back),
        ("books_agree", intake.Intake, "_filled", _drops_late_fills),
        ("settled_once", room.TradingRoom, "due", _settles_by_the_price),
        ("sent_once", Dispatcher, "_send", _sends_again),
        ("intent_first", Dispatcher, "_carry_out", _sends_first),
        ("book_verified", gate, "_judge_moment", _trusts_any_book),
        ("book_verified", Book, "check", _sees_what_it_likes),
        ("market_known", gate, "_judge_moment", _trades_any_market),
        ("limits_kept", gate, "_judge_money", _forgets_the_others),
        ("fills_fit", intake.Intake, "_filled", _counts_twice),
        ("window_recorded", room.TradingRoom, "_window_records", _records_who_was_there),
        ("window_recorded", Desk, "window_record", _calls_all_of_them_passed),
        ("limits_kept", room.TradingRoom, "_pause_facts", _knows_no_pause),
        ("limits_kept", room, "daily_breakers", _knows_no_drawdown),
        ("limits_kept", venue_calls, "circuit_plan", _believes_in_the_venue),
        ("no_surprise", Desk, "step", _trips_over_itself),
        ("comes_to_rest", reconciler.Reconciler, "look", _never_looks_up),
        ("no_fact_lost", journal.SimJournal, "submit", _acknowledges_early),
        ("chain_whole", disk, "read_group", _believes_torn_writes),
        ("store_equal", projector.Projector, "_read", _remembers_its_place),
        ("never_stuck", Boss, "close", _waits_for_the_dead),
    )
}
"""By name, as `polybot chaos --bug` takes it."""
