"""An agent that was let go can do nothing more, whatever its code still tries; and the silent ones are found."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import pytest

from polybot.agents.auditor import AUDITOR, FACTS_AT_ONCE, AuditorAgent
from polybot.agents.base import Badge, Dismissed, Heart, Wake
from polybot.agents.monitor import MonitorAgent
from polybot.agents.trader import Trader
from polybot.clock import SystemClock
from polybot.domain.events import (
    AgentState,
    AnyFact,
    IntentRecorded,
    Journaled,
    OrderAccepted,
    Severity,
    SystemNoted,
    TradeSettled,
)
from polybot.domain.ids import AgentId, OrderId
from polybot.domain.units import Millis
from polybot.floor import supervisor as module
from polybot.floor.crash_budget import CrashTerms
from polybot.floor.supervisor import AgentSpec, Supervisor
from polybot.learning.metrics import Performance
from polybot.risk.audit_memory import AuditMemory
from tests.builders import Floor, a_plan
from tests.floor.test_dispatch import EVENTS, RunningFloor

TINY = CrashTerms(restarts_max=9, backoff_s=0.002)


@pytest.fixture(autouse=True)
def _watch_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WATCH_S", 0.005)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(3):
        while not done():  # noqa: ASYNC110  what is waited for has no event
            await asyncio.sleep(0.002)


async def test_a_door_is_open_until_the_badge_is_revoked():
    seen: list[int] = []

    async def act(number: int) -> None:
        seen.append(number)

    badge = Badge()
    door = badge.door(act)
    await door(1)
    badge.revoke()
    with pytest.raises(Dismissed):
        await door(2)
    assert seen == [1]


class Undead(Trader):
    """Its own code swallows every cancellation and goes on; then it decides and trades on what it had in hand."""

    tried: list[BaseException | None]

    def _look(self, wake: Wake) -> bool:
        return False

    async def run(self) -> None:
        self.tried = []
        wake = await self.mailbox.next()
        self.heart.work_arrived()
        for _ in range(2):  # its keeper's, and in the end the test's own
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.tried += [
                    await tried(lambda: self._deal_with(wake)),
                    await tried(lambda: self._carry_out([], wake.now)),
                ]


async def tried(do: Callable[[], Awaitable[None]]) -> BaseException | None:
    try:
        await do()
    except Dismissed as error:
        return error
    return None


async def test_a_trader_that_swallows_its_cancellation_can_neither_decide_nor_trade_and_another_takes_its_desk():
    like = Floor(a_plan("scripted"))
    running = RunningFloor(like)
    (desk,) = running.room.desks.values()
    traders: list[Trader] = []

    def build() -> Trader:
        kind = Trader if traders else Undead
        attach = partial(running.dispatcher.attach_mailbox, desk.agent)
        heart, dispatcher = Heart(SystemClock().monotonic), running.dispatcher
        traders.append(kind(desk, heart, dispatcher, dispatcher.carry_out, attach))
        return traders[-1]

    async def heard(*_: object) -> None: ...

    spec = AgentSpec(name=desk.agent, role="trader", build=build, terms=TINY, hang_s=0.03, stop_s=0.03)
    supervisor = Supervisor([spec], running.clock, heard, random.Random(1))
    async with running:
        for task in running.tasks.values():
            task.cancel()  # the fixture's own trader; ours takes the desk
        await supervisor.start()
        await running.play(EVENTS[:2])
        await until(lambda: len(traders) == 2)
        (undead,) = [trader for trader in traders if isinstance(trader, Undead)]
        assert len(undead.tried) == 2
        assert all(isinstance(error, Dismissed) for error in undead.tried)
        assert not desk.state.orders
        assert not any(isinstance(fact, IntentRecorded) for fact in running.facts)
        await running.play(EVENTS[2:3])
        assert sum(isinstance(fact, IntentRecorded) for fact in running.facts) == 1  # its successor's
        assert supervisor.keepers[0].left_behind == 1
        await supervisor.stop()


class Silent:
    """A floor whose `commit` never answers: what an auditor or a monitor waits for in vain."""

    def __init__(self) -> None:
        self.asked = 0
        self.feeds: list[Any] = []

    async def commit(self, facts: Sequence[AnyFact]) -> None:
        self.asked += 1
        if facts:
            await asyncio.Event().wait()

    def past(self, after_seq: int) -> list[Journaled]:
        return []

    def desk_cash(self) -> None:
        return None

    def auditor(self) -> AuditorAgent:
        clock = SystemClock()
        return AuditorAgent(AuditMemory(), Heart(clock.monotonic), clock, self, self.commit, self.feeds.append)

    def monitor(self) -> MonitorAgent:
        return MonitorAgent(Performance(), Heart(SystemClock().monotonic), self.commit, self.feeds.append)

    def builder(self, role: str) -> Callable[[], AuditorAgent | MonitorAgent]:
        return self.auditor if role == "auditor" else self.monitor


def facts_of_a_day() -> list[Journaled]:
    """Enough of a floor's life for an auditor to have verdicts and a monitor to have figures."""
    floor = Floor(a_plan("scripted"))
    floor.play(*EVENTS)
    assert floor.of(TradeSettled)
    return [Journaled(seq=seq, position=0, fact=fact) for seq, fact in enumerate(floor.facts, 1)]


