"""A far venue played by hand, and a dispatcher and a reconciler before it, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from polybot.chaos.clock import VirtualClock
from polybot.chaos.loop import VirtualLoop
from polybot.desk.desk import Desk
from polybot.desk.room import TradingRoom, equal_allocation
from polybot.desk.state import DeskState
from polybot.domain.events import (
    AnyFact,
    FillConfirmed,
    FillMatched,
    Journaled,
    Liquidity,
    MarketEvent,
    OrderAccepted,
    OrderClosed,
    VenueReply,
)
from polybot.domain.ids import OrderId, fill_id
from polybot.domain.markets import MarketState
from polybot.domain.order import CloseReason, OrderIntent
from polybot.domain.units import Millis
from polybot.floor.dispatch import Dispatcher
from polybot.floor.reconciler import Reconciler
from polybot.risk.gate import Approved
from polybot.risk.limits import Limits
from polybot.venue.base import VenueUnavailable
from tests.builders import CAPITAL, a_plan, book, listed, one_sided
from tests.facts import START, money, price, shares

MARKET = one_sided()
PATIENCE_MS = 10_000
FactType = TypeVar("FactType")


class ListJournal:
    """A journal that is a list; it takes a turn of the loop per append, as a disk does, and waits while the `gate` is
    shut."""

    def __init__(self) -> None:
        self.kept: list[Journaled] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: OSError | None = None

    async def append(self, facts: Sequence[AnyFact], position: int) -> list[Journaled]:
        if self.failure is not None:
            raise self.failure
        first = len(self.kept) + 1
        rows = [Journaled(seq=first + n, position=position, fact=fact) for n, fact in enumerate(facts)]
        self.kept += rows
        await asyncio.sleep(0)
        await self.gate.wait()
        return rows


class HandVenue:
    """Has of an order what `accounts` says, and tells on its stream what `stream` holds. Every call is kept, with its
    time; each takes so many seconds, and raises while `answers` (look-ups) or `takes_orders` is False."""

    may_lose_replies = True
    lookup_patience_ms = PATIENCE_MS

    def __init__(self, now: Callable[[], Millis]) -> None:
        self._now = now
        self.accounts: dict[OrderId, list[VenueReply]] = {}
        self.stream: list[VenueReply] = []
        self.placed: list[tuple[Millis, OrderId]] = []
        self.asked: list[tuple[Millis, OrderId]] = []
        self.cancelled: list[OrderId] = []
        self.reached = 0
        self.answers = self.takes_orders = True
        self.place_s = self.look_up_s = 0.0
        self.error: Exception = VenueUnavailable("timed out")

    async def place(self, order: Approved, now: Millis) -> None:
        self.placed.append((self._now(), order.intent.id))
        await asyncio.sleep(self.place_s)
        if not self.takes_orders:
            raise self.error

    async def cancel(self, order: OrderId, now: Millis) -> None:
        if not self.answers:
            raise self.error
        self.cancelled.append(order)

    async def reach(self) -> None:
        self.reached += 1
        if not self.answers:
            raise self.error

    async def account_of(self, intent: OrderIntent) -> list[VenueReply] | None:
        self.asked.append((self._now(), intent.id))
        account = self.accounts.get(intent.id)
        answer = None if account is None else list(account)
        await asyncio.sleep(self.look_up_s)
        if not self.answers:
            raise self.error
        return answer

    def advance(self, now: Millis) -> list[VenueReply]:
        told, self.stream = self.stream, []
        return told

    def observe(self, event: MarketEvent, state: MarketState | None) -> list[VenueReply]:
        return []


class VenueStage:
    """`agents` desks that all want to buy, a minute into the window; `play` runs a script in virtual time."""

    def __init__(self, *, agents: int = 1, limits: Limits | None = None, orders_per_window: int = 1) -> None:
        self.loop = VirtualLoop()
        self.clock = VirtualClock(self.loop, Millis(START + 60_000))
        self.limits = limits or Limits(floor_capital_share=1_000_000)
        self.plans = [a_plan(f"agent-{n:02}", orders_per_window=orders_per_window) for n in range(agents)]
        self.room = TradingRoom(self.plans, self.limits)
        self.venue = HandVenue(self.clock.now_ms)
        self._looks: asyncio.Task[None] | None = None

    def play(self, script: Callable[["VenueStage"], Awaitable[None]]) -> None:
        async def everything() -> None:
            self.journal = ListJournal()
            self.dispatcher = self.a_dispatcher()
            self.reconciler = Reconciler(self.room, self.venue, self.dispatcher, self.clock)
            for desk in self.room.desks.values():
                desk.prove_ends()
            await self.dispatcher.commit(equal_allocation(self.room, CAPITAL, self.clock.now_ms()))
            await self.take_in(listed(MARKET))
            try:
                await script(self)
            finally:
                await self.stop_looking()
                self.journal.gate.set()

        with self.loop:
            self.loop.run_until_complete(everything())

    async def take_in(self, event: MarketEvent | None = None) -> None:
        """An event, or just the passing of time, and everything that follows from it."""
        if event is None:
            await self.dispatcher.tick(self.clock.now_ms())
        else:
            await self.dispatcher.publish(event)
        await self.dispatcher.finished()

    def a_dispatcher(self) -> Dispatcher:
        return Dispatcher(self.room, self.venue, self.journal, self.clock, lockstep=False, patience_s=5)

    def start_looking(self) -> None:
        self._looks = asyncio.create_task(self.reconciler.run())

    async def stop_looking(self) -> None:
        if self._looks is not None:
            self._looks.cancel()
            await asyncio.wait([self._looks])

    def restart(self) -> None:
        """A new process finds the room as the journal tells it."""
        room = TradingRoom(self.plans, self.limits)
        for event in (listed(MARKET), self.a_book()):
            room.observe(event)
        for fact in self.facts:
            room.apply(fact)
        self.room = room
        self.dispatcher = self.a_dispatcher()
        self.reconciler = Reconciler(room, self.venue, self.dispatcher, self.clock)

    # -- what the desks do --------------------------------------------------------------------------------------------

    def decide(self) -> list[Approved]:
        """Every desk looks at a fresh book and wants its order, if it may."""
        event = self.a_book()
        state = self.room.observe(event)
        assert state is not None
        return [v for v in self.room.step(event, state, self.clock.now_ms()) if isinstance(v, Approved)]

    def decide_one(self, desk: Desk) -> list[Approved]:
        """This desk alone looks at a fresh book."""
        event = self.a_book()
        state = self.room.observe(event)
        assert state is not None
        return [v for v in desk.step(type(event), state, self.clock.now_ms()) if isinstance(v, Approved)]

    async def send(self) -> list[OrderIntent]:
        approved = self.decide()
        await self.dispatcher.carry_out(approved, self.clock.now_ms())
        return [order.intent for order in approved]

    def a_book(self) -> MarketEvent:
        return book(MARKET, self.clock.now_ms() - MARKET.window_start)

    # -- what the venue has -------------------------------------------------------------------------------------------

    def has(self, intent: OrderIntent, *replies: VenueReply) -> None:
        self.venue.accounts.setdefault(intent.id, []).extend(replies)

    def accepted(self, intent: OrderIntent) -> OrderAccepted:
        return OrderAccepted(at=self.clock.now_ms(), agent=intent.agent, order=intent.id)

    def matched(self, intent: OrderIntent, size: str = "5", number: int = 1) -> FillMatched:
        return FillMatched(
            at=self.clock.now_ms(),
            agent=intent.agent,
            fill=fill_id(intent.id, number),
            order=intent.id,
            market=intent.market,
            outcome=intent.outcome,
            side=intent.side,
            price=price("0.52"),
            shares=shares(size),
            fee=money("0.01"),
            liquidity=Liquidity.TAKER,
            available=shares("100"),
        )

    def confirmed(self, fill: FillMatched) -> FillConfirmed:
        return FillConfirmed(at=self.clock.now_ms(), agent=fill.agent, fill=fill.fill, order=fill.order)

    def closed(self, intent: OrderIntent, reason: CloseReason = CloseReason.KILLED) -> OrderClosed:
        return OrderClosed(at=self.clock.now_ms(), agent=intent.agent, order=intent.id, reason=reason)

    # -- what came of it ----------------------------------------------------------------------------------------------

    @property
    def facts(self) -> list[AnyFact]:
        return [entry.fact for entry in self.journal.kept]

    def of(self, kind: type[FactType]) -> list[FactType]:
        return [fact for fact in self.facts if isinstance(fact, kind)]

    def asked(self, order: OrderId) -> list[int]:
        """When the order was looked up, in milliseconds since it began."""
        return [at - START - 60_000 for at, asked in self.venue.asked if asked == order]


def desk_of(stage: VenueStage, intent: OrderIntent) -> DeskState:
    return stage.room.desks[intent.agent].state


def end_of(stage: VenueStage, intent: OrderIntent) -> CloseReason | None:
    """Why it ended, None while it is open."""
    ended = desk_of(stage, intent).ended.get(intent.id)
    return ended.reason if ended is not None else None
