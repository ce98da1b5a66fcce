"""Which run a start finds: the one in the folder, the one the database still has, or none."""

import random
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from polybot.circuit import Circuit, CircuitPlan
from polybot.clock import SystemClock
from polybot.domain.events import AnyFact, RunEnded, Severity, SystemNoted
from polybot.domain.units import Millis
from polybot.runs import (
    PUT_AWAY_NOTE,
    RunError,
    is_finished,
    journal_path,
    migrate_database,
    put_away,
    take_up,
    wipe_database,
)
from polybot.storage.embedded import embedded_servers
from polybot.storage.journal import Journal
from polybot.storage.journal_file import JournalDamagedError, JournalRow, read_rows
from polybot.storage.journal_place import JournalMissingError
from polybot.storage.postgres import open_pool
from polybot.storage.projection_postgres import PostgresProjection
from polybot.storage.projector import Projector
from polybot.storage.rebuild import JournalDivergedError

AWAY = "postgresql://polybot@127.0.0.1:1/polybot"


def said(text: str) -> AnyFact:
    return SystemNoted(at=Millis(1), severity=Severity.INFO, component="test", text=text)


async def a_run_that_ended_with(folder: Path, last: AnyFact) -> None:
    with Journal.open(journal_path(folder)) as journal:
        await journal.append([said("first")], 0)
        await journal.append([last], 0)


def the_end(*, finished: bool) -> RunEnded:
    return RunEnded(at=Millis(2), reason="", finished=finished)


def content(folder: Path) -> list[JournalRow]:
    return list(read_rows(journal_path(folder)))


async def project(folder: Path, url: str) -> None:
    """Carry the folder's journal over to the database."""
    clock, chance = SystemClock(), random.Random(1)
    pool = await open_pool(url)
    with Journal.open(journal_path(folder)) as journal:
        circuit = Circuit("database", CircuitPlan(), chance, clock.now_ms())
        projector = Projector(journal, PostgresProjection(pool), clock, circuit, chance)
        assert await projector.drain(20.0) == 0
    await pool.close()


async def test_a_run_is_finished_when_its_last_word_says_so(tmp_path: Path) -> None:
    assert not is_finished(journal_path(tmp_path / "nothing"))
    await a_run_that_ended_with(tmp_path / "over", the_end(finished=True))
    await a_run_that_ended_with(tmp_path / "stopped", the_end(finished=False))
    assert is_finished(journal_path(tmp_path / "over"))
    assert not is_finished(journal_path(tmp_path / "stopped"))


async def test_a_run_is_put_away_whole_under_the_next_free_number(tmp_path: Path) -> None:
    for number in (1, 2):
        await a_run_that_ended_with(tmp_path, the_end(finished=True))
        assert put_away(tmp_path) == tmp_path / f"finished-{number:04d}"
    assert is_finished(tmp_path / "finished-0002/journal.sqlite")
    assert put_away(tmp_path) is None


async def test_a_note_of_runs_put_away_that_could_not_be_written_leaves_the_old_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_run_that_ended_with(tmp_path, the_end(finished=True))
    put_away(tmp_path)
    note = tmp_path / PUT_AWAY_NOTE
    before = note.read_text()
    await a_run_that_ended_with(tmp_path, the_end(finished=True))

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("polybot.runs.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        put_away(tmp_path)
    monkeypatch.undo()
    assert note.read_text() == before
    assert journal_path(tmp_path).exists(), "it is noted before it is put away"
    put_away(tmp_path)
    assert note.read_text().split()[0] == before.strip()
    assert len(note.read_text().split()) == 2
    assert not note.with_suffix(".unfinished").exists()


async def test_names_that_people_gave_to_kept_runs_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "finished-0001-keep").mkdir()
    (tmp_path / "finished-mine").mkdir()
    await a_run_that_ended_with(tmp_path, the_end(finished=True))
    assert put_away(tmp_path) == tmp_path / "finished-0002"


async def test_without_a_database_whatever_is_in_the_folder_is_left_where_it_is(tmp_path: Path) -> None:
    await a_run_that_ended_with(tmp_path, the_end(finished=True))
    assert (await take_up(tmp_path, None, own=False)).put_away is None
    assert journal_path(tmp_path).exists()


async def test_a_database_that_is_away_keeps_no_run_from_going_on_and_is_a_warning_before_a_first_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polybot.runs.ASK_SECONDS_MAX", 0.0)
    [warning] = (await take_up(tmp_path, AWAY, own=False)).warnings
    assert "not knowing whether there was another" in warning
    await a_run_that_ended_with(tmp_path, the_end(finished=False))
    assert (await take_up(tmp_path, AWAY, own=False)).warnings == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory(prefix="polybot-test-") as folder:
        async with embedded_servers(Path(folder), valkey=False) as servers:
            yield servers.database_url or ""


@pytest.fixture
async def url(server: str) -> str:
    """A server with the floor's schema and no rows."""
    await wipe_database(server)
    await migrate_database(server)
    return server


