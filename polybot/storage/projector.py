"""Carries the journal to the database, in order, each row once, and outlives every outage of it (design.md D6).

The loop alone: what one transaction is, the store knows (projection_store.py). It runs the same under the chaos hunt's
virtual time, so it has no clock, chance or thread of its own.
"""

import asyncio
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Protocol

import msgspec

from polybot.circuit import Circuit, CircuitPlan
from polybot.clock import Clock
from polybot.domain.errors import PolybotError
from polybot.domain.events import Journaled
from polybot.domain.units import Millis
from polybot.storage.journal_file import JournalRow, JournalUnreadableError
from polybot.storage.projection_store import (
    Place,
    Portion,
    ProjectionAwayError,
    ProjectionError,
    ProjectionStore,
    RowRefusedError,
)

BATCH_ROWS = 500
BATCH_SECONDS_MAX = 30.0
IDLE_SECONDS = 5.0
"""With nothing to carry, Postgres is still asked this often: /health learns of an outage, and of a wiped database."""
GATHER_SECONDS = 0.2
"""Facts are waited for so long before they go out together: a transaction each would take the loop from the traders."""
RETRY_SECONDS_FIRST = 0.2
RETRY_SECONDS_MAX = 2.0
DATABASE_CIRCUIT = CircuitPlan(failures_max=2, open_ms_first=500, open_ms_max=2_000)
"""One try may fail by chance. Probes come from this loop alone; whoever else wants the database looks at the state."""

FOREIGN = (
    "the database holds another journal's rows than {path}: name the database of this journal, an empty "
    "one, or the data folder of that one"
)
DIVERGED = (
    "the database has row {seq} of another history than {path} (an older copy of the journal was put back?): put the "
    "newer journal back, or give it an empty database"
)


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


class ReadableJournal(Protocol):
    """What the projector follows (storage.journal.Journal, and the chaos hunt's)."""

    @property
    def path(self) -> Path: ...

    @property
    def genesis(self) -> bytes: ...

    @property
    def last_seq(self) -> int: ...

    async def wait_beyond(self, seq: int, seconds_max: float) -> int: ...

    def read_rows(self, after_seq: int = 0) -> Iterator[JournalRow]: ...

    def hash_at(self, seq: int) -> bytes | None: ...


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """A time without the database: it answered again at `answered_at`, and `rows` had been caught up at `level_at`."""

    since: Millis
    answered_at: Millis | None = None
    level_at: Millis | None = None
    rows: int = 0


class ProjectorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far Postgres is: `rows_behind` the journal, since `behind_since`; `error` while away since `away_since`.

    `awaited_since` is when the try now under way began, None between tries: a server that hangs shows here first.
    `outage` is the present or the last one. `stopped` is the error that needs somebody, None while projecting. Times
    are the clock's UTC milliseconds.
    """

    projected_seq: int
    journal_seq: int
    rows_behind: int
    behind_since: Millis | None
    away_since: Millis | None
    awaited_since: Millis | None
    error: str | None
    stopped: str | None
    outage: Outage | None


class Projector:
    """Follows one journal. Run `run()` as a task; end it by cancelling it, then `drain()`."""

    def __init__(
        self,
        journal: ReadableJournal,
        store: ProjectionStore,
        clock: Clock,
        circuit: Circuit,
        chance: random.Random,
        *,
        batch_rows: int = BATCH_ROWS,
        idle_s: float = IDLE_SECONDS,
    ) -> None:
        """`clock` tells wall time, for the status and the circuit; `chance` spreads the waits between tries."""
        self._journal, self._store, self._clock, self._chance = journal, store, clock, chance
        self.circuit, self._batch_rows, self._idle_s = circuit, batch_rows, idle_s
        self._projected_seq = 0
        self._careful_until = 0
        self._level_at: Millis | None = None
        self._started_at = clock.now_ms()
        self._awaited_since: Millis | None = None
        self._outage: Outage | None = None
        self._error: str | None = None
        self._stopped: str | None = None

    def status(self) -> ProjectorStatus:
        """Cheap, for /health."""
        behind = self._journal.last_seq - self._projected_seq
        outage = self._outage
        return ProjectorStatus(
            projected_seq=self._projected_seq,
            journal_seq=self._journal.last_seq,
            rows_behind=behind,
            behind_since=(self._level_at or self._started_at) if behind > 0 else None,
            away_since=outage.since if outage is not None and outage.answered_at is None else None,
            awaited_since=self._awaited_since,
            error=self._error,
            stopped=self._stopped,
            outage=outage,
        )

    async def run(self) -> None:
        """Project for ever. Raises ProjectionError or JournalDamagedError when somebody has to do something.

        Raises JournalUnreadableError where it may be run again after a while.
        """
        while True:
            if await self._try_batch() is None:
                await asyncio.sleep(self._pause_seconds())
                continue
            behind = await self._journal.wait_beyond(self._projected_seq, self._idle_s) - self._projected_seq
            if 0 < behind < self._batch_rows and self._projected_seq >= self._careful_until:
                await asyncio.sleep(GATHER_SECONDS)

    async def drain(self, seconds_max: float) -> int:
        """After `run` has ended: carry what is left, for at most `seconds_max`. Returns the rows still missing."""
        try:
            async with asyncio.timeout(seconds_max):
                while (carried := await self._try_batch()) != 0:
                    if carried is None:
                        await asyncio.sleep(self._pause_seconds())
        except TimeoutError:
            pass
        return self.status().rows_behind

    async def _try_batch(self) -> int | None:
        """One batch: the rows carried, or None if the database is away, or may not be asked now."""
        now = self._clock.now_ms()
        ticket = self.circuit.admit(now)
        if ticket is None:
            return None
        self._awaited_since, answered = now, False
        try:
            carried = await self.project_batch()
            answered = True
        except (ProjectionAwayError, TimeoutError) as error:
            answered = True
            self.circuit.failed(ticket, self._clock.now_ms())
            self._note_outage(now, str(error) or f"no answer within {BATCH_SECONDS_MAX:g} s")
            return None
        except JournalUnreadableError:
            raise  # whoever keeps this loop begins it again: a lock, or a disk that failed once, is no end
        except PolybotError as error:
            self._stopped = str(error)
            raise
        finally:
            self._awaited_since = None
            if not answered:
                self.circuit.abandoned(ticket, self._clock.now_ms())
        self.circuit.succeeded(ticket, self._clock.now_ms())
        self._note_answer(carried)
        return carried

    async def project_batch(self) -> int:
        """Carry the next rows over in one transaction and return how many; 0 when level.

        Raises ProjectionAwayError, TimeoutError and ProjectionError.
        """
        limit = 1 if self._projected_seq < self._careful_until else self._batch_rows
        try:
            async with asyncio.timeout(BATCH_SECONDS_MAX):
                reached = await self._store.carry(self._journal.genesis, lambda place: self._choose(place, limit))
        except RowRefusedError as error:
            if limit == 1:
                raise ProjectionStoppedError(self._projected_seq + 1, str(error)) from error
            self._careful_until = self._projected_seq + limit
            return await self.project_batch()  # row by row, to carry the good ones and name the bad one
        carried, self._projected_seq = reached - self._projected_seq, reached
        if reached >= self._journal.last_seq:
            self._level_at = self._clock.now_ms()
        return carried

    async def _choose(self, place: Place, limit: int) -> Portion | None:
        """The next rows after the place where the database really is."""
        if place.genesis != self._journal.genesis:
            raise ForeignProjectionError(FOREIGN.format(path=self._journal.path))
        self._projected_seq = place.seq
        return await asyncio.to_thread(self._read, place, limit)

    def _read(self, place: Place, limit: int) -> Portion | None:
        """Up to the first row that this version cannot read. In a thread of its own."""
        if self._journal.hash_at(place.seq) != place.hash:
            raise ForeignProjectionError(DIVERGED.format(path=self._journal.path, seq=place.seq))
        rows: list[JournalRow] = []
        entries: list[Journaled] = []
        for row in islice(self._journal.read_rows(place.seq), limit):
            try:
                entries.append(row.journaled())
            except msgspec.ValidationError as error:
                if not rows:
                    raise ProjectionStoppedError(row.seq, f"it is no fact that this version knows ({error})") from error
                break
            rows.append(row)
        return Portion(rows=rows, entries=entries) if rows else None

    def _pause_seconds(self) -> float:
        now = self._clock.now_ms()
        return self.circuit.pause_seconds(now, self._chance, first=RETRY_SECONDS_FIRST, most=RETRY_SECONDS_MAX)

    def _note_outage(self, since: Millis, error: str) -> None:
        """The outage began when the first try began that had no answer; one that interrupts a catching up goes on."""
        self._error = error
        before = self._outage
        if before is None or before.level_at is not None:
            self._outage = Outage(since=since)
        else:
            self._outage = msgspec.structs.replace(before, answered_at=None)

    def _note_answer(self, carried: int) -> None:
        self._error = None
        outage = self._outage
        if outage is None or outage.level_at is not None:
            return
        now = self._clock.now_ms()
        level = self._projected_seq >= self._journal.last_seq or carried < self._batch_rows
        self._outage = msgspec.structs.replace(
            outage,
            answered_at=outage.answered_at or now,
            rows=outage.rows + carried,
            level_at=now if level else None,
        )
