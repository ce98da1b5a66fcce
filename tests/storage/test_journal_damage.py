"""What is damaged is found, named and refused, whatever was done to the file; and left as it was found."""

import os
import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from polybot.storage import journal as journal_module
from polybot.storage import journal_file, journal_verify
from polybot.storage.journal import Journal
from polybot.storage.journal_file import JournalDamagedError, JournalUnreadableError, JournalUnusableError
from polybot.storage.journal_place import JournalMissingError
from polybot.storage.journal_queue import JournalFailedError
from polybot.storage.journal_repair import draft
from polybot.storage.journal_verify import verify
from tests.storage.journals import damaged, note, start_appending, until

# ruff: noqa: ASYNC240 - nothing else runs in a test's loop


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE facts SET payload = replace(payload, 'INFO', 'ERROR') WHERE seq = 700", "not what was written"),
        ("UPDATE facts SET position = 9 WHERE seq = 700", "not what was written"),
        ("DELETE FROM facts WHERE seq = 700", "missing"),
        ("UPDATE facts SET prev_hash = zeroblob(32) WHERE seq = 700", "does not follow"),
    ],
)
async def test_damage_in_the_middle_is_found_and_its_row_named(path: Path, statement: str, what: str) -> None:
    await damaged(path, statement)
    with pytest.raises(JournalDamagedError, match=what) as error:
        Journal.open(path)
    assert error.value.seq == 700
    report = verify(path)
    assert (report.rows, report.damaged_seq) == (699, 700)


async def test_a_very_long_journal_opens_on_its_newest_rows_and_the_older_ones_are_proven_meanwhile(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_verify, "PROVEN_AT_OPEN_ROWS", 1000)
    monkeypatch.setattr(journal_module, "PROVEN_AT_OPEN_ROWS", 1000)
    await damaged(path, "SELECT 1")
    with Journal.open(path) as journal:
        await journal.append([note(1)], position=0)
        await until(lambda: journal.unproven_rows == 0)
        assert journal.failure is None


async def test_damage_among_the_older_rows_ends_a_journal_that_was_opened_on_its_newest(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_verify, "PROVEN_AT_OPEN_ROWS", 1000)
    monkeypatch.setattr(journal_module, "PROVEN_AT_OPEN_ROWS", 1000)
    await damaged(path, "UPDATE facts SET position = 9 WHERE seq = 100")
    with Journal.open(path) as journal:
        await until(lambda: journal.failure is not None)
        with pytest.raises(JournalDamagedError, match=r"damaged at row 100: .* `polybot journal repair`") as error:
            await journal.append([note(1)], position=0)
        assert error.value.seq == 100
        assert journal.last_seq == 1500


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ZeroDivisionError("a bug"), "prover .* ended by a bug: restart, and report the log"),
        (OSError(5, "Input/output error"), "prover .* ended by a bug: restart, and report the log"),
        (sqlite3.OperationalError("disk I/O error"), "could not be proven: disk I/O error"),
    ],
)
async def test_whatever_ends_the_proof_of_the_older_rows_is_the_journals_failure(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    monkeypatch.setattr(journal_verify, "PROVEN_AT_OPEN_ROWS", 10)
    monkeypatch.setattr(journal_module, "PROVEN_AT_OPEN_ROWS", 10)
    await damaged(path, "SELECT 1", rows=50)
    prove = journal_file.prove

    def fail_later(path: Path, after_seq: int, up_to: int) -> Iterator[int]:
        if after_seq:
            yield from prove(path, after_seq, up_to)
        else:
            raise error

    monkeypatch.setattr(journal_file, "prove", fail_later)
    with Journal.open(path) as journal:
        await until(lambda: journal.failure is not None)
        with pytest.raises(JournalFailedError, match=said):
            await journal.append([note(1)], position=0)


async def test_a_locked_journal_is_not_taken_for_a_damaged_one(path: Path) -> None:
    await damaged(path, "SELECT 1", rows=50)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA journal_mode = DELETE")
    reading = journal_file.open_for_reading(path)
    reading.execute("PRAGMA busy_timeout = 0")
    other.execute("BEGIN EXCLUSIVE")
    locked = r"cannot be read at row \d+: database is locked .*another program holds the file .*: close it and start"
    for read in (
        lambda: journal_file.hash_at(reading, path, 7),
        lambda: journal_file.hash_at(reading, path, 0),
        lambda: journal_file.last_row(reading, path),
    ):
        with pytest.raises(JournalUnreadableError, match=locked):
            read()
    other.execute("ROLLBACK")
    assert journal_file.hash_at(reading, path, 7) is not None
    other.close()
    reading.close()


async def test_a_repair_does_not_cut_off_what_is_only_locked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await damaged(path, "SELECT 1", rows=50)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA journal_mode = DELETE")
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0))
    with pytest.raises(JournalUnreadableError, match="database is locked"):
        await draft(path, None)
    other.execute("ROLLBACK")
    other.close()
    made = await draft(path, None)
    assert (made.rows, made.lost) == (verify(path).rows, None)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("SQLITE_BUSY_RECOVERY", "close it and start again"),
        ("SQLITE_IOERR_READ", "check the disk"),
        ("SQLITE_FULL", "free some space"),
        ("SQLITE_CANTOPEN", "check that the folder exists"),
        ("SQLITE_NOMEM", "not enough memory"),
        ("SQLITE_READONLY_DIRECTORY", "make it writable"),
    ],
)
def test_each_trouble_from_outside_the_file_has_its_own_remedy_and_is_no_damage(name: str, remedy: str) -> None:
    error = sqlite3.OperationalError("words of SQLite's")
    error.sqlite_errorname = name
    said = journal_file.trouble(Path("journal"), 7, "it cannot be read", error)
    assert isinstance(said, JournalUnreadableError)
    assert remedy in str(said)
    assert "repair" not in str(said)


