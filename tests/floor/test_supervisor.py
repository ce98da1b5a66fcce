"""Agents that crash, hang or will not stop, and what becomes of them. Times are tiny, the order of things is real."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from polybot.agents.base import Heart
from polybot.clock import SystemClock
from polybot.domain.events import AgentState
from polybot.domain.ids import AgentId
from polybot.floor import supervisor as module
from polybot.floor.crash_budget import CrashTerms
from polybot.floor.supervisor import AgentSpec, Supervisor

TINY = CrashTerms(restarts_max=2, period_s=60, backoff_s=0.004, backoff_s_max=1, cooldowns_s=(0.03,))


@pytest.fixture(autouse=True)
def _watch_closely(monkeypatch):
    monkeypatch.setattr(module, "WATCH_S", 0.005)


class Puppet:
    """An agent whose life is a coroutine function of itself."""

    def __init__(self, life: Callable[["Puppet"], Awaitable[None]]) -> None:
        self.heart, self._life = Heart(SystemClock().monotonic), life
        self.closed = 0

    async def run(self) -> None:
        await self._life(self)

    def close(self) -> None:
        self.closed += 1


async def for_ever(_: Puppet) -> None:
    await asyncio.Event().wait()


async def crash(_: Puppet) -> None:
    raise ValueError("a bug")


class Stage:
    """A supervisor with puppets, and everything it reported."""

    def __init__(self, **lives: Callable[[Puppet], Awaitable[None]]) -> None:
        self.said: list[tuple[str, AgentState]] = []
        self.texts: list[str] = []
        self.puppets: list[Puppet] = []
        specs = [
            AgentSpec(
                name=AgentId(name), role="puppet", build=self._builder(life), terms=TINY, hang_s=0.03, stop_s=0.03
            )
            for name, life in lives.items()
        ]
        self.supervisor = Supervisor(specs, SystemClock(), self._report, random.Random(1))

    def _builder(self, life: Callable[[Puppet], Awaitable[None]]) -> Callable[[], Puppet]:
        def build() -> Puppet:
            self.puppets.append(Puppet(life))
            return self.puppets[-1]

        return build

    async def _report(self, spec: AgentSpec, state: AgentState, text: str) -> None:
        self.said.append((spec.name, state))
        self.texts.append(text)

    async def until(self, done: Callable[[], bool], seconds: float = 2.0) -> None:
        async with asyncio.timeout(seconds):
            while not done():  # noqa: ASYNC110  what is waited for is the supervisor's state, which has no event
                await asyncio.sleep(0.002)

    def states(self, name: str) -> list[AgentState]:
        return [state for who, state in self.said if who == name]

    async def __aenter__(self) -> "Stage":
        await self.supervisor.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.supervisor.stop()


RUNNING, CRASHED, BENCHED, STOPPED = (
    AgentState.RUNNING,
    AgentState.CRASHED,
    AgentState.BENCHED,
    AgentState.STOPPED,
)


async def test_agents_start_in_order_and_stop_in_reverse():
    async with Stage(first=for_ever, second=for_ever, third=for_ever) as stage:
        assert [name for name, _ in stage.said] == ["first", "second", "third"]
        stage.said.clear()
    assert stage.said == [("third", STOPPED), ("second", STOPPED), ("first", STOPPED)]


async def test_a_crashing_agent_is_restarted_then_benched_and_comes_back():
    async with Stage(bad=crash) as stage:
        await stage.until(lambda: stage.states("bad").count(BENCHED) == 2)
    one_round = [RUNNING, CRASHED, RUNNING, CRASHED, RUNNING, CRASHED, BENCHED]
    assert stage.states("bad")[: 2 * len(one_round)] == 2 * one_round


async def test_the_others_do_not_notice():
    async with Stage(good=for_ever, bad=crash) as stage:
        await stage.until(lambda: BENCHED in stage.states("bad"))
        assert stage.states("good") == [RUNNING]


async def test_waits_grow():
    times: list[float] = []

    async def life(_: Puppet) -> None:
        times.append(SystemClock().monotonic())
        raise ValueError

    async with Stage(bad=life) as stage:
        await stage.until(lambda: len(times) >= 4)
    assert times[3] - times[2] > 0.015  # the bench, at half its length or more
    assert all(later > sooner for sooner, later in pairwise(times))


async def test_every_run_is_a_new_agent_and_every_old_one_is_closed():
    async with Stage(bad=crash) as stage:
        await stage.until(lambda: len(stage.puppets) >= 3)
    assert len({id(puppet) for puppet in stage.puppets}) == len(stage.puppets)
    assert [puppet.closed for puppet in stage.puppets] == [1] * len(stage.puppets)


async def test_the_report_says_what_the_bug_was():
    async with Stage(bad=crash) as stage:
        await stage.until(lambda: CRASHED in stage.states("bad"))
    assert "ValueError: a bug" in stage.texts


async def test_the_report_of_a_bug_that_speaks_no_utf_8_can_be_journaled():
    async def unspeakable(_: Puppet) -> None:
        raise ValueError("a path of \udcff")

    async with Stage(odd=unspeakable) as stage:
        await stage.until(lambda: CRASHED in stage.states("odd"))
    assert "ValueError: a path of \\udcff" in stage.texts


async def test_an_agent_that_cannot_even_be_built_is_a_crash_like_any_other():
    stage = Stage(bad=for_ever)

    def build() -> Puppet:
        raise OSError("no room")

    stage.supervisor.keepers[0].spec = AgentSpec(name=AgentId("bad"), role="puppet", build=build, terms=TINY)
    async with stage:
        await stage.until(lambda: BENCHED in stage.states("bad"))
    assert "OSError: no room" in stage.texts


async def test_an_agent_that_ends_by_itself_is_restarted():
    async def life(_: Puppet) -> None:
        return

    async with Stage(brief=life) as stage:
        await stage.until(lambda: len(stage.puppets) >= 2)
    assert "AgentGone: the agent ended by itself" in stage.texts


async def test_an_agent_cancelled_from_within_is_restarted():
    """Its keeper must not take the agent's own CancelledError for its own."""

    async def life(_: Puppet) -> None:
        raise asyncio.CancelledError

    async with Stage(odd=life) as stage:
        await stage.until(lambda: len(stage.puppets) >= 2)
    assert "AgentGone: the agent was cancelled from within" in stage.texts


