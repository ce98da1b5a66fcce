"""The one entrance: the same facts in the same order as a replay, durable before they act, and never half of them."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from polybot.agents.base import FactFeed, Heart
from polybot.agents.trader import Trader
from polybot.clock import ReplayClock, SystemClock
from polybot.desk.room import TradingRoom, equal_allocation
from polybot.domain.events import (
    AnyFact,
    FillMatched,
    IntentRecorded,
    Journaled,
    MarketOpened,
    MarketSettled,
    OrderAccepted,
    OrderRejected,
    Severity,
    SystemNoted,
    TradingPaused,
    VenueReply,
    WindowRecorded,
)
from polybot.domain.ids import AgentId, OrderId
from polybot.domain.units import Millis
from polybot.floor.dispatch import SEND_WITHIN_MS, Dispatcher
from polybot.risk.limits import Limits
from polybot.venue.base import VenueBusy, VenueUnavailable
from polybot.venue.matching import Simulator, new_simulator_state
from polybot.venue.paper import PaperVenue
from tests.builders import Floor, a_plan, book, first_windows, listed, one_sided, resolved, shipped_floor
from tests.facts import START
from tests.floor.venues import ListJournal, VenueStage

AGENT = AgentId("scripted")
MARKET = one_sided()
EVENTS = (listed(MARKET), book(MARKET, 60_000), book(MARKET, 62_000), resolved(MARKET))


class RunningFloor:
    """The real traders and the paper venue behind a dispatcher, in lockstep, over what a replay would play."""

    def __init__(self, like: Floor, venue: Any = None) -> None:
        self.room = TradingRoom(like.plans, like.limits)
        simulator = Simulator(like.model, self.room.markets.by_id, new_simulator_state(like.capital))
        self.journal, self.clock = ListJournal(), ReplayClock(Millis(START))
        self.dispatcher = Dispatcher(
            self.room, venue or PaperVenue(simulator), self.journal, self.clock, lockstep=True, patience_s=5
        )
        self.capital, self.began = like.capital, like.facts[0].at
        self.tasks: dict[AgentId, asyncio.Task[None]] = {}

    async def __aenter__(self) -> "RunningFloor":
        await self.dispatcher.commit(equal_allocation(self.room, self.capital, self.began))
        for agent, desk in self.room.desks.items():
            attach = partial(self.dispatcher.attach_mailbox, agent)
            trader = Trader(desk, Heart(SystemClock().monotonic), self.dispatcher, self.dispatcher.carry_out, attach)
            self.tasks[agent] = asyncio.create_task(trader.run())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.journal.gate.set()
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)

    async def play(self, events: Sequence[Any]) -> None:
        for event in events:
            self.clock.move_to(event.received)
            await self.dispatcher.publish(event)

    @property
    def facts(self) -> list[AnyFact]:
        return [entry.fact for entry in self.journal.kept]


async def test_the_running_floor_does_what_a_replay_does_fact_by_fact():
    events = first_windows(2)
    replayed = shipped_floor(())
    replayed.play(*events)
    async with RunningFloor(replayed) as floor:
        await floor.play(events)
        assert floor.facts == replayed.facts
        assert sum(isinstance(fact, FillMatched) for fact in floor.facts) >= 4
        assert [entry.position for entry in floor.journal.kept] == replayed.positions
        assert floor.room.state.desks == replayed.room.state.desks


async def test_so_does_a_floor_of_five_scripted_agents_that_all_want_the_same():
    like = Floor(
        *(a_plan(f"agent-{n}", orders_per_window=5) for n in range(5)), limits=Limits(floor_capital_share=100_000)
    )
    like.play(*EVENTS)
    async with RunningFloor(like) as floor:
        await floor.play(EVENTS)
        assert floor.facts == like.facts


async def test_an_intent_is_durable_before_its_order_is_sent():
    class WatchedVenue:
        may_lose_replies = False

        def __init__(self) -> None:
            self.journaled_at_sending: list[bool] = []

        async def place(self, order: Any, now: Millis) -> None:
            intents = [f.intent.id for f in floor.facts if isinstance(f, IntentRecorded)]
            self.journaled_at_sending.append(order.intent.id in intents and floor.journal.gate.is_set())

        def advance(self, now: Millis) -> list[Any]:
            return []

        def observe(self, event: Any, state: Any) -> list[Any]:
            return []

    venue = WatchedVenue()
    floor = RunningFloor(Floor(a_plan()), venue)
    async with floor:
        await floor.play(EVENTS[:1])
        floor.journal.gate.clear()
        playing = asyncio.create_task(floor.play(EVENTS[1:2]))
        await asyncio.sleep(0.01)
        assert venue.journaled_at_sending == []  # the disk is not done yet
        floor.journal.gate.set()
        await playing
        assert venue.journaled_at_sending == [True]


class TestNeverHalf:
    async def test_a_trader_stopped_while_its_intent_is_being_written_still_has_its_order_sent(self):
        async with RunningFloor(Floor(a_plan())) as floor:
            await floor.play(EVENTS[:1])
            floor.journal.gate.clear()
            playing = asyncio.create_task(floor.play(EVENTS[1:2]))
            await asyncio.sleep(0.01)
            assert not floor.dispatcher.settled  # no checkpoint now: the desk is ahead of the journal
            floor.tasks[AGENT].cancel()
            await asyncio.sleep(0)
            floor.journal.gate.set()
            playing.cancel()
            await asyncio.sleep(0.01)
            assert floor.dispatcher.settled
            await floor.dispatcher.commit(floor.dispatcher.venue.advance(Millis(START + 61_000)))
            assert [f.order for f in floor.facts if isinstance(f, OrderAccepted)] == ["scripted-000001"]

    async def test_facts_journaled_for_somebody_who_is_stopped_are_taken_in_all_the_same(self):
        async with RunningFloor(Floor(a_plan())) as floor:
            followed: list[Journaled] = []
            floor.dispatcher.follow(followed.extend)
            floor.journal.gate.clear()
            paused = TradingPaused(
                at=Millis(START), agent=None, breaker="by_hand", value=1, limit=0, text="", until=None
            )
            asking = asyncio.create_task(floor.dispatcher.commit([paused]))
            await asyncio.sleep(0.01)
            asking.cancel()
            floor.journal.gate.set()
            await asyncio.sleep(0.01)
            assert "by_hand" in floor.room.state.pauses
            assert [entry.fact for entry in followed] == [paused]

    async def test_the_journals_error_reaches_whoever_asked(self):
        async with RunningFloor(Floor(a_plan())) as floor:

            async def broken(facts: Sequence[AnyFact], position: int) -> list[Journaled]:
                raise OSError("disk full")

            floor.journal.append = broken  # type: ignore[method-assign]
            with pytest.raises(OSError, match="disk full"):
                await floor.dispatcher.note(Severity.INFO, "test", "hello")
            assert floor.dispatcher.settled

    async def test_nothing_to_commit_is_no_work(self):
        async with RunningFloor(Floor(a_plan())) as floor:
            before = len(floor.journal.kept)
            await floor.dispatcher.commit([])
            assert len(floor.journal.kept) == before


class TestAVenueThatDoesNotAnswer:
    class Mute:
        may_lose_replies = False

        async def place(self, order: Any, now: Millis) -> None:
            raise VenueUnavailable("timed out")

        def advance(self, now: Millis) -> list[Any]:
            return []

        def observe(self, event: Any, state: Any) -> list[Any]:
            return []

    def limits(self) -> Limits:
        return Limits(call_failure_calls_min=3)

    async def play(self, markets: int) -> RunningFloor:
        like = Floor(a_plan(), limits=self.limits())
        floor = RunningFloor(like, self.Mute())
        async with floor:
            for number in range(markets):
                market = one_sided(number, window_start=Millis(START + number))
                await floor.play([listed(market, START + 60_000), book(market, 60_000)])
        return floor

    async def test_is_never_sent_the_same_order_twice_and_a_person_is_told(self):
        floor = await self.play(1)
        (note,) = [f for f in floor.facts if isinstance(f, SystemNoted)]
        assert (note.severity, note.component) == (Severity.WARNING, "venue")
        assert "scripted-000001: timed out" in note.text
        assert list(floor.room.desks[AGENT].state.orders) == [OrderId("scripted-000001")]

    async def test_too_few_failed_calls_pause_nothing(self):
        assert not [f for f in (await self.play(2)).facts if isinstance(f, TradingPaused)]

    async def test_too_many_pause_the_floor_once(self):
        floor = await self.play(5)
        (paused,) = [f for f in floor.facts if isinstance(f, TradingPaused)]
        assert (paused.breaker, paused.agent, paused.value, paused.limit) == ("venue_calls", None, 1.0, 0.1)
        assert "venue_calls" in floor.room.state.pauses


async def test_a_stuck_trader_does_not_hold_the_tape_for_ever():
    floor = RunningFloor(Floor(a_plan()))
    floor.dispatcher._patience_s = 0.02
    async with floor:
        floor.room.desks[AGENT].strategy.script = lambda view: None  # type: ignore[attr-defined]
        floor.tasks[AGENT].cancel()  # it is gone, and nobody has closed its mailbox yet
        await asyncio.wait_for(floor.play(EVENTS[:2]), 1)


async def test_drained_waits_for_every_feed_that_somebody_still_reads():
    async with RunningFloor(Floor(a_plan())) as floor:
        read, gone = FactFeed(Heart(SystemClock().monotonic)), FactFeed(Heart(SystemClock().monotonic))
        floor.dispatcher.attach_feed(AgentId("auditor"), read)
        floor.dispatcher.attach_feed(AgentId("monitor"), gone)
        gone.close()
        await floor.dispatcher.note(Severity.INFO, "test", "hello")
        waiting = asyncio.create_task(floor.dispatcher.drained())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await read.next()
        read.done()
        reading = asyncio.create_task(read.next())
        await asyncio.wait_for(waiting, 1)
        reading.cancel()


async def test_fills_reach_the_feeds_in_the_order_of_the_journal():
    async with RunningFloor(Floor(a_plan())) as floor:
        feed = FactFeed(Heart(SystemClock().monotonic))
        floor.dispatcher.attach_feed(AgentId("auditor"), feed)
        before = len(floor.journal.kept)
        await floor.play(EVENTS)
        seqs = [(await feed.next()).seq for _ in range(len(floor.journal.kept) - before)]
        assert seqs == list(range(before + 1, len(floor.journal.kept) + 1))
        assert any(isinstance(fact, FillMatched) for fact in floor.facts)


# -- what leaves, and what does not -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("disk_s", "leaves"), [(SEND_WITHIN_MS / 1000, True), (SEND_WITHIN_MS / 1000 + 0.01, False)])
def test_an_order_leaves_only_within_two_seconds_of_its_decision(disk_s: float, leaves: bool) -> None:
    async def script(stage: VenueStage) -> None:
        (order,) = stage.decide()
        stage.journal.gate.clear()
        carrying = stage.dispatcher.carry_out([order], stage.clock.now_ms())
        await asyncio.sleep(disk_s)
        stage.journal.gate.set()
        await carrying
        assert [placed for _, placed in stage.venue.placed] == [order.intent.id] * leaves
        texts = [fact.text for fact in stage.of(OrderRejected)]
        assert texts == [] if leaves else ["not sent: the disk took 2010 ms over it, the book has moved on"]
        assert (stage.room.exposure() > 0) is leaves

    VenueStage().play(script)


def test_an_order_a_busy_venue_did_not_take_is_over_and_its_money_free() -> None:
    async def script(stage: VenueStage) -> None:
        stage.venue.takes_orders, stage.venue.error = False, VenueBusy("429 Too Many Requests")
        (intent,) = await stage.send()
        (rejected,) = stage.of(OrderRejected)
        assert (rejected.order, rejected.text) == (intent.id, "429 Too Many Requests")
        assert stage.room.exposure() == 0
        assert stage.dispatcher.doubtful == {}
        assert len(stage.venue.placed) == 1

    VenueStage().play(script)


def test_an_order_decided_by_a_floor_that_may_not_trade_by_now_is_not_sent_and_its_money_is_free_again() -> None:
    async def script(stage: VenueStage) -> None:
        (order,) = stage.decide()
        stage.room.fence = lambda: False
        await stage.dispatcher.carry_out([order], stage.clock.now_ms())
        assert stage.venue.placed == []
        assert [fact.order for fact in stage.of(OrderRejected)] == [order.intent.id]
        assert (stage.room.exposure(), stage.dispatcher.doubtful) == (0, {})

    VenueStage().play(script)


@pytest.mark.parametrize("agent", [None, AgentId("agent-00")])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_pause_that_is_durable_before_an_order_leaves_keeps_it_here(agent: AgentId | None, at_once: bool) -> None:
    """Also one that the disk takes in the same breath as the intent."""

    async def script(stage: VenueStage) -> None:
        (order,) = stage.decide()
        stage.journal.gate.clear()
        carrying = stage.dispatcher.carry_out([order], stage.clock.now_ms())
        await asyncio.sleep(0.1)
        pausing = asyncio.create_task(stage.dispatcher.commit([a_pause(stage, agent)]))
        await asyncio.sleep(0.1)
        stage.journal.gate.set()
        await asyncio.gather(carrying, pausing)
        assert stage.venue.placed == []
        (rejected,) = stage.of(OrderRejected)
        who = "floor" if agent is None else "agent"
        assert (rejected.order, rejected.text) == (order.intent.id, f"not sent: the {who} is paused (by_hand)")
        assert (stage.room.exposure(), stage.dispatcher.doubtful) == (0, {})

    async def one_after_the_other(stage: VenueStage) -> None:
        (order,) = stage.decide()
        await stage.dispatcher.commit([a_pause(stage, agent)])
        await stage.dispatcher.carry_out([order], stage.clock.now_ms())
        assert stage.venue.placed == []
        assert [fact.order for fact in stage.of(OrderRejected)] == [order.intent.id]

    VenueStage().play(script if at_once else one_after_the_other)


def test_another_agents_pause_keeps_nobody_elses_order_here() -> None:
    async def script(stage: VenueStage) -> None:
        orders = stage.decide()
        await stage.dispatcher.commit([a_pause(stage, AgentId("agent-00"))])
        await stage.dispatcher.carry_out(orders, stage.clock.now_ms())
        assert [order for _, order in stage.venue.placed] == [OrderId("agent-01-000001")]

    VenueStage(agents=2).play(script)


def test_the_second_of_two_orders_is_asked_about_anew_after_the_first_was_sent() -> None:
    async def script(stage: VenueStage) -> None:
        stage.venue.place_s = 1
        orders = stage.decide()
        carrying = stage.dispatcher.carry_out(orders, stage.clock.now_ms())
        await asyncio.sleep(0.5)
        await stage.dispatcher.commit([a_pause(stage, None)])
        await carrying
        assert [order for _, order in stage.venue.placed] == [orders[0].intent.id]
        assert [fact.order for fact in stage.of(OrderRejected)] == [orders[1].intent.id]

    VenueStage(agents=2).play(script)


def test_nothing_leaves_a_floor_that_is_being_closed_and_its_last_errands_are_seen_through() -> None:
    async def script(stage: VenueStage) -> None:
        (order,) = stage.decide()
        stage.journal.gate.clear()
        carrying = stage.dispatcher.carry_out([order], stage.clock.now_ms())
        await asyncio.sleep(0.1)
        stage.dispatcher.closing = True
        carrying.cancel()  # its trader was stopped
        finishing = asyncio.create_task(stage.dispatcher.finished())
        await asyncio.sleep(0.1)
        assert not finishing.done()
        stage.journal.gate.set()
        await finishing
        assert stage.venue.placed == []
        assert [fact.text for fact in stage.of(OrderRejected)] == ["not sent: the floor is closing"]
        assert stage.dispatcher.settled

    VenueStage().play(script)


def a_pause(stage: VenueStage, agent: AgentId | None) -> TradingPaused:
    return TradingPaused(at=stage.clock.now_ms(), agent=agent, breaker="by_hand", value=1, limit=0, text="", until=None)


# -- while the disk takes its time -------------------------------------------------------------------------------------


def test_market_data_does_not_wait_for_the_disk_and_what_the_venue_said_is_taken_in_in_its_order() -> None:
    async def script(stage: VenueStage) -> None:
        (intent,) = await stage.send()
        stage.journal.gate.clear()
        fill = stage.matched(intent)
        for reply in (stage.accepted(intent), fill, stage.closed(intent)):
            stage.venue.stream = [reply]
            await stage.dispatcher.publish(stage.a_book())
        position, desk = stage.room.state.position, stage.room.desks[intent.agent]
        assert desk.state.tally(MARKET.id).fills == 0, "it is not durable yet"
        await stage.dispatcher.publish(stage.a_book())
        assert stage.room.state.position == position + 1
        assert not stage.dispatcher.settled
        stage.journal.gate.set()
        await stage.dispatcher.finished()
        assert stage.facts[-3:] == [stage.accepted(intent), fill, stage.closed(intent)]
        assert desk.state.tally(MARKET.id).fills == 1
        assert stage.dispatcher.settled

    VenueStage().play(script)


def test_nobody_trades_on_what_is_known_before_it_is_taken_in_and_then_on_the_newest_book() -> None:
    async def script(stage: VenueStage) -> None:
        first, second = stage.room.desks.values()
        attach = partial(stage.dispatcher.attach_mailbox, second.agent)
        trader = Trader(second, Heart(stage.clock.monotonic), stage.dispatcher, stage.dispatcher.carry_out, attach)
        trading = asyncio.create_task(trader.run())
        await stage.dispatcher.carry_out(stage.decide_one(first), stage.clock.now_ms())
        (intent,) = (order.intent for order in first.state.orders.values())
        stage.journal.gate.clear()
        stage.venue.stream = [stage.accepted(intent)]
        await stage.dispatcher.publish(stage.a_book())
        await asyncio.sleep(0.5)
        await stage.dispatcher.publish(stage.a_book())
        assert not second.state.orders
        stage.journal.gate.set()
        await stage.dispatcher.finished()
        await asyncio.sleep(0.1)
        (mine,) = (order.intent for order in second.state.orders.values())
        assert mine.decided_at == intent.decided_at + 500
        trading.cancel()

    VenueStage(agents=2).play(script)


def test_a_look_that_comes_to_nothing_waits_for_no_disk() -> None:
    async def script(stage: VenueStage) -> None:
        (intent,) = await stage.send()
        (desk,) = stage.room.desks.values()
        attach = partial(stage.dispatcher.attach_mailbox, desk.agent)
        trader = Trader(desk, Heart(stage.clock.monotonic), stage.dispatcher, stage.dispatcher.carry_out, attach)
        trading = asyncio.create_task(trader.run())
        before = desk.state.tally(MARKET.id).evaluations
        stage.journal.gate.clear()
        stage.venue.stream = [stage.accepted(intent)]
        await stage.dispatcher.publish(stage.a_book())
        await asyncio.sleep(0.1)
        assert stage.dispatcher.is_behind
        assert desk.state.tally(MARKET.id).evaluations == before + 1
        trading.cancel()

    VenueStage().play(script)


def test_what_a_look_has_decided_is_carried_out_though_its_trader_is_stopped_before_its_turn() -> None:
    async def script(stage: VenueStage) -> None:
        (desk,) = stage.room.desks.values()
        attach = partial(stage.dispatcher.attach_mailbox, desk.agent)
        trader = Trader(desk, Heart(stage.clock.monotonic), stage.dispatcher, stage.dispatcher.carry_out, attach)
        trading = asyncio.create_task(trader.run())
        await asyncio.sleep(0)
        await stage.dispatcher.publish(stage.a_book())
        await asyncio.sleep(0)  # the look's turn of the loop; the trader's own is the next
        assert desk.state.orders
        trading.cancel()
        trader.close()
        await stage.dispatcher.finished()
        assert [order for _, order in stage.venue.placed] == list(desk.state.orders) != []

    VenueStage().play(script)


def test_a_disk_that_fails_is_the_floors_failure_though_no_event_waits_for_it() -> None:
    async def script(stage: VenueStage) -> None:
        (intent,) = await stage.send()
        stage.venue.stream = [stage.accepted(intent)]
        stage.journal.failure = OSError("the disk is gone")
        await stage.dispatcher.publish(stage.a_book())
        await asyncio.sleep(1)
        assert stage.dispatcher.failure is stage.journal.failure

    VenueStage().play(script)


# -- many at once -----------------------------------------------------------------------------------------------------


def test_what_is_due_is_committed_once_though_time_and_events_come_in_at_once() -> None:
    async def script(stage: VenueStage) -> None:
        await asyncio.sleep(900)
        now = stage.clock.now_ms()
        stage.journal.gate.clear()
        entering = [
            asyncio.create_task(errand)
            for errand in (
                stage.dispatcher.tick(now),
                stage.dispatcher.publish(resolved(MARKET)),
                stage.dispatcher.tick(now),
                stage.dispatcher.publish(listed(one_sided(1), now)),
                stage.dispatcher.tick(now),
            )
        ]
        await asyncio.sleep(1)
        stage.journal.gate.set()
        await asyncio.gather(*entering)
        assert len(stage.of(WindowRecorded)) == 3
        assert [fact.market.id for fact in stage.of(MarketOpened)] == [MARKET.id, one_sided(1).id]
        assert len(stage.of(MarketSettled)) == 1

    VenueStage(agents=3).play(script)


def test_what_is_due_is_committed_once_though_whoever_asked_for_it_is_stopped_meanwhile() -> None:
    async def script(stage: VenueStage) -> None:
        await asyncio.sleep(900)
        stage.journal.gate.clear()
        stopped = asyncio.create_task(stage.dispatcher.tick(stage.clock.now_ms()))
        await asyncio.sleep(1)
        stopped.cancel()
        ticking = asyncio.create_task(stage.dispatcher.tick(stage.clock.now_ms()))
        await asyncio.sleep(1)
        stage.journal.gate.set()
        await ticking
        assert len(stage.of(WindowRecorded)) == 3

    VenueStage(agents=3).play(script)


def test_a_reply_that_stream_and_look_up_bring_at_once_is_booked_once() -> None:
    async def script(stage: VenueStage) -> None:
        (intent,) = await stage.send()
        fill = stage.matched(intent)
        account: list[VenueReply] = [
            stage.accepted(intent), fill, stage.confirmed(fill), stage.closed(intent),
        ]  # fmt: skip
        stage.has(intent, *account)
        stage.venue.stream = [*account, fill]
        await asyncio.sleep(3)
        stage.journal.gate.clear()
        now = stage.clock.now_ms()
        entering = [asyncio.create_task(w) for w in (stage.reconciler.look(), stage.dispatcher.tick(now))]
        await asyncio.sleep(1)
        stage.journal.gate.set()
        await asyncio.gather(*entering)
        assert stage.facts[-4:] == account
        assert len(stage.of(FillMatched)) == 1
        assert stage.room.desks[intent.agent].state.holdings[intent.id].shares == fill.shares

    VenueStage().play(script)


def test_many_calls_that_fail_at_once_pause_the_floor_once() -> None:
    async def script(stage: VenueStage) -> None:
        stage.venue.takes_orders, stage.venue.place_s = False, 1
        sending = [stage.dispatcher.carry_out([order], stage.clock.now_ms()) for order in stage.decide()]
        await asyncio.sleep(0.5)
        stage.journal.gate.clear()
        await asyncio.sleep(1)
        stage.journal.gate.set()
        await asyncio.gather(*sending)
        assert len(stage.of(TradingPaused)) == 1

    VenueStage(agents=8).play(script)
