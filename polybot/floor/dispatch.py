"""The one entrance: every market event and every fact comes through here, in one order.

    event ─▶ venue.advance ─▶ what is due ─▶ markets ─▶ venue.observe ─▶ what is due ─▶ traders' mailboxes
    fact  ─▶ journal (durable) ─▶ room ─▶ followers (auditor, monitor, board)

The order is the backtest's own (backtest/replay.py); a test compares the two order by order. A tape waits at each step
until its facts are durable; live market data does not wait for a disk: its facts follow in their order, and what they
mean is taken in when they are.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from loguru import logger

from polybot.agents.base import FactFeed, Mailbox, Wake
from polybot.clock import Clock
from polybot.desk.desk import DeskVerdict
from polybot.desk.room import TradingRoom
from polybot.domain.events import (
    AnyFact,
    IntentRecorded,
    Journaled,
    MarketEvent,
    OrderRejected,
    Severity,
    SystemNoted,
    VenueReply,
)
from polybot.domain.ids import AgentId, MarketId, OrderId
from polybot.domain.order import OrderIntent
from polybot.domain.units import Millis
from polybot.floor.venue_calls import VenueCalls
from polybot.risk.gate import Approved
from polybot.venue.base import Venue, VenueBusy, VenueUnavailable

SEND_WITHIN_MS = 2_000
"""An order that could not leave so soon after it was decided is not sent: what it was decided on is no more."""


class FactJournal(Protocol):
    """Where facts become durable; `append` returns when they are."""

    async def append(self, facts: Sequence[AnyFact], position: int) -> list[Journaled]: ...


Follower = Callable[[list[Journaled]], None]


class Witness(Protocol):
    """Records what the floor sees, in the order it sees it (storage/recorder.py). Called at once; it never waits."""

    def observe(self, event: MarketEvent) -> None: ...

    def looked(
        self, agent: AgentId, market: MarketId, kind: str, now: Millis, *, may_trade: bool, decided: bool
    ) -> None: ...

    def took(self, facts: list[Journaled]) -> None: ...


class Dispatcher:
    """`lockstep` waits with every event until its facts are durable and the traders it woke are done: a tape is never
    too fast for them. Without it the next event is taken in meanwhile."""

    def __init__(
        self, room: TradingRoom, venue: Venue, journal: FactJournal, clock: Clock, *, lockstep: bool, patience_s: float
    ) -> None:
        self.room, self.venue, self.journal, self.clock = room, venue, journal, clock
        self._lockstep, self._patience_s = lockstep, patience_s
        self.calls = VenueCalls(room, clock)
        self._witness: Witness | None = None
        self._mailboxes: dict[AgentId, Mailbox] = {}
        self._listening: dict[type, list[Mailbox]] = {}
        self._feeds: dict[AgentId, FactFeed] = {}
        self._followers: list[Follower] = []
        self._in_flight = 0
        self.failure: BaseException | None = None
        """Why a fact could not be made durable or taken in; with one, the floor and its journal may differ: end it."""
        self._errands: set[asyncio.Task[None]] = set()
        self._news = 0
        """Errands on their way that change what may be traded: the venue's words, what is due, a breaker's."""
        self._no_news = asyncio.Event()
        self._now = Millis(0)
        self._entrance = asyncio.Lock()
        self._intake = asyncio.Lock()
        self._deciding = asyncio.Lock()
        """What follows from the room's state is committed by one at a time, who looks at it anew."""
        self.doubtful: dict[OrderId, None] = {}
        """Orders of which the venue's word is missing or does not fit: the reconciler looks them up."""
        self.sent_at: dict[OrderId, float | None] = {}
        """When the call that sends an open order was over, in the clock's monotonic seconds, since the time of day may
        jump; None while it is still on its way through journal and call.

        Orders of an earlier process are not in it."""
        self.closing = False
        """Once the floor is being closed no order leaves any more: nobody would hear what became of it."""
        self.strays: dict[OrderId, None] = {}
        """Orders the venue has open though we closed them: the reconciler cancels them."""

    # -- who listens --------------------------------------------------------------------------------------------------

    def attach_mailbox(self, agent: AgentId, mailbox: Mailbox) -> None:
        self._mailboxes[agent] = mailbox
        self._listening.clear()

    def attach_feed(self, agent: AgentId, feed: FactFeed) -> None:
        self._feeds[agent] = feed

    def follow(self, follower: Follower) -> None:
        """Call `follower` with every batch of committed facts, at once and in order."""
        self._followers.append(follower)

    def record(self, witness: Witness) -> None:
        """Have everything recorded that decisions rest on. Call it before the floor opens."""
        self._witness = witness
        self.follow(witness.took)

    def looked(self, agent: AgentId, wake: Wake, decided: bool) -> None:
        """A trader has looked at a market just now."""
        if self._witness is not None:
            kind, may_trade = str(type(wake.event).__struct_config__.tag), self.room.fence()
            market, now = wake.state.market.id, wake.now
            self._witness.looked(agent, market, kind, now, may_trade=may_trade, decided=decided)

    @property
    def settled(self) -> bool:
        """True while no fact is on its way: what the room has and what the journal has are the same."""
        return self._in_flight == 0

    @property
    def is_behind(self) -> bool:
        """True while something is known that is not durable yet, and so not taken in: nothing is decided on before."""
        return self._news > 0

    async def caught_up(self) -> Millis:
        """Return the time of the latest event, or tick, once nothing of that is left."""
        while self._news:
            await self._no_news.wait()
        return self._now

    # -- market events ------------------------------------------------------------------------------------------------

    async def publish(self, event: MarketEvent) -> None:
        """Bring one market event onto the floor, with everything that has to happen before and after it."""
        async with self._entrance:
            woken = await self._publish(event, event.received)
        if self._lockstep and woken:
            await self._wait_for(woken)

    async def tick(self, now: Millis) -> None:
        """Let time pass without a market event: what the venue has said meanwhile, and what is due by now."""
        async with self._entrance:
            await self._follow_up(self.venue.advance(now), now)

    async def _publish(self, event: MarketEvent, now: Millis) -> list[Mailbox]:
        await self._follow_up(self.venue.advance(now), now)
        if self._witness is not None:
            self._witness.observe(event)
        state = self.room.observe(event)
        await self._follow_up(self.venue.observe(event, state), now)
        listening, woken = self._listening_to(type(event)), list[Mailbox]()
        for affected in self.room.affected(event, state):
            wake = Wake(event, affected, now)
            for mailbox in listening:
                mailbox.put(wake)
            woken += listening
        return woken

    def _listening_to(self, kind: type) -> list[Mailbox]:
        found = self._listening.get(kind)
        if found is None:
            boxes, desks = self._mailboxes, self.room.desks.items()
            found = [boxes[agent] for agent, desk in desks if desk.wakes_on(kind) and agent in boxes]
            self._listening[kind] = found
        return found

    async def _follow_up(self, replies: Sequence[VenueReply], now: Millis) -> None:
        """What the venue has said, and then what is due."""
        self._now = max(self._now, now)
        if self._lockstep:
            await self.take(replies)
            await self.commit_due(now)
            return
        if replies:
            self._begin(self._take(replies, self.room.state.position), is_news=True)
        if not self._deciding.locked() and self.room.due(now):  # else the next event asks again
            self._begin(self._commit_due(now), is_news=True)

    async def _wait_for(self, woken: list[Mailbox]) -> None:
        """Wait for the traders, but not for ever: a stuck one is its supervisor's business (D12)."""
        try:
            async with asyncio.timeout(self._patience_s):
                for mailbox in woken:
                    await mailbox.drained()
        except TimeoutError:
            logger.bind(action="trader_slow").warning("a trader took more than {} s over one event", self._patience_s)

    # -- facts --------------------------------------------------------------------------------------------------------

    async def commit(self, facts: Sequence[AnyFact]) -> None:
        """Make facts durable, then take them in. Raises the journal's error: then the floor must stop."""
        if facts:
            await self._see_through(self._commit(facts, self.room.state.position))

    async def _commit(self, facts: Sequence[AnyFact], position: int) -> None:
        journaled = await self.journal.append(facts, position)
        for fact in facts:
            if not isinstance(fact, IntentRecorded):  # the desk took its own intent in when it decided
                self.room.apply(fact)
        for feed in self._feeds.values():
            feed.put(journaled)
        for follower in self._followers:
            follower(journaled)

    async def take(self, replies: Sequence[VenueReply]) -> None:
        """Commit those of the venue's replies that are news; the others are known, or their orders looked up."""
        if replies:
            await self._see_through(self._take(replies, self.room.state.position), is_news=True)

    async def _take(self, replies: Sequence[VenueReply], position: int) -> None:
        async with self._intake:  # one at a time: only when taken in is a reply known to be no news
            taken = self.room.intake(replies)
            self.doubtful |= dict.fromkeys(taken.doubtful)
            self.strays |= dict.fromkeys(taken.strays)
            for stranger in taken.strangers:
                logger.bind(action="stranger").warning("the venue speaks of what is not ours: {}", stranger)
            if taken.facts:
                await self._commit(taken.facts, position)

    def _see_through(self, errand: Coroutine[Any, Any, None], *, is_news: bool = False) -> "asyncio.Future[None]":
        """To wait for an errand that is finished even if whoever asked for it is stopped meanwhile.

        A fact that is journaled but not applied, or an intent that is journaled but not sent, would part the floor from
        its journal.
        """
        return asyncio.shield(self._begin(errand, is_news=is_news))

    def _begin(self, errand: Coroutine[Any, Any, None], *, is_news: bool) -> "asyncio.Task[None]":
        """What goes wrong with it is this floor's `failure`, whether or not anybody waits for it."""
        self._in_flight += 1
        if is_news:
            self._news += 1
            self._no_news.clear()
        task = asyncio.create_task(self._run(errand, is_news))
        self._errands.add(task)
        task.add_done_callback(self._errand_done)
        return task

    async def _run(self, errand: Coroutine[Any, Any, None], is_news: bool) -> None:
        """Landed with its last step, before anyone it woke has his turn: the auditor asks whether all is `settled`."""
        try:
            await errand
        finally:
            self._in_flight -= 1
            self._news -= is_news
            if not self._news:
                self._no_news.set()

    def _errand_done(self, task: asyncio.Task[None]) -> None:
        self._errands.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failure = self.failure or task.exception()

    async def commit_due(self, now: Millis) -> None:
        if self.room.due(now):
            await self._see_through(self._commit_due(now), is_news=True)

    async def _commit_due(self, now: Millis) -> None:
        async with self._deciding:  # seen through even if the asker is stopped: the next would find it due again
            while facts := self.room.due(now):
                await self._commit(facts, self.room.state.position)

    async def note(self, severity: Severity, component: str, text: str) -> None:
        """Write a system event."""
        await self.commit([SystemNoted(at=self.clock.now_ms(), severity=severity, component=component, text=text)])

    # -- verdicts -----------------------------------------------------------------------------------------------------

    def carry_out(self, verdicts: Sequence[DeskVerdict], now: Millis) -> "asyncio.Future[None]":
        """Journal what was decided, then send what was approved: an intent is durable before its order leaves (D8).

        Begun by the call, and seen through whether or not anybody waits.
        """
        return self._see_through(self._carry_out(verdicts, now, self.room.state.position))

    async def _carry_out(self, verdicts: Sequence[DeskVerdict], now: Millis, position: int) -> None:
        orders = [verdict for verdict in verdicts if isinstance(verdict, Approved)]
        if self.venue.may_lose_replies:  # else nobody reconciles, and nobody would forget them
            self.sent_at |= dict.fromkeys((order.intent.id for order in orders), None)
        facts = [
            IntentRecorded(at=now, agent=verdict.intent.agent, intent=verdict.intent)
            if isinstance(verdict, Approved)
            else verdict
            for verdict in verdicts
        ]
        await self._commit(facts, position)
        if orders:
            await asyncio.sleep(0)  # what became durable with the intents, a pause say, is taken in before they leave
        for order in orders:
            await self._send(order, now)
            if order.intent.id in self.sent_at:
                self.sent_at[order.intent.id] = self.clock.monotonic()

    async def _send(self, order: Approved, now: Millis) -> None:
        intent = order.intent
        if (bar := self._bar(intent)) is not None:  # since it was decided; on paper nobody would look it up, ever
            await self._not_taken(intent, f"not sent: {bar}", now)
            return
        if (age_ms := self.clock.now_ms() - now) > SEND_WITHIN_MS:
            await self._not_taken(intent, f"not sent: the disk took {age_ms} ms over it, the book has moved on", now)
            return
        ticket = self.calls.admit_order()
        if ticket is None:
            await self._not_taken(intent, "the venue's circuit is open: not sent", now)
            return
        try:
            async with self.calls.call(ticket):
                await self.venue.place(order, now)
        except VenueBusy as error:
            await self._not_taken(intent, str(error), now)
        except VenueUnavailable as error:  # sent or not: unknown. The look-up decides, never a second send (D8)
            self.doubtful[intent.id] = None
            await self.note(Severity.WARNING, "venue", f"no answer for {intent.id}: {error}")
        await self.commit_calls()

    def _bar(self, intent: OrderIntent) -> str | None:
        """Why the order may not leave now. Between this question and the call nothing else has its turn."""
        if self.closing:
            return "the floor is closing"
        if not self.room.fence():
            return "this floor may not trade now, another may lead"
        return self.room.desks[intent.agent].barred()

    async def _not_taken(self, intent: OrderIntent, text: str, now: Millis) -> None:
        at = max(now, self.clock.now_ms())
        refused = OrderRejected(at=at, agent=intent.agent, order=intent.id, text=text)
        await self._take([refused], self.room.state.position)

    async def commit_calls(self) -> None:
        """What the venue's answers, or their absence, mean for trading (R14)."""
        if self.calls.due():
            await self._see_through(self._commit_calls(), is_news=True)

    async def _commit_calls(self) -> None:
        async with self._deciding:  # many calls may fail at once, and the floor is paused once
            if facts := self.calls.due():
                await self._commit(facts, self.room.state.position)

    async def finished(self) -> None:
        """Return when every errand has been seen through: once the agents are stopped, there are no new ones."""
        while self._errands:
            await asyncio.wait(self._errands)

    async def drained(self) -> None:
        """Return when every follower with a feed has caught up."""
        for feed in tuple(self._feeds.values()):
            await feed.drained()
