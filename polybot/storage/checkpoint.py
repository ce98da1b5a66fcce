"""Snapshots of the floor's state, in a file and in Postgres, so that start-up reads only the journal's end (D7).

The journal is the truth, a checkpoint a shortcut: whatever is wrong with one, it is passed over with a warning, and
start-up takes the next best, or none.
"""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import msgspec

from polybot.domain.errors import PolybotError
from polybot.domain.units import Millis
from polybot.storage.journal_file import JournalError
from polybot.storage.journal_place import CHECKPOINT_PREFIX, CHECKPOINT_SUFFIX, checkpoint_files, sync_folder
from polybot.storage.postgres import OUTAGES
from polybot.storage.projection_change import as_moment

if TYPE_CHECKING:
    from polybot.storage.postgres import Connection, Pool

    Guard = Callable[[Connection], Awaitable[None]]

FILES_KEPT = 3
ROWS_KEPT = 20
DATABASE_SECONDS_MAX = 5.0
FILE_PATTERN = f"{CHECKPOINT_PREFIX}*{CHECKPOINT_SUFFIX}"

SAVE_ROW = """
INSERT INTO checkpoints (seq, version, position, at, journal_hash, sha256, state) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (seq) DO UPDATE
   SET version = excluded.version, position = excluded.position, at = excluded.at,
       journal_hash = excluded.journal_hash, sha256 = excluded.sha256, state = excluded.state, saved_at = now()
"""
DROP_OLD_ROWS = "DELETE FROM checkpoints WHERE seq NOT IN (SELECT seq FROM checkpoints ORDER BY seq DESC LIMIT $1)"
SELECT_SEQS = "SELECT seq FROM checkpoints ORDER BY seq DESC LIMIT $1"
SELECT_ROW = """
SELECT version, seq, position, millis(at) AS at, journal_hash, sha256, state FROM checkpoints WHERE seq = $1
"""

TROUBLE: tuple[type[Exception], ...] = (asyncpg.PostgresError, *OUTAGES)
HashAt = Callable[[int], bytes | None]
"""The journal's hash at a row, None where it has no such row: `Journal.hash_at`."""


class CheckpointError(PolybotError):
    """A checkpoint could not be saved, or one that was found cannot be used; the text says why."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The floor's `state` (its own JSON) with all facts up to row `seq` and market events up to `position` applied.

    `version` is that of the state's form, the floor's to raise. `journal_hash` is the journal's hash at `seq`: it ties
    the state to that very history. `at` is UTC milliseconds.
    """

    version: int
    seq: int
    position: int
    at: Millis
    journal_hash: bytes
    state: bytes

    def digest(self) -> str:
        """SHA-256 over everything in it, in hexadecimal."""
        place = f"{self.version}:{self.seq}:{self.position}:{self.at}:{self.journal_hash.hex()}:".encode()
        return hashlib.sha256(place + self.state).hexdigest()


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The newest usable checkpoint, where it lay, and why newer ones were passed over. Warnings are for people."""

    checkpoint: Checkpoint | None
    origin: str
    warnings: list[str]


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    """First line of a file; the state follows it."""

    version: int
    seq: int
    position: int
    at: Millis
    journal_hash: str
    sha256: str


async def save_to_file(folder: Path, checkpoint: Checkpoint) -> None:
    """Write it whole or not at all, and keep the newest FILES_KEPT. Raises CheckpointError."""
    try:
        await asyncio.to_thread(_write, folder, checkpoint)
    except OSError as error:
        raise CheckpointError(f"no checkpoint could be written to {folder}: {error}; check the disk") from error


async def save_to_database(pool: "Pool", checkpoint: Checkpoint, guard: "Guard | None" = None) -> None:
    """Write it and keep the newest ROWS_KEPT. `guard` comes first in the transaction, and raises if we may not write.

    Raises one of postgres.OUTAGES.
    """
    one = checkpoint
    digest = bytes.fromhex(one.digest())
    values = (one.seq, one.version, one.position, as_moment(one.at), one.journal_hash, digest, one.state)
    async with pool.acquire(timeout=DATABASE_SECONDS_MAX) as connection, connection.transaction():
        if guard is not None:
            await guard(connection)
        await connection.execute(SAVE_ROW, *values)
        await connection.execute(DROP_OLD_ROWS, ROWS_KEPT)


async def newest(folder: Path, pool: "Pool | None", *, version: int, hash_at: HashAt) -> Found:
    """The newest checkpoint of both places that is whole, of this `version`, and of this journal's history.

    Raises nothing for what may lie there, nor when Postgres is away: a start without a checkpoint is only slower.
    """
    warnings: list[str] = []
    files = await asyncio.to_thread(checkpoint_files, folder)
    places = [(seq, "file") for seq in files] + [(seq, "database") for seq in await _rows(pool, warnings)]
    for seq, origin in sorted(places, reverse=True):
        try:
            checkpoint = _read(files[seq]) if origin == "file" else await _fetch(pool, seq)
            require_usable(checkpoint, version, hash_at)
        except (CheckpointError, JournalError) as error:
            warnings.append(f"the checkpoint at row {seq} in the {origin} is passed over: {error}")
            continue
        return Found(checkpoint=checkpoint, origin=origin, warnings=warnings)
    return Found(checkpoint=None, origin="", warnings=warnings)


def require_usable(checkpoint: Checkpoint, version: int, hash_at: HashAt) -> None:
    """Raises CheckpointError unless it is of this version and of this journal's history."""
    if checkpoint.version != version:
        age = "a newer" if checkpoint.version > version else "an older"
        raise CheckpointError(f"it is of {age} version ({checkpoint.version}; this PolyBot reads {version})")
    known = hash_at(checkpoint.seq)
    if known is None:
        raise CheckpointError("it is ahead of the journal, which is the truth")
    if known != checkpoint.journal_hash:
        raise CheckpointError("it belongs to another journal, or to another history of this one")