@pytest.mark.parametrize(
    "name", ["SQLITE_CORRUPT_INDEX", "SQLITE_NOTADB", "SQLITE_ERROR", "SQLITE_IOERR_SHORT_READ", ""]
)
def test_what_lies_in_the_file_itself_is_damage(name: str) -> None:
    error = sqlite3.DatabaseError("words of SQLite's")
    error.sqlite_errorname = name
    assert isinstance(journal_file.trouble(Path("journal"), 7, "it cannot be read", error), JournalDamagedError)


async def test_closing_does_not_wait_for_a_long_proof(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_verify, "PROVEN_AT_OPEN_ROWS", 10)
    monkeypatch.setattr(journal_module, "PROVEN_AT_OPEN_ROWS", 10)
    monkeypatch.setattr(journal_module, "PROVER_PAUSE_SECONDS", 60.0)
    await damaged(path, "SELECT 1")
    journal = Journal.open(path)
    journal.close()
    assert not journal._prover.is_alive()


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("DROP TABLE identity", "its identity cannot be read"),
        ("DELETE FROM identity", "its identity is gone"),
        ("UPDATE identity SET genesis = zeroblob(32)", "does not follow"),
        ("DROP TABLE facts", "cannot find its last row"),
    ],
)
async def test_a_journal_without_its_identity_or_its_rows_is_refused_with_both_remedies(
    path: Path, statement: str, what: str
) -> None:
    await damaged(path, statement)
    with pytest.raises(JournalDamagedError, match=f"row 1: .*{what}.*`polybot journal repair`.*`polybot reset`"):
        Journal.open(path)


async def test_an_emptied_file_is_never_taken_for_a_new_journal(path: Path) -> None:
    await damaged(path, "SELECT 1", rows=500)
    path.write_bytes(b"")
    with pytest.raises(JournalDamagedError, match="the file is empty"):
        Journal.open(path)
    assert path.read_bytes() == b""


async def test_a_refused_journal_is_left_byte_for_byte_as_it_was_found(path: Path) -> None:
    child = start_appending(path)
    assert child.stdout is not None
    for _ in range(300):
        child.stdout.readline()
    child.kill()
    child.communicate()
    with path.open("r+b") as file:
        file.seek(40)
        file.write(b"\xff" * 4096)
    before = {part: Path(f"{path}{part}").read_bytes() for part in ("", "-wal")}
    with pytest.raises((JournalDamagedError, JournalUnusableError)):
        Journal.open(path)
    assert {part: Path(f"{path}{part}").read_bytes() for part in ("", "-wal")} == before


async def test_rows_that_went_with_their_wal_are_missed_by_the_checkpoint_beside_it(path: Path) -> None:
    with Journal.open(path) as journal:
        await journal.append([note(1), note(2)], position=0)
    (path.parent / f"checkpoint-{7:015d}.polybot").write_bytes(b"made at row 7")
    with pytest.raises(JournalDamagedError, match=r"row 3: it ends there, and a checkpoint .* at row 7 .*-wal"):
        Journal.open(path)


@pytest.mark.parametrize("sign", [f"checkpoint-{7:015d}.polybot", "journal.sqlite-wal"])
async def test_a_lost_journal_whose_folder_shows_that_there_was_one_is_not_begun_anew(path: Path, sign: str) -> None:
    path.parent.mkdir()
    (path.parent / sign).write_bytes(b"something")
    with pytest.raises(JournalMissingError, match=f"{sign} shows .*Put it back.*repair.*reset"):
        Journal.open(path)
    assert not path.exists()


async def test_overwritten_pages_are_damage_not_a_crash(path: Path) -> None:
    await damaged(path, "SELECT 1")
    with path.open("r+b") as file:
        file.seek(file.seek(0, os.SEEK_END) // 2)
        file.write(b"\xff" * 8192)
    report = verify(path)
    assert not report.whole
    assert report.damaged_seq is not None


async def test_other_files_and_newer_journals_are_refused_with_the_remedy(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("certainly not a database, and long enough to be looked at" * 20)
    with pytest.raises(JournalUnusableError, match="no SQLite database"):
        Journal.open(text)
    other = tmp_path / "other"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(JournalUnusableError, match="no PolyBot journal"):
        Journal.open(other)
    Journal.open(tmp_path / "newer").close()
    connection = sqlite3.connect(tmp_path / "newer")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(JournalUnusableError, match="newer PolyBot"):
        Journal.open(tmp_path / "newer")


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalUnusableError, match="folder"):
        Journal.open(tmp_path / "file" / "journal")
