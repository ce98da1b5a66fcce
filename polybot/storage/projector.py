"""Carries the journal to Postgres, in order, each row once, and outlives every outage of Postgres (design.md D6).

A batch is one transaction: the facts, what they change, and the place reached. The place is locked while it is done, so
a second projector, or this one after a doubtful commit, goes on from what is really there.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from polybot.clock import Clock
from polybot.domain.errors import PolybotError
from polybot.domain.events import Journaled
from polybot.domain.units import Millis
from polybot.storage import projection_sql as sql
from polybot.storage.journal import Journal
from polybot.storage.journal_file import JournalRow
from polybot.storage.postgres import OUTAGES
from polybot.storage.projection import changes_of
from polybot.storage.projection_change import Group, arrange, as_moment
from polybot.storage.waits import retry_seconds

if TYPE_CHECKING:
    from polybot.storage.postgres import Connection, Pool

BATCH_ROWS = 500
BATCH_SECONDS_MAX = 60.0
ACQUIRE_SECONDS_MAX = 10.0
IDLE_SECONDS = 5.0
"""With nothing to carry, Postgres is still asked this often: /health learns of an outage, and of a wiped database."""


BUGS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, OverflowError)
"""A row that Postgres, or the calendar, refuses: trying again would change nothing."""

FOREIGN = (
    "the database holds another journal's rows than {path}: name the database of this journal, an empty "
    "one, or the data folder of that one"
)
DIVERGED = (
    "the database has row {seq} of another history than {path} (an older copy of the journal was put back?): put the "
    "newer journal back, or give it an empty database"
)


class ProjectionError(PolybotError):
    """Projecting cannot go on until somebody does something; the text says what. The journal is not concerned."""


class ForeignProjectionError(ProjectionError):
    """The database holds what another journal, or another history of this one, says."""


class ProjectionStoppedError(ProjectionError):
    """Row `seq` cannot be carried over: a bug, or a newer version's fact. Nothing after it is projected."""

    def __init__(self, seq: int, what: str) -> None:
        super().__init__(
            f"journal row {seq} cannot be projected: {what}. The rows before it are in Postgres, the journal holds "
            "all; mend the cause (a newer PolyBot may know this fact) and start again"
        )
        self.seq = seq


class ProjectorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far Postgres is: `rows_behind` the journal, since `behind_since`; `error` while away since `away_since`.

    `stopped` is the error that needs somebody, None while projecting. Times are the clock's UTC milliseconds.
    """

    projected_seq: int
    journal_seq: int
    rows_behind: int
    behind_since: Millis | None
    away_since: Millis | None
    error: str | None
    stopped: str | None


class _Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What one transaction carries: the facts themselves, and what they change."""

    records: list[tuple[Any, ...]]
    groups: list[Group]
    last: JournalRow


