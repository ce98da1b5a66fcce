"""How agents are woken: the newest per market for traders, every fact in order for followers, and hearts that tell."""

import asyncio
from collections.abc import Callable

import pytest

from polybot.agents import base
from polybot.agents.base import FactFeed, FeedOverflow, Heart, Mailbox, Wake
from polybot.domain.events import Journaled, Severity, SystemNoted
from polybot.domain.market import Market
from polybot.domain.markets import MarketState
from polybot.domain.units import Millis
from tests.builders import book, one_sided, trade


class HandClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def a_wake(market: Market, at: int, *, trading: bool = False) -> Wake:
    event = trade(market, at) if trading else book(market, at)
    return Wake(event, MarketState(market), event.received)


def a_fact(seq: int) -> Journaled:
    return Journaled(
        seq=seq, position=0, fact=SystemNoted(at=Millis(seq), severity=Severity.INFO, component="test", text="")
    )


async def open_within(waiting, seconds: float = 0.02) -> bool:
    """Whether the coroutine is done within a short time."""
    try:
        await asyncio.wait_for(waiting, seconds)
    except TimeoutError:
        return False
    return True


class TestMailbox:
    async def test_a_book_that_changed_five_times_is_looked_at_once_as_it_is_now(self):
        box = Mailbox(Heart(HandClock()))
        for at in range(5):
            box.put(a_wake(one_sided(), at))
        assert (await box.next()).event.received == one_sided().window_start + 4
        assert (box.conflated, len(box._wakes)) == (4, 0)

    async def test_other_markets_and_other_kinds_keep_their_own_place_oldest_first(self):
        box = Mailbox(Heart(HandClock()))
        first, second = one_sided(0), one_sided(1)
        for wake in (a_wake(first, 1), a_wake(second, 2), a_wake(first, 3, trading=True)):
            box.put(wake)
        seen = [(w.state.market.id, type(w.event).__name__) for w in [await box.next() for _ in range(3)]]
        assert seen == [(first.id, "BookReplaced"), (second.id, "BookReplaced"), (first.id, "TradePrinted")]

    async def test_it_is_bounded_by_what_there_is_to_trade(self):
        box = Mailbox(Heart(HandClock()))
        for at in range(1_000):
            box.put(a_wake(one_sided(at % 3), at, trading=at % 2 == 0))
        assert len(box._wakes) == 6

    async def test_drained_waits_for_the_wake_being_dealt_with(self):
        box = Mailbox(Heart(HandClock()))
        box.put(a_wake(one_sided(), 1))
        await box.next()
        assert not await open_within(box.drained())
        box.done()
        assert await open_within(box.drained())

    async def test_a_closed_one_takes_nothing_and_keeps_nobody_waiting(self):
        box = Mailbox(Heart(HandClock()))
        box.put(a_wake(one_sided(), 1))
        box.close()
        box.put(a_wake(one_sided(), 2))
        assert await open_within(box.drained())
        assert not box._wakes