@pytest.mark.parametrize("role", ["auditor", "monitor"])
async def test_a_follower_whose_work_never_gets_done_is_found_by_its_heart_and_restarted(role: str):
    silent = Silent()
    said: list[tuple[AgentState, str]] = []

    async def report(_: AgentSpec, state: AgentState, text: str) -> None:
        said.append((state, text))

    spec = AgentSpec(name=AgentId(role), role=role, build=silent.builder(role), terms=TINY, hang_s=0.05, stop_s=0.05)
    supervisor = Supervisor([spec], SystemClock(), report, random.Random(1))
    await supervisor.start()
    await until(lambda: len(silent.feeds) == 1)
    silent.feeds[0].put(facts_of_a_day())
    await until(lambda: len(silent.feeds) == 2)
    assert any(state is AgentState.CRASHED and text.startswith("AgentHung") for state, text in said)
    await supervisor.stop()


async def test_an_auditor_catches_up_by_parts_and_lets_others_have_their_turn_meanwhile():
    strangers = [
        Journaled(seq=seq, position=0, fact=OrderAccepted(at=Millis(seq), agent=AUDITOR, order=OrderId(f"x-{seq:06}")))
        for seq in range(1, 3 * FACTS_AT_ONCE)
    ]
    written: list[int] = []
    clock, turns = SystemClock(), 0

    class Past(Silent):
        def past(self, after_seq: int) -> list[Journaled]:
            return strangers[after_seq:]

        async def commit(self, facts: Sequence[AnyFact]) -> None:
            written.append(len(facts))

    floor = Past()
    agent = AuditorAgent(AuditMemory(), Heart(clock.monotonic), clock, floor, floor.commit, floor.feeds.append)
    running = asyncio.create_task(agent.run())
    while not agent.caught_up:
        turns += 1
        await asyncio.sleep(0)
    assert (sum(written), max(written)) == (len(strangers), FACTS_AT_ONCE)  # each is about an order nobody intended
    assert turns > 2
    running.cancel()
    await asyncio.wait([running])


@pytest.mark.parametrize("role", ["auditor", "monitor"])
async def test_a_follower_that_was_let_go_writes_nothing_more(role: str):
    silent = Silent()
    agent = silent.builder(role)()
    agent.close()
    note = SystemNoted(at=Millis(1), severity=Severity.INFO, component="late", text="")
    with pytest.raises(Dismissed):
        await agent._commit([note])
    assert silent.asked == 0
