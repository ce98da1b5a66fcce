"""Keeps our books and the venue's the same: looks up what was not answered, does not fit, or has been silent too long.

An order is never sent twice (D8): an unknown answer leads to a look-up, which is safe to repeat. Whatever the venue's
account of an order holds that we do not have is taken in; an order that it does not know is closed as never sent, once
it is too late for it to turn up.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from math import ceil
from operator import itemgetter

import msgspec
from loguru import logger

from polybot.clock import Clock
from polybot.desk.room import TradingRoom
from polybot.domain.events import FillConfirmed, FillFailed, FillMatched, OrderClosed, OrderRejected, VenueReply
from polybot.domain.ids import MarketId, OrderId
from polybot.domain.order import CloseReason, Intended, OrderIntent
from polybot.domain.units import Millis
from polybot.floor.dispatch import Dispatcher
from polybot.venue.base import Venue, VenueBusy, VenueUnavailable

LOOK_EVERY_S = 1.0
ANSWER_MS_MAX = 3_000
"""An order that was sent is answered within this, or looked up."""
FINAL_MS_MAX = 30_000
"""A fill is confirmed or failed within this, or its order looked up."""
SILENT_MS_MAX = 60_000
"""Every open order is looked up this often, whatever its stream says."""
AGAIN_MS_FIRST, AGAIN_MS_MAX = 1_000, 30_000
"""Between two look-ups of the same order: doubled each time, at most so long."""
LOOK_UPS_MAX = 20
"""In one round; the others wait for the next, which follows at once."""


class _Answer(msgspec.Struct, frozen=True):
    account: list[VenueReply] | None


class _Doubt(msgspec.Struct):
    """When an order may be looked up again at the earliest, and how long to wait after that."""

    not_before: Millis = Millis(0)
    wait_ms: int = AGAIN_MS_FIRST


class Reconciler:
    """Run `run()` as a task beside the agents; `look()` is one round of it."""

    def __init__(
        self,
        room: TradingRoom,
        venue: Venue,
        dispatcher: Dispatcher,
        clock: Clock,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._look_every_s = look_every_s
        self.room, self.venue, self.dispatcher, self._clock = room, venue, dispatcher, clock
        self._doubts: dict[OrderId, _Doubt] = {}
        self._began_at = clock.monotonic()
        self._running = False
        self.last_look = clock.monotonic()

    async def run(self) -> None:
        """For ever; raises only what the journal raises."""
        self._running = True
        try:
            while True:
                some_are_left = await self.look()
                await asyncio.sleep(0 if some_are_left else self._look_every_s)
        finally:
            self._running = False

    def silent_for(self) -> float:
        """Seconds since it last looked anything up or saw nothing to look up; 0 while it does not run."""
        return self._clock.monotonic() - self.last_look if self._running else 0.0

    async def look(self) -> bool:
        """Look up every order that it is time for, one by one, and cancel strays. True: some are left for the next
        round."""
        self.last_look = self._clock.monotonic()
        now = self._clock.now_ms()
        doubted = self._in_doubt(now)
        some_are_left = len(doubted) > LOOK_UPS_MAX
        if not doubted and self.dispatcher.calls.wants_probe:
            await self._ask(None)
        for intent in doubted[:LOOK_UPS_MAX]:
            if not await self._look_up(intent):
                some_are_left = False  # the venue does not answer: nor would it for the others
                break
        for order in tuple(self.dispatcher.strays):
            await self._cancel(order)
        return some_are_left

    async def look_at_all(self) -> int:
        """At start-up: every open order, once. Returns how many were closed because they never reached the venue."""
        before = [known.intent for desk in self.room.desks.values() for known in desk.state.orders.values()]
        for intent in before:
            if not await self._look_up(intent):
                break
        ended = (self.room.desks[intent.agent].state.ended.get(intent.id) for intent in before)
        return sum(order is not None and order.reason is CloseReason.NEVER_SENT for order in ended)

    # -- which --------------------------------------------------------------------------------------------------------

    def _in_doubt(self, now: Millis) -> list[OrderIntent]:
        """Orders to look up now, first those that have waited longest, whichever desk's they are: where more come to be
        asked after than can be, each has its turn. What is remembered of others is dropped."""
        doubts: dict[OrderId, _Doubt] = {}
        found: list[tuple[Millis, OrderIntent]] = []
        for intent, since in self._candidates(now):
            doubt = doubts[intent.id] = self._doubts.get(intent.id) or _Doubt()
            if doubt.not_before <= now and (since <= now or intent.id in self.dispatcher.doubtful):
                found.append((max(min(since, now), doubt.not_before), intent))
        self._doubts = doubts
        for remembered in (self.dispatcher.sent_at, self.dispatcher.doubtful):
            for order in [order for order in remembered if order not in doubts]:
                del remembered[order]
        found.sort(key=itemgetter(0))
        return [intent for _, intent in found]

    def _candidates(self, now: Millis) -> Iterator[tuple[OrderIntent, Millis]]:
        """Every order that may need a look, with the time from which it does."""
        for desk in self.room.desks.values():
            state = desk.state
            waiting: dict[OrderId, Millis] = {}
            for fill in state.provisional.values():
                waiting[fill.order] = min(waiting.get(fill.order, fill.at), fill.at)
            for known in state.orders.values():
                intent = known.intent
                patience = ANSWER_MS_MAX if isinstance(known, Intended) else SILENT_MS_MAX
                yield intent, Millis(min(intent.decided_at + patience, self._end(intent.market, now) + ANSWER_MS_MAX))
            if not (waiting or desk.unproven or self.dispatcher.doubtful):
                continue
            for order, ended in state.ended.items():
                if order in waiting:
                    yield ended.intent, Millis(waiting[order] + FINAL_MS_MAX)
                elif order in desk.unproven or order in self.dispatcher.doubtful:
                    yield ended.intent, Millis(ended.intent.decided_at + ANSWER_MS_MAX)

    def _end(self, market: MarketId, now: Millis) -> Millis:
        known = self.room.state.markets.get(market)
        return known.window_end if known is not None else now

    # -- what is done -------------------------------------------------------------------------------------------------

    async def _look_up(self, intent: OrderIntent) -> bool:
        """True if the venue answered."""
        order = intent.id
        doubt = self._doubts.setdefault(order, _Doubt())
        asked_at = self._clock.monotonic()
        answer = await self._ask(intent)
        self._again(doubt)
        if answer is None:
            return False
        self.dispatcher.doubtful.pop(order, None)  # what its account leaves in doubt is looked up again
        account = answer.account
        if account is None:
            await self._unknown(intent, doubt, asked_at)
            return True
        await self.dispatcher.take(account)
        if is_over(account):
            self.room.proven(intent.agent, order)
            self.dispatcher.strays.pop(order, None)  # nothing of it is open there any more
        return True

    async def _ask(self, intent: OrderIntent | None) -> "_Answer | None":
        """After an order, or whether the venue answers at all. None where it does not, or is not to be asked now."""
        calls = self.dispatcher.calls
        ticket = calls.admit_look_up()
        if ticket is None:
            return None
        self.last_look = self._clock.monotonic()
        answer: _Answer | None = None
        try:
            async with calls.call(ticket):
                if intent is None:
                    await self.venue.reach()
                    answer = _Answer(None)
                else:
                    answer = _Answer(await self.venue.account_of(intent))
        except (VenueUnavailable, VenueBusy) as error:
            logger.bind(action="look_up").debug("{} could not be looked up: {}", intent and intent.id, error)
        await self.dispatcher.commit_calls()
        return answer

    async def _unknown(self, intent: OrderIntent, doubt: _Doubt, asked_at: float) -> None:
        """The venue does not know it: it is on its way, or was never sent and is not sent again.

        What counts is when we asked: an answer that took long may be from before it turned up. Times are monotonic: a
        clock that jumped ahead has not made an order arrive sooner.
        """
        now, sent_at = self._clock.now_ms(), self._sent_at(intent)
        patience_s = self.venue.lookup_patience_ms / 1000
        if sent_at is None or asked_at - sent_at < patience_s:
            left_s = 0.0 if sent_at is None else sent_at + patience_s - self._clock.monotonic()
            doubt.not_before = Millis(min(doubt.not_before, now + max(ceil(left_s * 1000), AGAIN_MS_FIRST)))
            return
        await self.dispatcher.take([never_sent(intent, now)])
        if intent.id not in self.room.desks[intent.agent].state.orders:  # else the venue knew it before: it errs now
            self.room.proven(intent.agent, intent.id)

    def _sent_at(self, intent: OrderIntent) -> float | None:
        """When it was sent at the latest; None if it still is on its way through our own hands.

        One of an earlier process was sent before this one began, whatever its journal's last words.
        """
        return self.dispatcher.sent_at.get(intent.id, self._began_at)

    def _again(self, doubt: _Doubt) -> None:
        doubt.not_before = Millis(self._clock.now_ms() + doubt.wait_ms)
        doubt.wait_ms = min(2 * doubt.wait_ms, AGAIN_MS_MAX)

    async def _cancel(self, order: OrderId) -> None:
        ticket = self.dispatcher.calls.admit_order()
        if ticket is None:
            return
        with suppress(VenueUnavailable, VenueBusy):  # then it is asked for again in the next round
            async with self.dispatcher.calls.call(ticket):
                await self.venue.cancel(order, self._clock.now_ms())
            self.dispatcher.strays.pop(order, None)
        await self.dispatcher.commit_calls()


def never_sent(intent: OrderIntent, now: Millis) -> OrderClosed:
    return OrderClosed(at=now, agent=intent.agent, order=intent.id, reason=CloseReason.NEVER_SENT)


def is_over(account: list[VenueReply]) -> bool:
    """Whether an account tells an order's whole story: it has ended, and every fill is confirmed or has failed."""
    matched = {reply.fill for reply in account if isinstance(reply, FillMatched)}
    final = {reply.fill for reply in account if isinstance(reply, FillConfirmed | FillFailed)}
    return matched <= final and any(isinstance(reply, OrderClosed | OrderRejected) for reply in account)
