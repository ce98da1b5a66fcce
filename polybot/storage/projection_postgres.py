"""The projection's real database: a batch is one transaction on Postgres, its place locked all the while (D6).

So a second projector, or this one after a commit whose answer was lost, goes on from what is really there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from polybot.domain.events import Journaled
from polybot.storage import projection_sql as sql
from polybot.storage.journal_file import JournalRow
from polybot.storage.postgres import OUTAGES
from polybot.storage.projection import changes_of
from polybot.storage.projection_change import Group, arrange, as_moment
from polybot.storage.projection_store import (
    Choose,
    Place,
    Portion,
    ProjectionAwayError,
    ProjectionError,
    RowRefusedError,
)

if TYPE_CHECKING:
    from polybot.storage.postgres import Connection, Pool

ACQUIRE_SECONDS_MAX = 10.0

BUGS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, OverflowError)
"""A row that Postgres, or the calendar, refuses: trying again would change nothing."""


class _Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What one transaction carries: the facts themselves, and what they change."""

    records: list[tuple[Any, ...]]
    groups: list[Group]


class PostgresProjection:
    """A ProjectionStore on a pool of connections."""

    def __init__(
        self,
        pool: "Pool",
        *,
        prepare: "Callable[[Connection], Awaitable[object]] | None" = None,
        guard: "Callable[[Connection], Awaitable[None]] | None" = None,
    ) -> None:
        """`prepare` brings the schema up to date (migrate): done before the first batch, and again if tables are gone.

        `guard` runs within every transaction before anything is written, and raises if this process may not write.
        """
        self._pool, self._prepare, self.guard = pool, prepare, guard
        self._prepared = prepare is None
        self._made_again = False  # the tables, since the last batch that went well

    async def carry(self, genesis: bytes, choose: Choose) -> int:
        try:
            async with self._pool.acquire(timeout=ACQUIRE_SECONDS_MAX) as connection:
                if not self._prepared and self._prepare is not None:
                    await self._prepare(connection)
                    self._prepared = True
                async with connection.transaction():
                    reached = await self._carry(connection, genesis, choose)
        except asyncpg.UndefinedTableError as error:
            raise self._without_tables(error) from error
        except BUGS as error:
            raise RowRefusedError(f"{error} ({type(error).__name__})") from error
        except OUTAGES as error:
            raise ProjectionAwayError(f"{str(error) or 'no answer in time'} ({type(error).__name__})") from error
        except asyncpg.PostgresError as error:  # rights taken away, a column renamed: a person may mend it meanwhile
            raise ProjectionAwayError(f"it refuses: {error} ({type(error).__name__})") from error
        self._made_again = False
        return reached

    async def _carry(self, connection: "Connection", genesis: bytes, choose: Choose) -> int:
        """Within a transaction; returns the last row's number."""
        if self.guard is not None:
            await self.guard(connection)
        await connection.execute(sql.CLAIM, genesis)
        found = await connection.fetchrow(sql.LOCK_PLACE)
        if found is None:
            raise ProjectionAwayError("the projection's place was removed by somebody else meanwhile")
        place = Place(genesis=found["genesis"], seq=found["last_seq"], hash=found["last_hash"])
        portion = await choose(place)
        if portion is None:
            return place.seq
        changes = await asyncio.to_thread(_changes, portion)
        await connection.copy_records_to_table("facts", records=changes.records, columns=sql.FACT_COLUMNS)
        for group in changes.groups:
            await connection.executemany(group.statement, group.arguments)
        last = portion.rows[-1]
        await connection.execute(sql.ADVANCE, last.seq, last.hash)
        return last.seq

    def _without_tables(self, error: asyncpg.UndefinedTableError) -> ProjectionAwayError | ProjectionError:
        """Wiped under us: made anew at the next try, and projected from row 1; but only once without success."""
        if self._prepare is None or self._made_again:
            return ProjectionError(f"the database lacks a table ({error}): run `polybot migrate`, then start again")
        self._prepared, self._made_again = False, True
        return ProjectionAwayError(f"its tables are gone and are made anew ({error})")


def _changes(portion: Portion) -> _Changes:
    """In a thread of its own: some hundred facts take milliseconds that the loop has no use for."""
    records = [_record(row, entry) for row, entry in zip(portion.rows, portion.entries, strict=True)]
    return _Changes(records=records, groups=arrange(changes_of(portion.entries)))


def _record(row: JournalRow, entry: Journaled) -> tuple[Any, ...]:
    kind = type(entry.fact).__name__
    return row.seq, row.position, as_moment(entry.fact.at), kind, row.payload.decode(), row.prev_hash, row.hash
