"""The journal's file: its format, who may write it, and how its rows are read and proven whole (design.md D5).

Each row's hash covers the row and the hash before it, so a changed, missing or exchanged row breaks the chain at its
place. Row 1 hangs on the *genesis*, 32 bytes drawn when the file is made: the journal's identity.
"""

import fcntl
import hashlib
import os
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import quote

import msgspec

from polybot.domain.errors import PolybotError
from polybot.domain.events import AnyFact, Journaled

APPLICATION_ID = 0x506F6C79  # "Poly", in the SQLite header, so that `file` and we tell a journal from other databases
FORMAT_VERSION = 1
GENESIS_BYTES = 32
READ_BATCH_ROWS = 500
PROVE_BATCH_ROWS = 2_000
PAGES_MAX = 16_000_000
"""Of 4 KiB: 64 GB. At the bound the journal fails as on a full disk."""

SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE identity (id INTEGER PRIMARY KEY CHECK (id = 1), genesis BLOB NOT NULL) STRICT;
CREATE TABLE facts (
    seq INTEGER PRIMARY KEY,
    position INTEGER NOT NULL,
    payload TEXT NOT NULL,
    prev_hash BLOB NOT NULL,
    hash BLOB NOT NULL,
    at INTEGER GENERATED ALWAYS AS (json_extract(payload, '$.at')) VIRTUAL,
    kind TEXT GENERATED ALWAYS AS (json_extract(payload, '$.fact')) VIRTUAL
) STRICT;
CREATE TRIGGER facts_keep_their_content BEFORE UPDATE ON facts
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only: a fact is never changed'); END;
CREATE TRIGGER facts_are_never_removed BEFORE DELETE ON facts
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only: a fact is never removed'); END;
CREATE TRIGGER facts_come_in_sequence BEFORE INSERT ON facts
    WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM facts)
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only: facts come in sequence'); END;
"""
SELECT_ROWS = "SELECT seq, position, payload, prev_hash, hash FROM facts WHERE seq > ? ORDER BY seq LIMIT ?"
SELECT_LAST = "SELECT seq, hash FROM facts ORDER BY seq DESC LIMIT 1"

FACT_DECODER: msgspec.json.Decoder[AnyFact] = msgspec.json.Decoder(AnyFact)


REMEDIES_FOR_DAMAGE = (
    "Nothing is traded on it. `polybot journal repair` keeps the file and makes a whole one with the rows that the "
    "database has; `polybot reset` puts the run away and begins a new one"
)


class JournalError(PolybotError):
    """The journal cannot take or give facts; the text says what to do. The floor must not trade without it."""


class JournalInUseError(JournalError):
    """Another process writes this journal."""


class JournalUnusableError(JournalError):
    """The file is no journal, was made by a newer version, or cannot be opened."""


class JournalUnreadableError(JournalUnusableError):
    """The disk, or another program, does not let it be read just now: nothing is known against its rows."""


class JournalDamagedError(JournalError):
    """The chain is broken at row `seq`; everything before it that was read is whole."""

    def __init__(self, path: Path, seq: int, what: str) -> None:
        super().__init__(f"the journal {path} is damaged at row {seq}: {what}. {REMEDIES_FOR_DAMAGE}")
        self.seq = seq


class JournalRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row as it stands in the file: `payload` is the fact in JSON, the hashes are 32 bytes each."""

    seq: int
    position: int
    payload: bytes
    prev_hash: bytes
    hash: bytes

    def journaled(self) -> Journaled:
        """The fact with its place. Raises msgspec.ValidationError when this version does not know such a fact."""
        return Journaled(seq=self.seq, position=self.position, fact=FACT_DECODER.decode(self.payload))


def row_hash(prev_hash: bytes, seq: int, position: int, payload: bytes) -> bytes:
    """SHA-256 over the previous hash, seq and position (8 bytes each, big-endian) and the payload."""
    return hashlib.sha256(prev_hash + struct.pack(">qq", seq, position) + payload).digest()


