"""Makes a whole journal out of a damaged one: its own rows wherever they are proven, the database's where they are not.

The damaged file is never written to: it keeps its content under another name, for whoever wants to know more. Run it
with the journal's lock held; nothing changes before `finish`.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from polybot.storage import journal_copy, journal_file, journal_place
from polybot.storage.journal_copy import CopyPlace
from polybot.storage.journal_file import JournalDamagedError, JournalError, JournalRow, JournalUnreadableError

if TYPE_CHECKING:
    from polybot.storage.postgres import Connection

WRITE_BATCH_ROWS = 5_000
ASK_BATCH_ROWS = 500
SKIP_ROWS_MAX = 20_000
"""Rows tried one by one behind a place that cannot be read, when telling what is cut off."""
SELECT_ON = "SELECT seq, position, payload, prev_hash, hash FROM facts WHERE seq > ? ORDER BY seq"


class RepairImpossibleError(JournalError):
    """Neither the file nor the database says whose journal it was: there is nothing to begin with."""


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """Rows `first_seq` to `last_seq` are cut off. `readable`: those that can still be read, though not proven, by kind.

    They stay in the file that is kept; no floor will see them. `end_unknown`: the file's end is gone, so there may have
    been more; then `last_seq` is the last that anything tells of, `first_seq - 1` if nothing does.
    """

    first_seq: int
    last_seq: int
    readable: dict[str, int]
    end_unknown: bool

    def told(self) -> str:
        count = self.last_seq - self.first_seq + 1
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self.readable.items()))
        seen = f"still readable in the kept file, but not provable: {kinds}" if kinds else "none can be read any more"
        known = f"{count} facts are cut off, rows {self.first_seq} to {self.last_seq} ({seen})" if count else ""
        more = f"whatever came after row {self.last_seq} is lost: the file's end is gone" if self.end_unknown else ""
        return "; ".join(text for text in (known, more) if text)


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A whole journal beside the damaged one, of `rows` rows: `from_file` its own, `from_database` the database's."""

    path: Path
    rows: int
    from_file: int
    from_database: int
    database: str
    lost: Lost | None


async def draft(path: Path, connection: "Connection | None") -> Draft:
    """Write the longest proven journal there is beside `path`. Raises RepairImpossibleError, one of OUTAGES,
    or JournalUnreadableError.
    """
    journal_place.settle(path)
    place = await journal_copy.place_of(connection) if connection is not None else None
    damaged = _open(path)
    try:
        genesis = _genesis(damaged, path, place)
        told = _told_of_database(connection is not None, place, genesis)
        if place is not None and place.genesis != genesis:
            place, connection = None, None
        last, counted = await _merge(path, genesis, damaged, connection)
        lost = _lost(path, damaged, place, last[0])
    finally:
        if damaged is not None:
            damaged.close()
    return Draft(
        path=path,
        rows=last[0],
        from_file=counted["file"],
        from_database=counted["database"],
        database=told,
        lost=lost,
    )


def finish(made: Draft) -> Path | None:
    """Keep the damaged file under another name and move the whole one in; where the damaged one is now."""
    kept = journal_place.keep_aside(made.path, "damaged")
    journal_place.keep_checkpoints_aside(made.path.parent, made.rows)
    journal_place.install(made.path)
    return kept


def discard(path: Path) -> None:
    """Leave the journal as it is after all."""
    journal_place.remove_unfinished(path)


async def _merge(
    path: Path, genesis: bytes, damaged: sqlite3.Connection | None, connection: "Connection | None"
) -> tuple[tuple[int, bytes], Counter[str]]:
    """Row by row whatever fits next: the file's own, then a batch of the database's, then the file's again."""
    counted: Counter[str] = Counter()
    last = (0, genesis)
    writing = journal_place.begin(path, genesis)
    try:
        while True:
            reached = last
            for rows in _batches(_fitting(_file_rows(path, damaged, last[0]), last)):
                last = journal_place.add(writing, path, rows, last)
                counted["file"] += len(rows)
            if connection is not None:
                stored = await journal_copy.rows_after(connection, last[0], ASK_BATCH_ROWS)
                rows = [*_fitting(stored, last)]
                last = journal_place.add(writing, path, rows, last)
                counted["database"] += len(rows)
            if last == reached:
                return last, counted
    finally:
        writing.close()