async def test_our_own_database_gives_back_a_lost_run_and_is_emptied_with_a_finished_one(
    tmp_path: Path, url: str
) -> None:
    await a_run_that_ended_with(tmp_path, the_end(finished=False))
    await project(tmp_path, url)
    was = content(tmp_path)

    shutil.rmtree(tmp_path / "floor")
    [told] = (await take_up(tmp_path, url, own=True)).warnings
    assert "2 facts were taken from the database" in told
    assert content(tmp_path) == was

    assert put_away(tmp_path) == tmp_path / "finished-0001"  # as `polybot reset` does
    shutil.rmtree(tmp_path / "finished-0001")
    found = await take_up(tmp_path, url, own=True)
    assert (found.warnings, found.put_away) == ([], None)
    assert not journal_path(tmp_path).exists()
    assert await tables_of(url) == 0

    await migrate_database(url)
    await a_run_that_ended_with(tmp_path, the_end(finished=True))
    await project(tmp_path, url)
    assert (await take_up(tmp_path, url, own=True)).put_away == tmp_path / "finished-0001"
    assert not journal_path(tmp_path).exists()
    assert await tables_of(url) == 0


async def test_a_finished_run_that_is_damaged_is_not_put_away_with_what_could_mend_it(tmp_path: Path, url: str) -> None:
    await a_run_that_ended_with(tmp_path, the_end(finished=True))
    await project(tmp_path, url)
    with sqlite3.connect(journal_path(tmp_path)) as connection:
        connection.execute("DROP TRIGGER facts_keep_their_content")
        connection.execute("UPDATE facts SET position = 9 WHERE seq = 1")
    connection.close()
    with pytest.raises(RunError, match="damaged at row 1"):
        await take_up(tmp_path, url, own=True)
    assert await tables_of(url) > 0


async def test_a_reset_with_the_floors_folder_lost_forgets_what_our_database_has(tmp_path: Path, url: str) -> None:
    await a_run_that_ended_with(tmp_path, the_end(finished=False))
    await project(tmp_path, url)
    shutil.rmtree(tmp_path / "floor")
    assert put_away(tmp_path) is None
    assert (await take_up(tmp_path, url, own=True)).warnings == []
    assert not journal_path(tmp_path).exists()
    assert await tables_of(url) == 0


async def test_a_database_not_our_own_is_only_read(tmp_path: Path, url: str) -> None:
    await a_run_that_ended_with(tmp_path, the_end(finished=False))
    await project(tmp_path, url)
    was = content(tmp_path)
    put_away(tmp_path)
    assert (await take_up(tmp_path, url, own=False)).warnings == []
    assert not journal_path(tmp_path).exists()  # put away on purpose: begun anew
    (tmp_path / "put-away.txt").unlink()
    assert "2 facts" in (await take_up(tmp_path, url, own=False)).warnings[0]
    assert content(tmp_path) == was
    stranger = tmp_path / "stranger"
    await a_run_that_ended_with(stranger, the_end(finished=False))
    assert (await take_up(stranger, url, own=False)).warnings == []  # the projector says what to do
    assert len(content(stranger)) == 2


async def test_a_journal_that_lost_its_end_gets_it_back_and_one_that_went_on_without_is_refused(
    tmp_path: Path, url: str
) -> None:
    await a_run_that_ended_with(tmp_path, the_end(finished=False))
    older = shutil.copytree(tmp_path / "floor", tmp_path / "older")
    await a_run_that_ended_with(tmp_path, the_end(finished=False))
    await project(tmp_path, url)
    was = content(tmp_path)
    shutil.rmtree(tmp_path / "floor")
    shutil.copytree(older, tmp_path / "floor")
    assert "2 facts that the journal did not have" in (await take_up(tmp_path, url, own=True)).warnings[0]
    assert content(tmp_path) == was
    shutil.rmtree(tmp_path / "floor")
    shutil.copytree(older, tmp_path / "floor")
    await a_run_that_ended_with(tmp_path, said("another story"))
    with pytest.raises(JournalDivergedError, match="different histories"):
        await take_up(tmp_path, url, own=True)


async def test_what_is_left_of_a_run_without_its_journal_is_refused_where_no_database_has_it(
    tmp_path: Path, url: str
) -> None:
    (tmp_path / "floor").mkdir()
    (tmp_path / "floor" / f"checkpoint-{40:015d}.polybot").write_bytes(b"state")
    await take_up(tmp_path, url, own=True)
    with pytest.raises(JournalMissingError, match="polybot reset"):
        Journal.open(journal_path(tmp_path))
    journal_path(tmp_path).write_bytes(b"")
    with pytest.raises(JournalDamagedError, match="empty"):
        await take_up(tmp_path, url, own=True)


async def tables_of(url: str) -> int:
    pool = await open_pool(url)
    try:
        return int(await pool.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"))
    finally:
        await pool.close()
