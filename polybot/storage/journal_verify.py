"""Proves a journal: every row present, unchanged and in order; in full also readable as a fact by this version."""

from pathlib import Path

import msgspec

from polybot.storage import journal_file, journal_place
from polybot.storage.journal_file import JournalDamagedError, JournalError

PROVEN_AT_OPEN_ROWS = 100_000
"""So many of the newest rows are proven before anybody trades (0.35 s on an idle core), older ones meanwhile."""


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a full check found: `rows` proven whole from row 1 on, and the first trouble, if any, at `damaged_seq`."""

    path: str
    genesis: str
    rows: int
    last_hash: str
    damaged_seq: int | None = None
    damage: str | None = None

    @property
    def whole(self) -> bool:
        return self.damaged_seq is None


def verify(path: Path) -> VerifyReport:
    """Read the journal from row 1 to its end. Raises JournalUnusableError when it is no journal at all."""
    connection = journal_file.open_for_reading(path)
    try:
        genesis = journal_file.read_genesis(connection, path)
    finally:
        connection.close()
    rows, last_hash = 0, genesis
    damaged_seq: int | None = None
    damage: str | None = None
    try:
        for row in journal_file.read_rows(path):
            row.journaled()
            rows, last_hash = row.seq, row.hash
    except JournalDamagedError as error:
        damaged_seq, damage = error.seq, str(error)
    except msgspec.ValidationError as error:
        damaged_seq = rows + 1
        damage = f"row {damaged_seq} is no fact that this version knows ({error}): use the version that wrote it"
    return VerifyReport(
        path=str(path),
        genesis=genesis.hex(),
        rows=rows,
        last_hash=last_hash.hex(),
        damaged_seq=damaged_seq,
        damage=damage,
    )


def damage_of(path: Path) -> str | None:
    """What is wrong with the journal at `path`, or that there is none; None when it is whole. In words."""
    try:
        if not path.exists():
            return f"there is no journal {path}"
        report = verify(path)
        if report.whole:
            journal_place.require_nothing_lost(path, report.rows)
        return report.damage
    except JournalError as error:
        return str(error)


def is_empty(path: Path) -> bool:
    """Whether nothing was ever written down there: no journal, or one whose first start was refused. Raises
    JournalError."""
    if not path.exists():
        return True
    connection = journal_file.open_for_reading(path)
    try:
        return journal_file.last_row(connection, path)[0] == 0
    finally:
        connection.close()


def prove_newest(path: Path) -> None:
    """The newest PROVEN_AT_OPEN_ROWS are whole, and the last one is where the journal ended. For every start.

    Raises JournalDamagedError or JournalUnusableError.
    """
    connection = journal_file.open_for_reading(path)
    try:
        journal_file.read_genesis(connection, path)
        last_seq, _ = journal_file.last_row(connection, path)
    finally:
        connection.close()
    journal_place.require_nothing_lost(path, last_seq)
    for _ in journal_file.prove(path, max(0, last_seq - PROVEN_AT_OPEN_ROWS), last_seq):
        pass
