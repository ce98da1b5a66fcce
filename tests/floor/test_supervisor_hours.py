"""The supervisor over hours, in virtual time: cool-downs as long as they are, and nothing that piles up."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from polybot.agents.base import FactFeed, Heart
from polybot.chaos.loop import VirtualLoop
from polybot.domain.events import AgentState
from polybot.domain.ids import AgentId
from polybot.domain.units import Millis
from polybot.floor import supervisor as module
from polybot.floor.crash_budget import CrashTerms
from polybot.floor.supervisor import AgentSpec, Supervisor, TooManyLeftBehind

USUAL = CrashTerms()
Life = Callable[["Puppet"], Awaitable[None]]


class Puppet:
    """An agent whose life is a coroutine function of itself."""

    def __init__(self, life: Life, monotonic: Callable[[], float]) -> None:
        self.heart, self._life = Heart(monotonic), life
        self.feed = FactFeed(self.heart)

    async def run(self) -> None:
        await self._life(self)

    def close(self) -> None:
        self.feed.close()


class Floor:
    """A supervisor on a virtual loop, and when it reported what."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.said: list[tuple[float, str, AgentState]] = []
        self.texts: list[str] = []
        self.supervisor = Supervisor([], self, self._report, random.Random(1))

    def monotonic(self) -> float:
        return self.loop.time()

    def now_ms(self) -> Millis:
        return Millis(round(self.loop.time() * 1000))

    async def open(self, terms: CrashTerms = USUAL, **lives: Life) -> None:
        specs = [
            AgentSpec(name=AgentId(name), role="trader", build=self._builder(life), terms=terms)
            for name, life in lives.items()
        ]
        self.supervisor = Supervisor(specs, self, self._report, random.Random(1))
        await self.supervisor.start()

    def _builder(self, life: Life) -> Callable[[], Puppet]:
        return lambda: Puppet(life, self.monotonic)

    async def _report(self, spec: AgentSpec, state: AgentState, text: str) -> None:
        self.said.append((self.loop.time(), spec.name, state))
        self.texts.append(text)

    def times(self, name: str, state: AgentState) -> list[float]:
        return [at for at, who, what in self.said if (who, what) == (name, state)]


def in_virtual_time(story: Callable[[Floor], Coroutine[Any, Any, None]]) -> None:
    """As a process of its own, killed when the story is over: what never ends by itself is thrown away then."""
    with VirtualLoop() as loop:
        life = loop.begin_life()
        told = loop.start(life, story(Floor(loop)))
        loop.run(until=told)
        loop.kill(life)
        told.result()


async def for_ever(_: Puppet) -> None:
    await asyncio.Event().wait()


async def crash(_: Puppet) -> None:
    raise ValueError("a bug")


def test_an_agent_that_crashes_at_every_start_sits_out_10_s_then_1_5_and_30_minutes_and_comes_back_each_time() -> None:
    async def story(floor: Floor) -> None:
        await floor.open(bad=crash, good=for_ever)
        await asyncio.sleep(3 * 3600)
        benched, running = floor.times("bad", AgentState.BENCHED), floor.times("bad", AgentState.RUNNING)
        out = [min(at for at in running if at > since) - since for since in benched[:6]]
        for seconds, whole in zip(out, (10, 60, 300, 1800, 1800, 1800), strict=True):
            assert whole / 2 <= seconds <= whole  # jitter takes up to half
        assert floor.times("good", AgentState.RUNNING) == [0.0]

    in_virtual_time(story)


def test_a_good_spell_after_the_bench_is_a_new_beginning() -> None:
    starts = 0

    async def life(_: Puppet) -> None:
        nonlocal starts
        starts += 1
        if starts == 13:  # after two rounds of six
            await asyncio.sleep(301)
        raise ValueError

    async def story(floor: Floor) -> None:
        await floor.open(mended=life)
        await asyncio.sleep(3600)
        benched, running = floor.times("mended", AgentState.BENCHED), floor.times("mended", AgentState.RUNNING)
        out = [min(at for at in running if at > since) - since for since in benched[:3]]
        assert (out[0] <= 10, 30 <= out[1] <= 60, out[2] <= 10) == (True, True, True)

    in_virtual_time(story)


def test_a_crash_every_six_minutes_for_a_day_never_benches() -> None:
    async def life(_: Puppet) -> None:
        await asyncio.sleep(360)
        raise ValueError

    async def story(floor: Floor) -> None:
        await floor.open(now_and_then=life)
        await asyncio.sleep(86_400)
        assert floor.times("now_and_then", AgentState.BENCHED) == []
        assert len(floor.times("now_and_then", AgentState.RUNNING)) > 230

    in_virtual_time(story)


def test_two_hundred_restarts_leave_no_task_behind() -> None:
    async def life(puppet: Puppet) -> None:
        await asyncio.sleep(100)
        if int(puppet.heart.last_beat) % 2:
            raise ValueError
        puppet.heart.work_arrived()  # and does nothing: its keeper cancels it
        await asyncio.Event().wait()

    async def story(floor: Floor) -> None:
        generous = CrashTerms(restarts_max=200, period_s=50)
        await floor.open(generous, leaky=life)
        counts = []
        while floor.supervisor.keepers[0].restarts < 200:
            await asyncio.sleep(500)
            counts.append(len(asyncio.all_tasks()))
        assert max(counts) <= 3  # this one, the keeper, the agent
        assert floor.supervisor.keepers[0].left_behind == 0
        await floor.supervisor.stop()
        assert len(asyncio.all_tasks()) == 1

    in_virtual_time(story)


def test_an_agent_that_hangs_with_work_waiting_is_found_within_its_time() -> None:
    async def life(puppet: Puppet) -> None:
        await asyncio.sleep(60)
        puppet.heart.work_arrived()
        await asyncio.Event().wait()

    async def story(floor: Floor) -> None:
        await floor.open(hung=life)
        await asyncio.sleep(75)
        (crashed,) = floor.times("hung", AgentState.CRASHED)
        assert 70 < crashed < 70 + 2 * module.WATCH_S
        assert any(text.startswith("AgentHung: no progress for 10.") for text in floor.texts)

    in_virtual_time(story)


async def never_ends(puppet: Puppet) -> None:
    """Swallows its cancellation, whatever comes."""
    puppet.heart.work_arrived()
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


def test_runs_that_swallow_their_cancellation_pile_up_only_so_far_and_then_the_floor_is_begun_anew() -> None:
    async def story(floor: Floor) -> None:
        await floor.open(stubborn=never_ends, good=for_ever)
        while floor.supervisor.failure() is None:
            await asyncio.sleep(60)
            assert floor.supervisor.keepers[0].left_behind <= module.LEFT_BEHIND_MAX + 1
        assert isinstance(floor.supervisor.failure(), TooManyLeftBehind)
        assert floor.loop.time() < 6 * 3600

    in_virtual_time(story)


def test_a_floor_full_of_agents_that_will_not_stop_is_stopped_in_the_sum_of_their_times() -> None:
    async def story(floor: Floor) -> None:
        await floor.open(one=never_ends, two=never_ends, three=for_ever)
        await asyncio.sleep(1)
        began = floor.loop.time()
        await floor.supervisor.stop()
        assert floor.loop.time() - began == pytest.approx(2 * 5.0)
        stopped = [(name, state) for _, name, state in floor.said[-3:]]
        assert stopped == [(name, AgentState.STOPPED) for name in ("three", "two", "one")]

    in_virtual_time(story)