def _open(path: Path) -> sqlite3.Connection | None:
    """None where there is nothing left that could be read. Raises JournalUnreadableError."""
    try:
        return journal_file.open_for_reading(path) if path.exists() else None
    except JournalDamagedError:
        return None
    except JournalUnreadableError:  # rows that may be whole are not given up for a lock
        raise
    except JournalError as error:
        if isinstance(error.__cause__, sqlite3.DatabaseError):  # overwritten to its first page
            return None
        raise


def _genesis(damaged: sqlite3.Connection | None, path: Path, place: CopyPlace | None) -> bytes:
    """What a first row that is whole hangs on; else what the file says; else what the database says."""
    first = next(iter(_file_rows(path, damaged, 0)), None)
    if first is not None and [*_fitting([first], (0, first.prev_hash))]:
        return first.prev_hash
    if damaged is not None:
        try:
            return journal_file.read_genesis(damaged, path)
        except JournalDamagedError:
            pass
    if place is None:
        raise RepairImpossibleError(
            f"nothing can be read of {path}, and no database shows its run: set POLYBOT_DATABASE_URL to the one that "
            "does, or put the run away with `polybot reset`"
        )
    return place.genesis


def _told_of_database(asked: bool, place: CopyPlace | None, genesis: bytes) -> str:
    if not asked:
        return "no database was asked"
    if place is None:
        return "the database shows no run"
    if place.genesis != genesis:
        return "the database shows another run, and was not used"
    return f"the database has rows 1 to {place.last_seq}"


def _file_rows(path: Path, damaged: sqlite3.Connection | None, after_seq: int) -> Iterator[JournalRow]:
    """What can be read on from there, up to the first place that is damaged. Raises JournalUnreadableError."""
    if damaged is None:
        return
    try:
        for seq, position, payload, prev_hash, own in damaged.execute(SELECT_ON, (after_seq,)):
            yield JournalRow(seq=seq, position=position, payload=payload, prev_hash=prev_hash, hash=own)
    except sqlite3.DatabaseError as error:
        _require_damage(path, after_seq, error)


def _require_damage(path: Path, after_seq: int, error: sqlite3.DatabaseError) -> None:
    """Raises JournalUnreadableError where the cause is a lock or the disk: nothing is cut off for that."""
    if journal_file.is_outside_trouble(error):
        raise journal_file.trouble(path, after_seq + 1, "", error) from error


def _fitting(rows: Iterator[JournalRow] | list[JournalRow], last: tuple[int, bytes]) -> Iterator[JournalRow]:
    """The rows as long as each follows the one before and is whole."""
    seq, previous = last
    for row in rows:
        try:
            journal_file.check_row(Path(), row, seq + 1, previous)
        except JournalDamagedError:
            return
        yield row
        seq, previous = row.seq, row.hash


# -- what is lost ------------------------------------------------------------------------------------------------------


class _Kind(msgspec.Struct, frozen=True):
    fact: str


def _lost(path: Path, damaged: sqlite3.Connection | None, place: CopyPlace | None, last_seq: int) -> Lost | None:
    """What file, database and checkpoints know to have been there after the last row that could be proven."""
    file_end = _last_seq(path, damaged)
    others = max(place.last_seq if place else 0, journal_place.last_checkpoint(path.parent))
    end = max(file_end or 0, others, last_seq)
    if end == last_seq and file_end is not None:
        return None
    kinds: Counter[str] = Counter()
    seq, skipped = last_seq, 0
    while seq < end and skipped < SKIP_ROWS_MAX:
        for row in _file_rows(path, damaged, seq):
            kinds[_kind(row.payload)] += 1
            seq = row.seq
        seq, skipped = seq + 1, skipped + 1  # over what cannot be read
    return Lost(first_seq=last_seq + 1, last_seq=end, readable=dict(kinds), end_unknown=file_end is None)


def _last_seq(path: Path, damaged: sqlite3.Connection | None) -> int | None:
    """Where the file ends; None where its end cannot be read."""
    if damaged is None:
        return None
    try:
        row = damaged.execute(journal_file.SELECT_LAST).fetchone()
    except sqlite3.DatabaseError as error:
        _require_damage(path, 0, error)
        return None
    return int(row[0]) if row is not None else 0


def _kind(payload: object) -> str:
    try:
        return msgspec.json.decode(payload, type=_Kind).fact if isinstance(payload, bytes) else "of no kind"
    except msgspec.DecodeError:
        return "of no kind"


def _batches(rows: Iterator[JournalRow]) -> Iterator[list[JournalRow]]:
    while some := list(islice(rows, WRITE_BATCH_ROWS)):
        yield some
