"""Proves a whole journal: every row present, unchanged, in order, and readable as a fact by this version."""

from pathlib import Path

import msgspec

from polybot.storage import journal_file
from polybot.storage.journal_file import JournalDamagedError


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
        genesis = journal_file.read_genesis(connection)
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
