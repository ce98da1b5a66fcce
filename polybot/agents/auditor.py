"""The auditor: checks every trade after the fact against the limits, the terms and its own books, and says so (R3)."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

from polybot.agents.base import FactFeed, Heart
from polybot.clock import Clock
from polybot.domain.events import AnyFact, Journaled, TradeAudited, TradeSettled
from polybot.domain.ids import AgentId, OrderId
from polybot.domain.units import Money
from polybot.risk.audit import Auditor
from polybot.risk.limits import Limits

AUDITOR = AgentId("auditor")


class AuditedFloor(Protocol):
    """What the auditor needs of the floor around it."""

    def past(self) -> Iterable[Journaled]:
        """Every fact journaled so far, from the first."""
        ...

    def desk_cash(self) -> Mapping[AgentId, Money] | None:
        """Each desk's posted cash, None while facts are on their way and the desks are ahead of the journal."""
        ...


class AuditorAgent:
    """Starts from the whole journal every time: its books rest on nothing but the facts."""

    def __init__(
        self,
        limits: Limits,
        heart: Heart,
        clock: Clock,
        floor: AuditedFloor,
        commit: Callable[[Sequence[AnyFact]], Awaitable[None]],
        attach: Callable[[FactFeed], None],
    ) -> None:
        self.heart, self._clock, self._floor, self._commit = heart, clock, floor, commit
        self._books = Auditor(limits=limits)
        self._compare_due = False
        self.feed = FactFeed(heart)
        attach(self.feed)

    async def run(self) -> None:
        last, missing = self._catch_up()
        await self._commit(missing)
        while True:
            entry = await self.feed.next()
            if entry.seq > last:
                await self._check(entry)
            self.feed.done()

    def close(self) -> None:
        self.feed.close()

    def _catch_up(self) -> tuple[int, list[AnyFact]]:
        """Fold the journal; the verdicts it should hold by now and does not (we died before writing them)."""
        said: Counter[OrderId] = Counter()
        due: list[TradeAudited] = []
        last = 0
        for entry in self._floor.past():
            if isinstance(entry.fact, TradeAudited):
                said[entry.fact.order] += 1
            due += [fact for fact in self._books.apply(entry.fact) if isinstance(fact, TradeAudited)]
            last = entry.seq
        missing: list[AnyFact] = []
        for verdict in due:
            if said[verdict.order] > 0:
                said[verdict.order] -= 1
            else:
                missing.append(verdict)
        return last, missing

    async def _check(self, entry: Journaled) -> None:
        verdicts: list[AnyFact] = [*self._books.apply(entry.fact)]
        self._compare_due = self._compare_due or isinstance(entry.fact, TradeSettled)
        cash = self._floor.desk_cash() if self._compare_due and self.feed.empty else None
        if cash is not None:
            self._compare_due = False
            verdicts += self._books.balances(self._clock.now_ms(), cash)
        await self._commit(verdicts)
