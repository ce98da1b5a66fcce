"""The journal from Postgres's copy of it: whole when the data folder was lost, its end for whoever takes over (D5, D7).

Every row's hash is proven on its way. The journal is the truth wherever both speak; the database only fills in.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from polybot.storage import journal_copy, journal_file, journal_place
from polybot.storage.journal_copy import CopyAwayError, CopyPlace, CopyUnusableError
from polybot.storage.journal_file import JournalDamagedError, JournalError, lock_for_writing
from polybot.storage.journal_verify import prove_newest

if TYPE_CHECKING:
    import sqlite3

    from polybot.storage.postgres import Connection

ASK_AGAIN_SECONDS = 0.5
FOREIGN = (
    "the database shows another journal's run than {path}: name the database of this journal, an empty one "
    "(`polybot reset --database` makes it so), or the data folder of that run"
)
DIVERGED = (
    "{path} (to row {own}) and the database (to row {there}) tell different histories of one run: an older copy of the "
    "journal was put back, and went on? Put the newer journal back, or give this one an empty database; to go on with "
    "the database's history, move the journal away"
)


class JournalDivergedError(JournalError):
    """Journal and database tell different histories of one run."""


class ForeignCopyError(JournalError):
    """The database shows another journal's run."""


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What was done: `taken` rows from the database, up to row `last_seq`; `text` says it for people, "" for nothing.

    `put_aside`: where a journal lies that did not belong to the database's history.
    """

    taken: int
    last_seq: int
    text: str
    put_aside: Path | None = None


class _Own(msgspec.Struct, frozen=True, kw_only=True):
    """The journal at hand, and its hash at the database's last row (None where it does not reach so far)."""

    genesis: bytes
    last_seq: int
    last_hash: bytes
    hash_there: bytes | None


async def restore(
    path: Path, database_url: str, *, connect_seconds_max: float, seconds_max: float, supersede: bool = False
) -> Restored:
    """Before a start: `catch_up` from that database; asked again for `seconds_max` while it is away.

    Raises what `catch_up` raises, and CopyAwayError after that time. The floor may then start on the journal it has;
    where it has none, it would be a first start that does not know whether there was another.
    """
    waited = 0.0
    while True:
        try:
            async with journal_copy.connected(database_url, connect_seconds_max) as connection:
                return await catch_up(path, connection, supersede=supersede)
        except CopyAwayError:
            if waited >= seconds_max:
                raise
        await asyncio.sleep(ASK_AGAIN_SECONDS)
        waited += ASK_AGAIN_SECONDS


async def catch_up(path: Path, connection: "Connection", *, supersede: bool = False) -> Restored:
    """Bring the journal at `path` (not open anywhere) to where the database is; made from row 1 where there is none.

    A journal ahead of the database, on the same history, is left as it is: the projector carries its rows over.
    `supersede`: a journal with rows of another history (it led before, and died) is put aside and made anew, and so is
    a damaged one. Raises JournalDivergedError and JournalDamagedError otherwise; ForeignCopyError, JournalInUseError,
    CopyUnusableError, and one of postgres.OUTAGES.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        place = await journal_copy.place_of(connection)
    if place is None:
        return Restored(taken=0, last_seq=0, text="")
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock_for_writing(path):
        if not await asyncio.to_thread(journal_place.is_there, path):
            return await _rebuild(path, connection, place, "missing")
        try:
            if supersede:
                await asyncio.to_thread(prove_newest, path)
            own = await asyncio.to_thread(_look, path, place.last_seq)
        except JournalDamagedError:
            if not supersede:
                raise
            return await _rebuild(path, connection, place, "damaged")
        if own.genesis != place.genesis:
            raise ForeignCopyError(FOREIGN.format(path=path))
        if not await _is_one_history(connection, place, own):
            if not supersede:
                raise JournalDivergedError(DIVERGED.format(path=path, own=own.last_seq, there=place.last_seq))
            return await _rebuild(path, connection, place, "superseded")
        return await _append_missing(path, connection, place, own)


def _look(path: Path, there: int) -> _Own:
    connection = journal_file.open_for_reading(path)
    try:
        genesis = journal_file.read_genesis(connection, path)
        last_seq, last_hash = journal_file.last_row(connection, path)
        hash_there = journal_file.hash_at(connection, path, there)
        return _Own(genesis=genesis, last_seq=last_seq, last_hash=last_hash, hash_there=hash_there)
    finally:
        connection.close()


async def _is_one_history(connection: "Connection", place: CopyPlace, own: _Own) -> bool:
    if own.last_seq >= place.last_seq:
        return own.hash_there == place.last_hash
    return await journal_copy.hash_of(connection, place, own.last_seq) == own.last_hash


async def _rebuild(path: Path, connection: "Connection", place: CopyPlace, why: str) -> Restored:
    """The whole journal from row 1, beside its place; then moved in."""
    kept = await asyncio.to_thread(journal_place.keep_aside, path, "damaged" if why == "missing" else why)
    building = await asyncio.to_thread(journal_place.begin, path, place.genesis)
    try:
        await _copy(path, connection, place, building, (0, place.genesis))
    finally:
        building.close()
    if why != "missing":  # where we only find it missing, a checkpoint beyond the database's rows tells of a loss
        journal_place.keep_checkpoints_aside(path.parent, -1 if why == "superseded" else place.last_seq)
    await asyncio.to_thread(journal_place.install, path)
    aside = f"; what was there is kept as {kept.name}" if kept is not None else ""
    text = (
        f"the journal was {why}: {place.last_seq} facts were taken from the database, which is all it had. The last "
        f"facts before the loss may never have reached it{aside}"
    )
    return Restored(taken=place.last_seq, last_seq=place.last_seq, text=text, put_aside=kept)


async def _append_missing(path: Path, connection: "Connection", place: CopyPlace, own: _Own) -> Restored:
    missing = place.last_seq - own.last_seq
    if missing <= 0:
        return Restored(taken=0, last_seq=own.last_seq, text="")
    writing = await asyncio.to_thread(journal_file.open_for_writing, path)
    try:
        await _copy(path, connection, place, writing, (own.last_seq, own.last_hash))
    finally:
        writing.close()
    text = f"{missing} facts that the journal did not have (rows {own.last_seq + 1} on) were taken from the database"
    return Restored(taken=missing, last_seq=place.last_seq, text=text)


async def _copy(
    path: Path, connection: "Connection", place: CopyPlace, writing: "sqlite3.Connection", last: tuple[int, bytes]
) -> None:
    """The rows after `last` up to the database's own last one. Raises CopyUnusableError for a chain that breaks."""
    while last[0] < place.last_seq:
        rows = await journal_copy.rows_after(connection, last[0], journal_copy.BATCH_ROWS)
        rows = [row for row in rows if row.seq <= place.last_seq]
        try:
            if not rows:
                raise JournalDamagedError(path, last[0] + 1, "it is missing")
            last = await asyncio.to_thread(journal_place.add, writing, path, rows, last)
        except JournalDamagedError as error:
            raise CopyUnusableError(
                f"the journal {path} cannot be made from the database: its copy is not whole at row {error.seq}. "
                "`polybot journal repair` takes what is whole, and says what is not"
            ) from error
    if last[1] != place.last_hash:
        raise CopyUnusableError(
            f"the journal {path} cannot be made from the database: its last row is not the one it says it has"
        )
