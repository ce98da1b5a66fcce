"""Agents, a journal and a boss that hang or die in the real service: what is logged, what ends, what goes on."""

import textwrap
import time
from pathlib import Path

import pytest

from polybot.domain.events import AgentChanged, AgentState, AnyFact, Severity, SystemNoted, WindowRecorded
from polybot.floor.watchdog import EXIT_STUCK
from polybot.runs import journal_path
from polybot.storage.journal import Journal
from polybot.storage.journal_verify import verify
from tests.e2e.service import Service

pytestmark = pytest.mark.slow
WINDOWS = 12
STALL_EXIT_S = 1.0
STRATEGY = """
import asyncio, gc, sys, time
from polybot.strategies.base import BaseStrategy

class Own(BaseStrategy):
    name = "{name}"
    done = False

    def generate_signal(self, view):
        if view.seconds_left < 600 and not Own.done:
            Own.done = True
            self.act()
        return view.waiting("nothing_to_do")

    def act(self):
{act}

def the(kind):
    gc.unfreeze()  # what was there at the start is frozen out of the collector's sight (cli/process.py)
    return next(thing for thing in gc.get_objects() if type(thing).__name__ == kind)
"""

BREAK_THE_JOURNAL = """
import sqlite3
the("Journal")._connection = sqlite3.connect(":memory:", check_same_thread=False)  # without a table of facts
"""
STOP_THE_BOSS = """
boss = the("Boss")
async def never():
    await asyncio.Event().wait()
boss._keep_checkpoint, boss._checkpoint_s = never, 0
"""


class OwnFloor:
    """A data folder, and two agents: one that only looks, and one that does something ten minutes before an end."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        (folder / "own").mkdir()
        (folder / "configs" / "strategies").mkdir(parents=True)
        for name in ("calm", "odd"):
            (folder / "configs" / "strategies" / f"{name}.toml").write_text(f'strategy = "{name}_one"\n')
        self.give("calm", "pass")

    def give(self, name: str, act: str) -> None:
        """What an agent does when its moment comes, in Python."""
        text = STRATEGY.format(name=f"{name}_one", act=textwrap.indent(textwrap.dedent(act), " " * 8))
        (self.folder / "own" / f"{name}.py").write_text(text)

    def run(self, speed: float = 0, **environment: str) -> Service:
        own = {
            "POLYBOT_CONFIG_DIR": str(self.folder / "configs"),
            "POLYBOT_STRATEGIES_DIR": str(self.folder / "own"),
            "POLYBOT_STALL_EXIT_S": str(STALL_EXIT_S),
        }
        return Service(self.data, speed=speed, **(own | environment))

    def facts(self) -> list[AnyFact]:
        with Journal.open(journal_path(self.data)) as journal:
            return [entry.fact for entry in journal.read()]

    def states(self, agent: str) -> list[AgentState]:
        return [fact.state for fact in self.facts() if isinstance(fact, AgentChanged) and fact.agent == agent]

    def goes_on_to_its_end(self) -> bool:
        """Whether, with an agent that behaves, the next start takes the run up and finishes it."""
        self.give("odd", "pass")
        service = self.run()
        printed = service.finish()
        assert "going on at market event" in service.log
        records = [fact for fact in self.facts() if isinstance(fact, WindowRecorded)]
        whole = len({(record.agent, record.market) for record in records}) == len(records) == 2 * WINDOWS
        return whole and "played to its end" in printed and verify(journal_path(self.data)).damage is None


@pytest.fixture
def floor(tmp_path: Path) -> OwnFloor:
    return OwnFloor(tmp_path)


def test_a_strategy_that_never_returns_ends_the_process_with_its_line_in_the_log_and_the_next_start_goes_on(
    floor: OwnFloor,
) -> None:
    floor.give("odd", "while True:\n    pass")
    service = floor.run()
    service.finish(30)
    assert service.process.returncode == EXIT_STUCK
    (critical,) = [line for line in service.lines if line["level"] == "CRITICAL"]
    assert "the event loop has not turned for 1." in str(critical["message"])
    assert "odd.py" in str(critical["message"])
    assert str(critical["message"]).endswith("in act\n    while True:")
    assert floor.goes_on_to_its_end()


def test_a_strategy_that_sleeps_is_logged_with_its_stack_and_the_floor_goes_on(floor: OwnFloor) -> None:
    floor.give("odd", "time.sleep(0.6)")
    service = floor.run()
    assert "played to its end" in service.finish()
    (stalled,) = [line for line in service.lines if line["action"] == "loop_stalled" and "odd.py" in str(line)]
    assert "time.sleep(0.6)" in str(stalled["message"])
    assert "loop_went_on" in [line["action"] for line in service.lines]
    assert service.process.returncode == 0


def test_an_agent_that_would_end_the_process_crashes_alone(floor: OwnFloor) -> None:
    floor.give("odd", "sys.exit(3)")
    service = floor.run()
    assert "played to its end" in service.finish()
    assert service.process.returncode == 0
    assert floor.states("calm") == [AgentState.RUNNING, AgentState.STOPPED]
    assert floor.states("odd")[:2] == [AgentState.RUNNING, AgentState.CRASHED]
    notes = [fact.text for fact in floor.facts() if isinstance(fact, SystemNoted) and fact.severity is Severity.ERROR]
    assert any("AgentQuit: it raised SystemExit(3)" in text for text in notes)


def test_a_disk_that_never_answers_ends_the_process_though_the_loop_turns(floor: OwnFloor) -> None:
    floor.give("odd", "the('Journal')._commit = lambda group: time.sleep(600)")
    service = floor.run()
    service.finish(30)
    assert service.process.returncode == EXIT_STUCK
    assert "the journal has not got on for " in service.log
    assert floor.goes_on_to_its_end()


def test_a_journal_that_fails_ends_the_process_with_the_reason_and_the_next_start_goes_on(floor: OwnFloor) -> None:
    floor.give("odd", BREAK_THE_JOURNAL)
    service = floor.run()
    service.wait_for("journal_failed")
    began = time.monotonic()
    service.finish(35)
    assert time.monotonic() - began < 10
    assert service.process.returncode == 1
    assert "could not be written" in service.log
    assert floor.goes_on_to_its_end()


def test_a_boss_that_hangs_ends_the_process(floor: OwnFloor) -> None:
    floor.give("odd", STOP_THE_BOSS)
    service = floor.run(speed=3000)
    service.finish(35)
    assert service.process.returncode == EXIT_STUCK
    assert "the boss has not got on for " in service.log


def test_a_stop_that_hangs_ends_in_its_time_and_says_at_what(floor: OwnFloor) -> None:
    floor.give("odd", "the('Journal')._writer.join = lambda seconds_max: time.sleep(600)")
    service = floor.run(POLYBOT_STOP_S_MAX="5", POLYBOT_STALL_EXIT_S="30")
    service.finish(30)
    assert service.process.returncode == EXIT_STUCK
    assert "the stop in order did not end in 5 s: the journal would not close" in service.log
