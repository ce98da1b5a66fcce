"""Postgres's copy of the journal, as the projector carried it over: what a lost or damaged one is made whole from.

The facts table has each row's text as it was hashed, so its chain is proven like the journal's own. Facts that were
journaled and not yet carried over when the journal was lost are not there.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import msgspec

from polybot.storage.journal_file import JournalError, JournalRow
from polybot.storage.postgres import CONNECT_SECONDS_MAX, OUTAGES, SERVER_SETTINGS

if TYPE_CHECKING:
    from polybot.storage.postgres import Connection

BATCH_ROWS = 5_000
COMMAND_SECONDS_MAX = 60.0
SELECT_PLACE = "SELECT genesis, last_seq, last_hash FROM projection WHERE id = 1"
SELECT_ROWS = """
SELECT seq, position, payload::text AS payload, prev_hash, hash FROM facts WHERE seq > $1 ORDER BY seq LIMIT $2
"""
SELECT_HASH = "SELECT hash FROM facts WHERE seq = $1"


class CopyAwayError(JournalError):
    """The database cannot be asked now what it has of the journal."""


class CopyUnusableError(JournalError):
    """The database's copy of the journal is not whole."""


class CopyPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Whose journal the database shows, and how far."""

    genesis: bytes
    last_seq: int
    last_hash: bytes


@asynccontextmanager
async def connected(url: str, connect_seconds_max: float = CONNECT_SECONDS_MAX) -> AsyncIterator["Connection"]:
    """A connection of its own, for a start or a repair. Raises CopyAwayError, also for an outage within the block."""
    try:
        connection = await asyncpg.connect(
            url, timeout=connect_seconds_max, command_timeout=COMMAND_SECONDS_MAX, server_settings=SERVER_SETTINGS
        )
        try:
            yield connection
        finally:
            await connection.close(timeout=CONNECT_SECONDS_MAX)
    except OUTAGES as error:
        raise CopyAwayError(f"the database cannot be read ({str(error) or 'no answer in time'})") from error


async def place_of(connection: "Connection") -> CopyPlace | None:
    """Whose journal the database shows; None for one that shows none, or has no tables yet."""
    try:
        row = await connection.fetchrow(SELECT_PLACE)
    except asyncpg.UndefinedTableError:
        return None
    return None if row is None else CopyPlace(**dict(row))


async def hash_of(connection: "Connection", place: CopyPlace, seq: int) -> bytes | None:
    """The hash of row `seq` as the database has it; the genesis for 0, None for a row it has not."""
    if seq == 0:
        return place.genesis
    known: bytes | None = await connection.fetchval(SELECT_HASH, seq)
    return known


async def rows_after(connection: "Connection", seq: int, limit: int) -> list[JournalRow]:
    """The rows after `seq` in order, as they stand there: not proven."""
    return [
        JournalRow(
            seq=row["seq"],
            position=row["position"],
            payload=row["payload"].encode(),
            prev_hash=row["prev_hash"],
            hash=row["hash"],
        )
        for row in await connection.fetch(SELECT_ROWS, seq, limit)
    ]
