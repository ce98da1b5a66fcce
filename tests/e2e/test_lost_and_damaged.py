"""The real service finds its run again when the folder is lost, and is made whole when the journal is damaged."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from polybot.runs import journal_path
from polybot.storage.journal_file import read_rows
from polybot.storage.journal_verify import verify
from tests.e2e.service import ROOT, Service

pytestmark = pytest.mark.slow


def polybot(folder: Path, *words: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("POLYBOT_")}
    return subprocess.run(
        [sys.executable, "-m", "polybot", *words],
        cwd=ROOT,
        env=clean | {"POLYBOT_DATA_DIR": str(folder)},
        input=answer,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def found_again(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A run whose journal was lost half way, and which went on to its end: folder, what it printed, its log."""
    folder = tmp_path_factory.mktemp("lost") / "data"
    first = Service(folder, speed=4000)
    first.wait_for("settled", 3)
    first.interrupt()
    rows = list(read_rows(journal_path(folder)))
    shutil.rmtree(folder / "floor")
    second = Service(folder, speed=0)
    printed = second.finish()
    assert list(read_rows(journal_path(folder)))[: len(rows)] == rows
    return folder, printed, second.log


def test_a_run_whose_folder_was_lost_is_taken_from_the_database_and_goes_on_to_its_end(
    found_again: tuple[Path, str, str],
) -> None:
    folder, printed, log = found_again
    assert "36 of 36" in printed
    assert "The money adds up" in printed
    assert "facts were taken from the database" in log
    assert "going on at market event" in log
    assert verify(journal_path(folder)).whole
    notes = [row.payload.decode() for row in read_rows(journal_path(folder)) if b"SystemNoted" in row.payload]
    assert any("facts were taken from the database" in text for text in notes)


def test_a_damaged_journal_is_refused_with_its_place_and_repaired_from_the_floors_own_database(
    found_again: tuple[Path, str, str],
) -> None:
    folder, _, _ = found_again
    path = journal_path(folder)
    rows = list(read_rows(path))
    connection = sqlite3.connect(path)
    connection.execute("DROP TRIGGER facts_keep_their_content")
    connection.execute("UPDATE facts SET payload = replace(payload, '2', '3') WHERE seq IN (50, 90)")
    connection.commit()
    connection.close()
    refused = Service(folder, speed=0)
    refused.finish()
    assert refused.process.returncode == 1
    assert "damaged at row 50" in refused.log
    assert "polybot journal repair" in refused.log

    alone = polybot(folder, "journal", "repair", "--without-database", answer="n\n")
    assert alone.returncode == 1
    assert f"{len(rows) - 49} facts are cut off, rows 50 to {len(rows)}" in alone.stdout
    assert "TradeSettled" in alone.stdout
    assert not verify(path).whole  # nothing was done

    repaired = polybot(folder, "journal", "repair")
    assert repaired.returncode == 0, repaired.stderr
    assert "cut off" not in repaired.stdout
    assert "journal.damaged-0001.sqlite" in repaired.stdout
    assert list(read_rows(path)) == rows
    told = polybot(folder, "journal", "verify").stdout
    assert f"{len(rows)} facts" in told
    assert "the chain is whole" in told
