"""Puts a journal in its place whole or not at all, and knows from what lies beside it that one must have been there.

A journal is made beside its place and moved in when it is on disk. One that replaces another waits as `.next`: from
then on, whoever opens the journal finishes the exchange. So a file in the journal's place is never half made, and an
empty one there is damage.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from polybot.storage import journal_file
from polybot.storage.journal_file import JournalDamagedError, JournalRow, JournalUnusableError

PARTS = ("", "-wal", "-shm")
UNFINISHED, NEXT = ".unfinished", ".next"
CHECKPOINT_PREFIX, CHECKPOINT_SUFFIX = "checkpoint-", ".polybot"
ADD_ROW = "INSERT INTO facts (seq, position, payload, prev_hash, hash) VALUES (?, ?, CAST(? AS TEXT), ?, ?)"


class JournalMissingError(JournalUnusableError):
    """There is no journal, and what lies in its folder is left from one: this is not a first start."""


def is_there(path: Path) -> bool:
    """Whether a journal is in its place, after finishing an exchange that was begun. Hold the lock."""
    settle(path)
    return path.exists()


def create(path: Path, genesis: bytes) -> None:
    """An empty journal at `path`, where there is none. Raises JournalUnusableError."""
    try:
        begin(path, genesis).close()
        install(path)
    except sqlite3.Error as error:
        raise JournalUnusableError(f"the journal {path} cannot be made: {journal_file.describe(error)}") from error
    except OSError as error:
        raise JournalUnusableError(f"the journal {path} cannot be made: {error}; check the folder and disk") from error


def begin(path: Path, genesis: bytes) -> sqlite3.Connection:
    """A new journal being written beside `path`: `add` rows, close it, then `install`. Raises sqlite3.Error."""
    remove_unfinished(path)
    connection = sqlite3.connect(_beside(path, UNFINISHED), isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.executescript(journal_file.SCHEMA)
    connection.execute(f"PRAGMA application_id = {journal_file.APPLICATION_ID:d}")
    connection.execute(f"PRAGMA user_version = {journal_file.FORMAT_VERSION:d}")
    connection.execute("INSERT INTO identity VALUES (1, ?)", (genesis,))
    connection.execute("COMMIT")
    return connection


def remove_unfinished(path: Path) -> None:
    """What `begin` was making, or left when it was killed."""
    for part in PARTS:
        Path(f"{_beside(path, UNFINISHED)}{part}").unlink(missing_ok=True)


def add(
    connection: sqlite3.Connection, path: Path, rows: Iterable[JournalRow], after: tuple[int, bytes]
) -> tuple[int, bytes]:
    """Write rows that follow the row and hash `after`, each proven first, in one transaction; gives the last one's.

    `path` names the journal in an error. Raises JournalDamagedError, with nothing written, or sqlite3.Error.
    """
    seq, previous = after
    values = []
    for row in rows:
        journal_file.check_row(path, row, seq + 1, previous)
        values.append((row.seq, row.position, row.payload, row.prev_hash, row.hash))
        seq, previous = row.seq, row.hash
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.executemany(ADD_ROW, values)
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return seq, previous


def install(path: Path) -> None:
    """Move in what `begin` made, closed by now. From the first rename on, a power cut only delays it."""
    unfinished = _beside(path, UNFINISHED)
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(_beside(path, NEXT))
    sync_folder(path.parent)
    settle(path)


def settle(path: Path) -> None:
    """Finish an exchange that was begun: the old one is kept under another name by then, or there is none."""
    following = _beside(path, NEXT)
    if not following.exists():
        return
    for part in PARTS[1:]:
        Path(f"{path}{part}").unlink(missing_ok=True)  # an old WAL would be replayed over the new file
    sync_folder(path.parent)
    following.replace(path)
    sync_folder(path.parent)


def keep_aside(path: Path, why: str) -> Path | None:
    """Give the journal's files, WAL included, a second name (journal.damaged-0001.sqlite); None where there is none.

    Its own name stays until `install` takes it over, so that at every moment there is a journal to be found.
    """
    present = [part for part in PARTS if Path(f"{path}{part}").exists()]
    if not present:
        return None
    kept = _free_name(path, why)
    for part in present:
        _second_name(Path(f"{path}{part}"), Path(f"{kept}{part}"))
    sync_folder(path.parent)
    return kept


def keep_checkpoints_aside(folder: Path, after_seq: int) -> None:
    """Checkpoints made after row `after_seq` speak of rows that are no more: they get a name that nobody looks for."""
    for seq, file in checkpoint_files(folder).items():
        if seq > after_seq:
            file.rename(file.with_suffix(".superseded"))
    sync_folder(folder)


def require_no_run(path: Path) -> None:
    """There is no journal; raises JournalMissingError if there must have been one."""
    signs = [file.name for file in checkpoint_files(path.parent).values()]
    signs += [name for part in PARTS[1:] if (Path(name := f"{path}{part}")).exists()]
    if signs:
        raise JournalMissingError(
            f"the journal {path} is missing, and {signs[-1]} shows that there was one. Put it back; or let "
            "`polybot journal repair` make it anew from the database; or put the rest of that run away: `polybot reset`"
        )


def require_nothing_lost(path: Path, last_seq: int) -> None:
    """Raises JournalDamagedError where a checkpoint was made of rows that the journal had, and has no more.

    Every row a checkpoint speaks of was on disk before it. Rows at the end go without a trace when the WAL is lost.
    """
    ahead = last_checkpoint(path.parent)
    if ahead > last_seq:
        what = f"it ends there, and a checkpoint beside it was made at row {ahead} (was its -wal file lost?)"
        raise JournalDamagedError(path, last_seq + 1, what)


def last_checkpoint(folder: Path) -> int:
    """The row of the newest checkpoint file in the folder; 0 with none."""
    return max(checkpoint_files(folder), default=0)


def checkpoint_files(folder: Path) -> dict[int, Path]:
    """By the row they are named after, in that order; anything else that lies there is nobody's."""
    found = sorted(folder.glob(f"{CHECKPOINT_PREFIX}*{CHECKPOINT_SUFFIX}"))
    rows = {file: file.stem.removeprefix(CHECKPOINT_PREFIX) for file in found}
    return {int(row): file for file, row in rows.items() if row.isdecimal()}


def sync_folder(folder: Path) -> None:
    """New, changed and removed names survive a power cut only then."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _free_name(path: Path, why: str) -> Path:
    number = 1
    while (kept := path.with_name(f"{path.stem}.{why}-{number:04d}{path.suffix}")).exists():
        number += 1
    return kept


def _second_name(file: Path, name: Path) -> None:
    try:
        os.link(file, name)
    except OSError:  # a file system without hard links
        shutil.copy2(file, name)
        with name.open("rb") as copy:
            os.fsync(copy.fileno())