class Projector:
    """Follows one journal. Run `run()` as a task; end it by cancelling it, then `drain()`."""

    def __init__(
        self,
        journal: Journal,
        pool: "Pool",
        clock: Clock,
        chance: random.Random,
        *,
        prepare: "Callable[[Connection], Awaitable[object]] | None" = None,
        batch_rows: int = BATCH_ROWS,
    ) -> None:
        """`prepare` brings the schema up to date (migrate): done before the first batch, and again if tables are gone.

        `clock` tells wall time, for the status alone; `chance` spreads the waits between tries.
        """
        self._journal, self._pool, self._clock, self._chance = journal, pool, clock, chance
        self._prepare, self._batch_rows = prepare, batch_rows
        self._prepared = prepare is None
        self._projected_seq = 0
        self._careful_until = 0
        self._failures = 0
        self._made_again = False  # the tables, since the last batch that went well
        self._level_at: Millis | None = None
        self._started_at = clock.now_ms()
        self._away_since: Millis | None = None
        self._error: str | None = None
        self._stopped: str | None = None

    def status(self) -> ProjectorStatus:
        """Cheap, for /health."""
        behind = self._journal.last_seq - self._projected_seq
        return ProjectorStatus(
            projected_seq=self._projected_seq,
            journal_seq=self._journal.last_seq,
            rows_behind=behind,
            behind_since=(self._level_at or self._started_at) if behind > 0 else None,
            away_since=self._away_since,
            error=self._error,
            stopped=self._stopped,
        )

    async def run(self) -> None:
        """Project for ever. Raises ProjectionError or JournalDamagedError when somebody has to do something."""
        while True:
            if not await self._try_batch():
                await self._journal.wait_beyond(self._projected_seq, IDLE_SECONDS)

    async def drain(self, seconds_max: float) -> int:
        """After `run` has ended: carry what is left, for at most `seconds_max`. Returns the rows still missing."""
        try:
            async with asyncio.timeout(seconds_max):
                while await self._try_batch() or self._failures:
                    pass
        except TimeoutError:
            pass
        return self.status().rows_behind

    async def _try_batch(self) -> int:
        """One batch, or one wait after an outage; returns the rows carried."""
        try:
            carried = await self.project_batch()
        except asyncpg.UndefinedTableError as error:
            if self._prepare is None or self._made_again:
                self._stopped = f"the database lacks a table ({error}): run `polybot migrate`, then start again"
                raise ProjectionError(self._stopped) from error
            self._prepared, self._made_again = False, True  # wiped under us: made anew, and projected from row 1
            await self._wait_out(error)
            return 0
        except OUTAGES as error:
            await self._wait_out(error)
            return 0
        except PolybotError as error:
            self._stopped = str(error)
            raise
        self._made_again = False
        self._failures, self._away_since, self._error = 0, None, None
        return carried

    async def project_batch(self) -> int:
        """Carry the next rows over in one transaction and return how many; 0 when level. Raises one of OUTAGES too."""
        async with asyncio.timeout(BATCH_SECONDS_MAX):
            async with self._pool.acquire(timeout=ACQUIRE_SECONDS_MAX) as connection:
                if not self._prepared and self._prepare is not None:
                    await self._prepare(connection)
                    self._prepared = True
                return await self._project(connection)

    async def _project(self, connection: "Connection") -> int:
        limit = 1 if self._projected_seq < self._careful_until else self._batch_rows
        try:
            async with connection.transaction():
                reached = await self._project_next(connection, limit)
        except BUGS as error:
            if limit == 1:
                what = f"{error} ({type(error).__name__})"
                raise ProjectionStoppedError(self._projected_seq + 1, what) from error
            self._careful_until = self._projected_seq + limit
            return await self._project(connection)  # row by row, to carry the good ones and name the bad one
        carried, self._projected_seq = reached - self._projected_seq, reached
        if reached >= self._journal.last_seq:
            self._level_at = self._clock.now_ms()
        return carried

    async def _project_next(self, connection: "Connection", limit: int) -> int:
        """Within a transaction: take the place, carry up to `limit` rows, and return the last row's number."""
        await connection.execute(sql.CLAIM, self._journal.genesis)
        place = await connection.fetchrow(sql.LOCK_PLACE)
        if place is None or place["genesis"] != self._journal.genesis:
            raise ForeignProjectionError(FOREIGN.format(path=self._journal.path))
        self._projected_seq = place["last_seq"]
        batch = await asyncio.to_thread(self._read_batch, self._projected_seq, place["last_hash"], limit)
        if batch is None:
            return self._projected_seq
        await connection.copy_records_to_table("facts", records=batch.records, columns=sql.FACT_COLUMNS)
        for group in batch.groups:
            await connection.executemany(group.statement, group.arguments)
        await connection.execute(sql.ADVANCE, batch.last.seq, batch.last.hash)
        return batch.last.seq

    def _read_batch(self, after_seq: int, after_hash: bytes, limit: int) -> _Batch | None:
        """The next rows and what they change, up to the first that this version cannot read. In a thread of its own."""
        if self._journal.hash_at(after_seq) != after_hash:
            raise ForeignProjectionError(DIVERGED.format(path=self._journal.path, seq=after_seq))
        rows: list[JournalRow] = []
        entries: list[Journaled] = []
        for row in islice(self._journal.read_rows(after_seq), limit):
            try:
                entries.append(row.journaled())
            except msgspec.ValidationError as error:
                if not rows:
                    raise ProjectionStoppedError(row.seq, f"it is no fact that this version knows ({error})") from error
                break
            rows.append(row)
        if not rows:
            return None
        records = [_record(row, entry) for row, entry in zip(rows, entries, strict=True)]
        return _Batch(records=records, groups=arrange(changes_of(entries)), last=rows[-1])

    async def _wait_out(self, error: Exception) -> None:
        self._failures += 1
        self._error = f"{str(error) or 'no answer in time'} ({type(error).__name__})"
        self._away_since = self._away_since or self._clock.now_ms()
        await asyncio.sleep(retry_seconds(self._failures, self._chance))


def _record(row: JournalRow, entry: Journaled) -> tuple[Any, ...]:
    kind = type(entry.fact).__name__
    return row.seq, row.position, as_moment(entry.fact.at), kind, row.payload.decode(), row.prev_hash, row.hash