class TestLooks:
    """A look that takes no time needs no task: it is done in the loop's own turn."""

    async def test_a_trader_that_waits_is_not_woken_for_looks_that_are_over_at_once(self):
        looks: list[Wake] = []
        box = Mailbox(Heart(HandClock()), kept_in(looks))
        waiting = asyncio.create_task(box.next())
        await asyncio.sleep(0)
        for market in (one_sided(0), one_sided(1)):
            box.put(a_wake(market, 1))
        assert not looks  # whoever puts a wake in is not kept by the look
        assert await open_within(box.drained())
        assert (len(looks), waiting.done()) == (2, False)
        waiting.cancel()

    async def test_the_first_that_takes_time_wakes_it_and_the_others_wait_until_it_is_done(self):
        first, second, third = (a_wake(one_sided(n), 1) for n in range(3))
        looks: list[Wake] = []

        def look(wake: Wake) -> bool:
            looks.append(wake)
            return wake is not second

        box = Mailbox(Heart(HandClock()), look)
        waiting = asyncio.create_task(box.next())
        await asyncio.sleep(0)
        for wake in (first, second, third):
            box.put(wake)
        assert await waiting is second
        assert looks == [first, second]
        assert not await open_within(box.drained())
        box.done()
        assert not await open_within(box.next())
        assert looks == [first, second, third]

    @pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), StopIteration(1)], ids=repr)
    async def test_what_a_look_raises_is_the_traders_and_ends_no_loop(self, error: BaseException):
        def look(_: Wake) -> bool:
            raise error

        box = Mailbox(Heart(HandClock()), look)
        waiting = asyncio.ensure_future(caught(box))
        await asyncio.sleep(0)
        box.put(a_wake(one_sided(), 1))
        raised = await waiting
        assert raised is error or isinstance(raised, RuntimeError)
        assert "StopIteration" not in type(raised).__name__

    async def test_nobody_looks_for_a_trader_that_is_gone(self):
        looks: list[Wake] = []
        box = Mailbox(Heart(HandClock()), kept_in(looks))
        waiting = asyncio.create_task(box.next())
        await asyncio.sleep(0)
        box.put(a_wake(one_sided(), 1))
        waiting.cancel()
        assert not await open_within(box.drained())
        assert not looks


def kept_in(looks: list[Wake]) -> Callable[[Wake], bool]:
    def look(wake: Wake) -> bool:
        looks.append(wake)
        return True

    return look


async def caught(box: Mailbox) -> BaseException | None:
    try:
        await box.next()
    except BaseException as error:
        return error
    return None


class TestFactFeed:
    async def test_every_fact_comes_in_order(self):
        feed = FactFeed(Heart(HandClock()))
        feed.put([a_fact(1), a_fact(2)])
        feed.put([a_fact(3)])
        assert [(await feed.next()).seq for _ in range(3)] == [1, 2, 3]

    async def test_at_its_bound_the_follower_is_told_and_gets_no_fact_after_the_hole(self, monkeypatch):
        monkeypatch.setattr(base, "FEED_FACTS_MAX", 3)
        feed = FactFeed(Heart(HandClock()))
        feed.put([a_fact(n) for n in range(3)])
        feed.put([a_fact(3)])
        feed.put([a_fact(4)])
        with pytest.raises(FeedOverflow):
            await feed.next()

    async def test_drained_means_asked_for_more_and_there_was_none(self):
        feed = FactFeed(Heart(HandClock()))
        feed.put([a_fact(1)])

        async def follow() -> None:
            while True:
                await feed.next()
                feed.done()

        following = asyncio.create_task(follow())
        assert await open_within(feed.drained())
        following.cancel()

    async def test_a_closed_one_collects_nothing_and_keeps_nobody_waiting(self):
        """A benched auditor must not keep the floor from closing."""
        feed = FactFeed(Heart(HandClock()))
        feed.close()
        feed.put([a_fact(1)])
        assert feed.empty
        assert await open_within(feed.drained())


class TestHeart:
    def test_an_idle_agent_is_never_stuck(self):
        clock = HandClock()
        heart = Heart(clock)
        clock.now += 1_000
        assert heart.stuck_for() == 0

    def test_work_waiting_without_a_beat_is(self):
        clock = HandClock()
        heart = Heart(clock)
        heart.work_arrived()
        clock.now += 7
        heart.work_arrived()  # more work is no progress
        clock.now += 1
        assert heart.stuck_for() == 8

    def test_a_beat_starts_the_clock_on_the_next_piece(self):
        clock = HandClock()
        heart = Heart(clock)
        heart.work_arrived()
        clock.now += 5
        heart.beat(more_waiting=True)
        clock.now += 2
        assert (heart.beats, heart.stuck_for()) == (1, 2)

    def test_a_beat_with_nothing_left_rests(self):
        clock = HandClock()
        heart = Heart(clock)
        heart.work_arrived()
        heart.beat(more_waiting=False)
        clock.now += 100
        assert heart.stuck_for() == 0
