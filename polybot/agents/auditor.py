"""The auditor: checks every trade after the fact against the limits, the terms and its own books, and says so (R3)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

from polybot.agents.base import Badge, FactFeed, Heart
from polybot.clock import Clock
from polybot.domain.events import AnyFact, Journaled, TradeSettled
from polybot.domain.ids import AgentId
from polybot.domain.units import Money
from polybot.risk.audit_memory import AuditMemory, CatchingUp

AUDITOR = AgentId("auditor")
FACTS_AT_ONCE = 500
"""When catching up: some 8 ms of work between two turns of the loop, and fewer than one append may hold."""


class AuditedFloor(Protocol):
    """What the auditor needs of the floor around it."""

    def past(self, after_seq: int) -> Iterable[Journaled]:
        """Every fact journaled so far, from the one after `after_seq`."""
        ...

    def desk_cash(self) -> Mapping[AgentId, Money] | None:
        """Each desk's posted cash, None while facts are on their way and the desks are ahead of the journal."""
        ...


class AuditorAgent:
    """Its books rest on nothing but the facts; `memory` is its own, from a checkpoint or empty."""

    def __init__(
        self,
        memory: AuditMemory,
        heart: Heart,
        clock: Clock,
        floor: AuditedFloor,
        commit: Callable[[Sequence[AnyFact]], Awaitable[None]],
        attach: Callable[[FactFeed], None],
    ) -> None:
        self.memory, self.heart, self._clock, self._floor = memory, heart, clock, floor
        self._badge = Badge()
        self._commit = self._badge.door(commit)
        self._compare_due = False
        self.caught_up = False
        """From then on, whenever no fact is on its way, `memory` is fit for a checkpoint."""
        self.feed = FactFeed(heart)
        attach(self.feed)

    async def run(self) -> None:
        self.heart.work_arrived()
        await self._catch_up()
        self.caught_up = True
        self.heart.beat(more_waiting=not self.feed.empty)
        while True:
            entry = await self.feed.next()
            if entry.seq > self.memory.seq:
                await self._check(entry)
            self.feed.done()

    def close(self) -> None:
        self._badge.revoke()
        self.caught_up = False
        self.feed.close()

    async def _catch_up(self) -> None:
        """By parts: without a checkpoint it is the whole journal, which must neither hold up the loop nor look like a
        hang; and under limits that are set anew there may be more verdicts than one append takes."""
        catching_up = CatchingUp(self.memory)
        for number, entry in enumerate(self._floor.past(self.memory.seq), 1):
            catching_up.take(entry)
            if number % FACTS_AT_ONCE == 0:
                self.heart.beat(more_waiting=True)
                await asyncio.sleep(0)
                self._badge.require()
        missing = catching_up.missing()
        for first in range(0, len(missing), FACTS_AT_ONCE):
            await self._commit(missing[first : first + FACTS_AT_ONCE])
            self.heart.beat(more_waiting=True)

    async def _check(self, entry: Journaled) -> None:
        self._badge.require()  # the books are its successor's as well
        verdicts: list[AnyFact] = [*self.memory.books.apply(entry.fact)]
        self.memory.seq = entry.seq  # together with the books, and before any wait
        self._compare_due = self._compare_due or isinstance(entry.fact, TradeSettled)
        cash = self._floor.desk_cash() if self._compare_due and self.feed.empty else None
        if cash is not None:
            self._compare_due = False
            verdicts += self.memory.books.balances(self._clock.now_ms(), cash)
        await self._commit(verdicts)
