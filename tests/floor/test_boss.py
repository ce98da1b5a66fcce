"""The boss: what it writes when it opens and closes, and when it gives up."""

import asyncio
import random
from typing import Any

import pytest

from polybot.agents.base import Heart
from polybot.clock import SystemClock
from polybot.domain.errors import PolybotError
from polybot.domain.events import (
    AgentChanged,
    AgentState,
    CapitalAllocated,
    RunEnded,
    RunStarted,
    SystemNoted,
    TradingPaused,
    TradingResumed,
)
from polybot.domain.ids import AgentId
from polybot.floor.boss import Boss, FloorFailed
from polybot.floor.reconciler import Reconciler
from polybot.floor.supervisor import AgentSpec, Supervisor
from tests.builders import shipped_floor
from tests.floor.test_dispatch import RunningFloor


class DiskGone(PolybotError):
    """Stands for the journal's own errors."""


class Idler:
    """An agent that is there and does nothing."""

    def __init__(self) -> None:
        self.heart = Heart(SystemClock().monotonic)

    async def run(self) -> None:
        await asyncio.sleep(3600)

    def close(self) -> None:
        pass


class Opened:
    """A boss over a floor whose journal is a list."""

    def __init__(self) -> None:
        self.floor = RunningFloor(shipped_floor(()))
        self.checkpoints = 0
        self.boss = Boss(self.floor.room, self.floor.dispatcher, self.floor.clock, self.keep, checkpoint_s=0.01)
        self.reconciler = Reconciler(
            self.floor.room, self.floor.dispatcher.venue, self.floor.dispatcher, self.floor.clock
        )
        specs = [
            AgentSpec(name=AgentId("auditor"), role="auditor", build=Idler),
            AgentSpec(name=AgentId("momentum"), role="trader", build=Idler),
        ]
        report = self.boss.on_agent_change
        self.supervisor = Supervisor(specs, self.floor.clock, report, random.Random(1))

    async def keep(self) -> None:
        self.checkpoints += 1

    async def open(self) -> "Opened":
        now = self.floor.clock.now_ms()
        started = RunStarted(at=now, run="r", source="t", mode="paper", capital=self.floor.capital, seed=1, version="0")
        await self.boss.open(self.supervisor, self.reconciler, started, self.floor.capital)
        return self

    def facts(self, kind: Any) -> list[Any]:
        return [fact for fact in self.floor.facts if isinstance(fact, kind)]


async def test_it_opens_with_its_own_word_then_the_capital_then_the_agents_in_order():
    opened = await Opened().open()
    kinds = [
        type(fact) for fact in opened.floor.facts if isinstance(fact, RunStarted | CapitalAllocated | AgentChanged)
    ]
    assert kinds == [RunStarted, AgentChanged, *[CapitalAllocated] * 3, AgentChanged, AgentChanged]
    assert [fact.agent for fact in opened.facts(AgentChanged)] == ["boss", "auditor", "momentum"]
    assert sum(fact.moved for fact in opened.facts(CapitalAllocated)) == opened.floor.capital
    await opened.supervisor.stop()


async def test_it_closes_with_the_agents_in_reverse_and_a_last_checkpoint():
    opened = await Opened().open()
    await opened.boss.close(opened.supervisor, "stopped by request", finished=False)
    stopped = [fact.agent for fact in opened.facts(AgentChanged) if fact.state is AgentState.STOPPED]
    assert stopped == ["momentum", "auditor", "boss"]
    assert isinstance(opened.floor.facts[-1], RunEnded)
    assert opened.checkpoints == 1


async def test_it_keeps_a_checkpoint_from_time_to_time():
    opened = await Opened().open()
    watching = asyncio.create_task(opened.boss.watch(opened.supervisor))
    await asyncio.sleep(0.6)
    watching.cancel()
    assert opened.checkpoints >= 1
    await opened.supervisor.stop()


async def test_a_journal_that_fails_ends_the_floor(monkeypatch: pytest.MonkeyPatch):
    opened = await Opened().open()

    async def refuse(facts: Any, position: int) -> Any:
        raise DiskGone("no space left")

    monkeypatch.setattr(opened.floor.journal, "append", refuse)
    watching = asyncio.create_task(opened.boss.watch(opened.supervisor))
    with pytest.raises(DiskGone):
        await opened.floor.dispatcher.commit([RunEnded(at=opened.floor.clock.now_ms(), reason="", finished=False)])
    with pytest.raises(FloorFailed, match="no space left"):
        await asyncio.wait_for(watching, 5)
    await opened.supervisor.stop()  # bounded, and raises nothing more


async def test_without_an_auditor_nobody_trades_until_it_is_back():
    opened = await Opened().open()
    auditor = opened.supervisor.keepers[0].spec
    await opened.boss.on_agent_change(auditor, AgentState.BENCHED, "it crashed too often")
    assert opened.floor.room.state.pauses == {"auditor_away": None}
    await opened.boss.on_agent_change(auditor, AgentState.RUNNING, "")
    assert opened.floor.room.state.pauses == {}
    assert [len(opened.facts(kind)) for kind in (TradingPaused, TradingResumed)] == [1, 1]
    await opened.supervisor.stop()


async def test_with_every_trader_on_the_bench_a_person_is_told_once_and_the_floor_goes_on():
    opened = await Opened().open()
    traders = [AgentSpec(name=name, role="trader", build=Idler) for name in opened.floor.room.desks]

    def told() -> list[str]:
        return [fact.text for fact in opened.facts(SystemNoted) if fact.component == "boss" and "every" in fact.text]

    for trader in traders[:-1]:
        await opened.boss.on_agent_change(trader, AgentState.BENCHED, "it crashed too often")
    assert told() == []
    await opened.boss.on_agent_change(traders[-1], AgentState.BENCHED, "so did it")
    assert told() == ["every trader is on the bench: nothing is traded until one is back; settling and auditing go on"]
    await opened.boss.on_agent_change(traders[0], AgentState.RUNNING, "")
    await opened.boss.on_agent_change(traders[1], AgentState.BENCHED, "again")
    assert len(told()) == 1
    assert opened.floor.room.state.pauses == {}
    await opened.supervisor.stop()


async def test_it_tells_how_long_it_has_not_looked_only_while_looking_is_its_work():
    opened = await Opened().open()
    boss = opened.boss
    boss.last_look -= 100
    assert boss.silent_for() == 0
    watching = asyncio.create_task(boss.watch(opened.supervisor))
    await asyncio.sleep(0)
    assert boss.silent_for() < 1
    boss.last_look -= 100
    assert boss.silent_for() > 100
    watching.cancel()
    await asyncio.wait([watching])
    assert boss.silent_for() == 0
    await opened.supervisor.stop()
