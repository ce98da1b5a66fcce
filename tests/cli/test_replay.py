"""`polybot replay`: a table and exit 0, or the first difference with both sides and exit 1."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from polybot.cli import application
from polybot.domain.events import IntentRecorded, Journaled
from polybot.domain.units import Price
from polybot.runs import journal_path
from polybot.storage.journal import Journal
from tests.backtest.past_runs import PastRun


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> PastRun:
    return PastRun(tmp_path_factory.mktemp("run"), lockstep=True)


def replayed(folder: Path, facts: list[Journaled], slug: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    monkeypatch.setenv("POLYBOT_DATA_DIR", str(folder))
    asyncio.run(write_down(journal_path(folder), facts))
    result = CliRunner().invoke(application(["replay"]), ["replay", slug])
    return result.exit_code, result.output


async def write_down(path: Path, facts: list[Journaled]) -> None:
    path.parent.mkdir(parents=True)
    journal = Journal.open(path)
    for entry in facts:
        await journal.append([entry.fact], entry.position)
    journal.close()


def test_a_run_on_the_shipped_tape_is_equal(past, tmp_path, monkeypatch):
    code, output = replayed(tmp_path, past.facts, past.markets[0], monkeypatch)
    assert code == 0, output
    assert "equal: all 5 decisions" in output
    assert "momentum" in output


def test_a_difference_is_shown_field_by_field(past, tmp_path, monkeypatch):
    facts = [
        msgspec.structs.replace(entry, fact=dearer(entry.fact)) if isinstance(entry.fact, IntentRecorded) else entry
        for entry in past.facts
    ]
    code, output = replayed(tmp_path, facts, past.markets[0], monkeypatch)
    assert code == 1
    assert "intent.fair_value" in output
    assert "123457" in output


def dearer(fact: IntentRecorded) -> IntentRecorded:
    return msgspec.structs.replace(fact, intent=msgspec.structs.replace(fact.intent, fair_value=Price(123_457)))


def test_an_unknown_window_is_refused_with_those_there_are(past, tmp_path, monkeypatch):
    monkeypatch.setenv("POLYBOT_DATA_DIR", str(tmp_path))
    asyncio.run(write_down(journal_path(tmp_path), past.facts))
    result = CliRunner().invoke(application(["replay"]), ["replay", "btc-updown-15m-1"])
    assert result.exit_code != 0
    assert past.markets[0] in str(result.exception)


def test_a_folder_without_a_run_is_named_with_how_to_name_another(tmp_path):
    result = CliRunner().invoke(application(["replay"]), ["replay", "btc-updown-15m-1", "--data-dir", str(tmp_path)])
    assert f"no journal {tmp_path}" in str(result.exception)
    assert "--data-dir" in str(result.exception)