# -- files -------------------------------------------------------------------------------------------------------------


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_PATTERN.replace("*", f"{checkpoint.seq:015d}")
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        file.write(encode_file(checkpoint))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    sync_folder(folder)
    for old in sorted(folder.glob(FILE_PATTERN))[:-FILES_KEPT]:
        old.unlink(missing_ok=True)


def _read(path: Path) -> Checkpoint:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read ({error})") from error
    return decode_file(content)


def encode_file(checkpoint: Checkpoint) -> bytes:
    """A line of JSON with everything but the state, then the state."""
    header = _Header(
        version=checkpoint.version,
        seq=checkpoint.seq,
        position=checkpoint.position,
        at=checkpoint.at,
        journal_hash=checkpoint.journal_hash.hex(),
        sha256=checkpoint.digest(),
    )
    return msgspec.json.encode(header) + b"\n" + checkpoint.state


def decode_file(content: bytes) -> Checkpoint:
    """Raises CheckpointError unless it is whole."""
    line, _, state = content.partition(b"\n")
    try:
        header = msgspec.json.decode(line, type=_Header)
        journal_hash = bytes.fromhex(header.journal_hash)
    except ValueError as error:  # msgspec's own errors are ValueErrors
        raise CheckpointError(f"it cannot be read ({error})") from error
    checkpoint = Checkpoint(
        version=header.version,
        seq=header.seq,
        position=header.position,
        at=header.at,
        journal_hash=journal_hash,
        state=state,
    )
    return _require_whole(checkpoint, header.sha256)


def _require_whole(checkpoint: Checkpoint, digest: str) -> Checkpoint:
    if checkpoint.digest() != digest:
        raise CheckpointError("it is damaged: its content does not give its SHA-256")
    return checkpoint


# -- database ----------------------------------------------------------------------------------------------------------


async def _rows(pool: "Pool | None", warnings: list[str]) -> list[int]:
    if pool is None:
        return []
    try:
        async with asyncio.timeout(DATABASE_SECONDS_MAX):
            return [row["seq"] for row in await pool.fetch(SELECT_SEQS, ROWS_KEPT)]
    except asyncpg.UndefinedTableError:
        return []  # a database that is still to be migrated has none
    except TROUBLE as error:
        what = str(error) or f"no answer within {DATABASE_SECONDS_MAX:g} s"
        warnings.append(f"the database's checkpoints cannot be read ({what}); those in files are used")
        return []


async def _fetch(pool: "Pool | None", seq: int) -> Checkpoint:
    assert pool is not None, "it has just named its rows"
    try:
        async with asyncio.timeout(DATABASE_SECONDS_MAX):
            row = await pool.fetchrow(SELECT_ROW, seq)
    except TROUBLE as error:
        raise CheckpointError(f"the database does not give it ({error!r})") from error
    if row is None:
        raise CheckpointError("it was removed meanwhile")
    values = dict(row)
    digest = values.pop("sha256")
    return _require_whole(Checkpoint(**values), digest.hex())
