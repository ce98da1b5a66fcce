"""The follower tells when a floor trades, and that nothing it once read may change."""

from pathlib import Path

import pytest

from polybot.agents.auditor import AUDITOR
from polybot.chaos.real_follow import Follower
from polybot.domain.events import AgentChanged, AgentState, RunStarted, Severity, SystemNoted
from polybot.domain.ids import AgentId
from polybot.domain.units import Millis, Money
from polybot.storage.journal import Journal
from polybot.storage.journal_file import JournalDamagedError

TRADER = AgentId("t")


def noted(number: int) -> SystemNoted:
    return SystemNoted(at=Millis(number), severity=Severity.INFO, component="test", text=f"note {number}")


def started() -> RunStarted:
    return RunStarted(at=Millis(0), run="r", source="tape x", mode="paper", capital=Money(1), seed=1, version="0")


def runs(agent: AgentId) -> AgentChanged:
    return AgentChanged(at=Millis(0), agent=agent, role="any", state=AgentState.RUNNING)


async def put_in_place(path: Path, genesis: bytes, facts: list[SystemNoted]) -> None:
    """Another journal where `path` was."""
    other = path.parent / "other" / path.name
    with Journal.open(other, genesis=genesis) as journal:
        await journal.append(facts, 1)
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    other.rename(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def follower(path: Path) -> Follower:
    return Follower(path, frozenset({AUDITOR, TRADER}))


def test_before_there_is_a_journal_there_is_nothing_to_see(follower):
    follower.look()
    assert (follower.rows, follower.position, follower.progress.started) == (0, 0, None)


async def test_a_floor_trades_when_all_its_agents_run_and_the_market_has_gone_on(path, follower):
    with Journal.open(path) as journal:
        for facts, position in (([started()], 7), ([runs(AUDITOR)], 7), ([noted(1)], 8)):
            await journal.append(facts, position)
        follower.look()
        assert follower.progress.started is not None
        assert follower.progress.trading is None
        await journal.append([runs(TRADER)], 7)
        follower.look()
        assert follower.progress.trading is None
        await journal.append([noted(2)], 9)
        follower.look()
        assert follower.progress.trading is not None


async def test_what_was_told_before_a_launch_does_not_count_for_it(path, follower):
    with Journal.open(path) as journal:
        await journal.append([started(), runs(AUDITOR), runs(TRADER)], 7)
        await journal.append([noted(1)], 8)
        follower.launched()
        assert (follower.progress.started, follower.progress.trading, follower.position) == (None, None, 8)


async def test_a_journal_that_only_grew_has_lost_nothing(path, follower):
    with Journal.open(path) as journal:
        await journal.append([noted(1), noted(2)], 1)
        follower.look()
        await journal.append([noted(3)], 2)
    assert follower.missing() == []


async def test_a_past_of_another_history_is_found_at_once_and_at_the_end(path, follower):
    with Journal.open(path, genesis=b"\1" * 32) as journal:
        await journal.append([noted(1), noted(2)], 1)
    follower.look()
    await put_in_place(path, b"\2" * 32, [noted(1), noted(2), noted(3)])
    with pytest.raises(JournalDamagedError, match="not the row that was there before a kill"):
        follower.look()
    assert follower.missing() == ["journal row 1 is not what was durable there"]


async def test_rows_that_were_durable_and_are_gone_are_found(path, follower):
    with Journal.open(path, genesis=b"\1" * 32) as journal:
        await journal.append([noted(1), noted(2)], 1)
    follower.look()
    await put_in_place(path, b"\1" * 32, [noted(1)])
    with pytest.raises(JournalDamagedError, match="missing"):
        follower.look()
    assert follower.missing() == ["journal rows 2 to 2 were durable and are gone"]