async def test_an_agent_with_work_waiting_and_no_beat_is_cancelled_and_restarted():
    cancelled = 0

    async def life(puppet: Puppet) -> None:
        nonlocal cancelled
        puppet.heart.work_arrived()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled += 1
            raise

    async with Stage(hung=life) as stage:
        await stage.until(lambda: len(stage.puppets) >= 2)
    assert cancelled >= 1
    assert any(text.startswith("AgentHung: no progress for 0.0") for text in stage.texts)


async def test_an_idle_agent_is_left_in_peace():
    async with Stage(idle=for_ever) as stage:
        await asyncio.sleep(0.08)
        assert stage.states("idle") == [RUNNING]


async def test_an_agent_that_swallows_its_cancellation_is_left_behind_and_a_new_one_started():
    release = asyncio.Event()

    async def life(puppet: Puppet) -> None:
        puppet.heart.work_arrived()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async with Stage(stubborn=life) as stage:
        await stage.until(lambda: len(stage.puppets) >= 2)
        assert stage.puppets[0].closed == 1
        began = SystemClock().monotonic()
        await stage.supervisor.stop()
        assert SystemClock().monotonic() - began < 0.5  # bounded by stop_s, not by the agent
        release.set()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
async def test_what_would_end_the_process_crashes_the_agent_alone(raised: BaseException):
    async def life(_: Puppet) -> None:
        raise raised

    async with Stage(good=for_ever, bad=life) as stage:
        await stage.until(lambda: len(stage.puppets) >= 3)
        assert stage.states("good") == [RUNNING]
    assert f"AgentQuit: it raised {type(raised).__name__}({raised})" in stage.texts


async def test_so_it_is_while_the_agent_is_being_built():
    stage = Stage(good=for_ever, bad=for_ever)

    def build() -> Puppet:
        raise SystemExit(3)

    stage.supervisor.keepers[1].spec = AgentSpec(name=AgentId("bad"), role="puppet", build=build, terms=TINY)
    async with stage:
        await stage.until(lambda: BENCHED in stage.states("bad"))
        assert stage.states("good") == [RUNNING]
    assert "AgentQuit: it raised SystemExit(3)" in stage.texts


async def test_an_agent_that_cannot_be_closed_is_restarted_all_the_same(monkeypatch: pytest.MonkeyPatch):
    def close(_: Puppet) -> None:
        raise OSError("its last word")

    monkeypatch.setattr(Puppet, "close", close)
    async with Stage(bad=crash) as stage:
        await stage.until(lambda: len(stage.puppets) >= 2)
        assert stage.supervisor.failure() is None


async def test_a_report_that_fails_keeps_no_other_agent_from_being_stopped():
    stage = Stage(first=for_ever, second=for_ever)
    await stage.supervisor.start()

    async def broken(*_: object) -> None:
        raise OSError("the journal is gone")

    stage.supervisor.keepers[1]._report = broken
    with pytest.raises(OSError, match="the journal is gone"):
        await stage.supervisor.stop()
    assert stage.states("first") == [RUNNING, STOPPED]


async def test_a_fault_of_the_floor_itself_ends_the_keeper_and_is_told():
    stage = Stage(good=for_ever)

    async def broken(*_: object) -> None:
        raise OSError("the journal is gone")

    stage.supervisor.keepers[0]._report = broken
    await asyncio.wait_for(stage.supervisor.start(), 1)
    assert str(stage.supervisor.failure()) == "the journal is gone"


async def test_stopping_what_was_never_started_is_no_error():
    stage = Stage(good=for_ever)
    await stage.supervisor.stop()
    assert stage.said == [("good", STOPPED)]