def lock_for_writing(path: Path) -> IO[str]:
    """Take the lock file beside `path`; held until closed or our end. Raises JournalInUseError with its pid."""
    lock = path.with_name(path.name + ".lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise JournalInUseError(
            f"the journal {path} is being written by process {holder}: stop that PolyBot first, or give this one "
            "another data folder"
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def open_for_writing(path: Path, pages_max: int = PAGES_MAX) -> sqlite3.Connection:
    """Open the file. Raises JournalUnusableError, also when it is read-only, or JournalDamagedError."""
    require_some_content(path)
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
        check_format(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA max_page_count = {pages_max:d}")
        connection.execute("BEGIN IMMEDIATE")  # a file or folder that is read-only says so now, not in mid-trade
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION:d}")
        connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise JournalUnusableError(f"the journal {path} cannot be opened: {describe(error)}") from error
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that can't write, usable while another process or thread appends.

    Raises JournalUnusableError (JournalUnreadableError where the cause lies outside the file) or JournalDamagedError.
    """
    require_some_content(path)
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)
        check_format(connection, path)
    except sqlite3.Error as error:
        kind = JournalUnreadableError if is_outside_trouble(error) else JournalUnusableError
        raise kind(f"the journal {path} cannot be opened for reading: {describe(error)}") from error
    connection.text_factory = bytes
    return connection


def require_some_content(path: Path) -> None:
    """An empty file is what is left of a journal: a new one is put in its place whole. Raises JournalDamagedError."""
    if path.exists() and path.stat().st_size == 0:
        raise JournalDamagedError(path, 1, "the file is empty, and a journal never is")


def check_format(connection: sqlite3.Connection, path: Path) -> None:
    """Raises JournalUnusableError unless the file is a journal that this version can read."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables == 0:
        raise JournalDamagedError(path, 1, "the file holds no table, and a journal always does")
    if application != APPLICATION_ID:
        raise JournalUnusableError(f"{path} is a SQLite file, but no PolyBot journal: name another file or data folder")
    if version > FORMAT_VERSION:
        raise JournalUnusableError(
            f"{path} was written by a newer PolyBot (journal format {version}; this one knows {FORMAT_VERSION}): "
            "upgrade PolyBot, or give this one another data folder"
        )


def read_genesis(connection: sqlite3.Connection, path: Path) -> bytes:
    """The journal's identity. Raises JournalDamagedError where it is gone."""
    try:
        row = connection.execute("SELECT genesis FROM identity").fetchone()
    except sqlite3.DatabaseError as error:
        raise trouble(path, 1, "its identity cannot be read", error) from error
    if row is None or len(row[0]) != GENESIS_BYTES:
        raise JournalDamagedError(path, 1, "its identity is gone")
    return bytes(row[0])


def hash_at(connection: sqlite3.Connection, path: Path, seq: int) -> bytes | None:
    """The hash of row `seq`, the genesis for 0, None where there is no such row.

    Raises JournalDamagedError, or JournalUnreadableError where the cause lies outside the file, as every reader here.
    """
    try:
        if seq == 0:
            return read_genesis(connection, path)
        row = connection.execute("SELECT hash FROM facts WHERE seq = ?", (seq,)).fetchone()
    except sqlite3.DatabaseError as error:
        raise trouble(path, seq, "SQLite cannot read it", error) from error
    return None if row is None else bytes(row[0])


def last_row(connection: sqlite3.Connection, path: Path) -> tuple[int, bytes]:
    """Sequence number and hash of the last row; 0 and the genesis in an empty journal. Raises JournalDamagedError."""
    try:
        row = connection.execute(SELECT_LAST).fetchone()
    except sqlite3.DatabaseError as error:
        raise trouble(path, 1, "SQLite cannot find its last row", error) from error
    return (0, read_genesis(connection, path)) if row is None else (row[0], bytes(row[1]))


def prove(path: Path, after_seq: int, up_to: int) -> Iterator[int]:
    """Prove the rows from `after_seq` to `up_to`, their hashes alone; gives the row reached, batch by batch.

    The same as `read_rows` without making values of rows, some 300,000 a second. Raises JournalDamagedError.
    """
    connection = open_for_reading(path)
    try:
        previous = hash_at(connection, path, after_seq)
        while after_seq < up_to:
            rows = _select(connection, path, after_seq, min(PROVE_BATCH_ROWS, up_to - after_seq))
            for seq, position, payload, prev_hash, own in rows:
                follows = seq == after_seq + 1 and prev_hash == previous
                if not (follows and _is_its_hash(own, prev_hash, seq, position, payload)):
                    row = JournalRow(seq=seq, position=position, payload=payload, prev_hash=prev_hash, hash=own)
                    check_row(path, row, after_seq + 1, previous or b"")
                after_seq, previous = seq, own
            if not rows:
                raise JournalDamagedError(path, after_seq + 1, f"it is missing, and so is all up to row {up_to}")
            yield after_seq
    finally:
        connection.close()


def read_rows(path: Path, after_seq: int = 0) -> Iterator[JournalRow]:
    """The rows after `after_seq` in order, each proven against the one before. Raises JournalDamagedError.

    Holds one batch in memory, and no read transaction between batches, so that a slow reader can't let the WAL grow.
    """
    connection = open_for_reading(path)
    try:
        previous = hash_at(connection, path, after_seq)
        if previous is None:
            raise JournalDamagedError(path, after_seq, "it is missing, while rows after it are asked for")
        while batch := _read_batch(connection, path, after_seq):
            for row in batch:
                check_row(path, row, after_seq + 1, previous)
                after_seq, previous = row.seq, row.hash
                yield row
    finally:
        connection.close()


def check_row(path: Path, row: JournalRow, seq: int, previous: bytes) -> None:
    """Raises JournalDamagedError unless `row` is row `seq` and hangs on the hash `previous`."""
    if row.seq != seq:
        raise JournalDamagedError(path, seq, f"it is missing (the next one is {row.seq})")
    if row.prev_hash != previous:
        raise JournalDamagedError(path, seq, "it does not follow the row before it")
    if not _is_its_hash(row.hash, previous, seq, row.position, row.payload):
        raise JournalDamagedError(path, seq, "its content is not what was written")


def _is_its_hash(own: bytes, previous: bytes, seq: int, position: int, payload: bytes) -> bool:
    try:
        return own == row_hash(previous, seq, position, payload)
    except (struct.error, TypeError):  # a damaged page can hold any type
        return False


def trouble(path: Path, seq: int, what: str, error: sqlite3.Error) -> JournalError:
    """What an error while reading row `seq` means: damage, unless it came from outside the file."""
    if is_outside_trouble(error):
        return JournalUnreadableError(f"the journal {path} cannot be read at row {seq}: {describe(error)}")
    return JournalDamagedError(path, seq, f"{what} ({error})")


def is_outside_trouble(error: sqlite3.Error) -> bool:
    """A lock, the disk, memory or permissions, and not what is written in the file."""
    name = getattr(error, "sqlite_errorname", "")
    return name.startswith(OUTSIDE) and name not in INSIDE


OUTSIDE = (
    *("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL", "SQLITE_IOERR", "SQLITE_FULL", "SQLITE_CANTOPEN"),
    *("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH", "SQLITE_NOMEM", "SQLITE_INTERRUPT"),
)
INSIDE = ("SQLITE_IOERR_SHORT_READ", "SQLITE_IOERR_CORRUPTFS")
"""The file ends within a page, and the file system says that its content is not what it stored."""


def describe(error: sqlite3.Error) -> str:
    """SQLite's words with the remedy for the known kinds of trouble."""
    name = getattr(error, "sqlite_errorname", "")
    remedy = next((text for sign, text in REMEDIES if name.startswith(sign)), "mend the cause and start again")
    return f"{error} ({name or type(error).__name__}); {remedy}"


REMEDIES = (
    ("SQLITE_FULL", "the disk is full: free some space and start again, nothing acknowledged is lost"),
    ("SQLITE_READONLY", "the file or disk is read-only: make it writable for this user and start again"),
    (
        "SQLITE_IOERR",
        "the disk failed or refused: check the disk and its space, then start again, on another disk if need be",
    ),
    ("SQLITE_CORRUPT", "the file is damaged. " + REMEDIES_FOR_DAMAGE),
    ("SQLITE_NOTADB", "the file is no SQLite database (any more). " + REMEDIES_FOR_DAMAGE),
    ("SQLITE_CANTOPEN", "the file can't be opened: check that the folder exists and that this user may write in it"),
    ("SQLITE_BUSY", "another program holds the file open for writing: close it and start again"),
    ("SQLITE_LOCKED", "another program holds the file locked: close it and start again"),
    ("SQLITE_PROTOCOL", "other programs keep locking the file: close them and start again"),
    ("SQLITE_PERM", "this user may not use the file: give it the rights and start again"),
    ("SQLITE_AUTH", "this user may not use the file: give it the rights and start again"),
    ("SQLITE_NOMEM", "there is not enough memory: give the process more and start again"),
)


def _read_batch(connection: sqlite3.Connection, path: Path, after_seq: int) -> list[JournalRow]:
    rows = _select(connection, path, after_seq, READ_BATCH_ROWS)
    return [JournalRow(seq=s, position=p, payload=text, prev_hash=prev, hash=own) for s, p, text, prev, own in rows]


def _select(
    connection: sqlite3.Connection, path: Path, after_seq: int, limit: int
) -> list[tuple[int, int, bytes, bytes, bytes]]:
    try:
        return connection.execute(SELECT_ROWS, (after_seq, limit)).fetchall()
    except sqlite3.DatabaseError as error:
        raise trouble(path, after_seq + 1, "SQLite cannot read on from here", error) from error
