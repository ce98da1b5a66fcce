"""The journal of the simulated floor: storage.journal.Journal's promises over a SimDisk, in virtual time.

Group commit, places, errors and limits are the real one's; the writer thread is a timer.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from polybot.chaos.disk import JOURNAL_PATH, SimDisk, Sync
from polybot.chaos.life import Life
from polybot.chaos.loop import NEVER, VirtualLoop
from polybot.domain.events import AnyFact, Journaled
from polybot.storage.journal import (
    GROUP_FACTS_MAX,
    PENDING_FACTS_MAX,
    FactUnwritableError,
    JournalClosedError,
    JournalFailedError,
    JournalOverloadedError,
    encode_fact,
)
from polybot.storage.journal_file import JournalError, JournalRow, row_hash


class _Pending(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One append on its way to the disk."""

    journaled: list[Journaled]
    payloads: list[bytes]
    done: "asyncio.Future[list[Journaled]]"


class SimJournal:
    """One process's open journal. Make it with `open`; it ends with its life, or in order with `close`."""

    path: Path = JOURNAL_PATH
    unproven_rows = 0

    def __init__(self, disk: SimDisk, life: Life, loop: VirtualLoop, genesis: bytes) -> None:
        self._disk, self._life, self._loop = disk, life, loop
        self.genesis = genesis
        self.last_seq = len(disk.rows)
        self.last_hash = disk.last_hash()
        self._next_seq = self.last_seq + 1
        self._pending: deque[_Pending] = deque()
        self._group: list[_Pending] = []
        self._rows: list[JournalRow] = []
        self._sync = Sync()
        self._roused = False
        self._closing = False
        self._failure: JournalError | None = None
        self._grown: asyncio.Event | None = None
        self._watched_seq, self._watched_since = 0, 0.0
        self.pending_facts = 0
        life.at_end(self._die)

    @classmethod
    def open(cls, disk: SimDisk, life: Life, loop: VirtualLoop) -> Self:
        """Raises JournalDamagedError or JournalMissingError, as the real one."""
        life.require_alive()
        return cls(disk, life, loop, disk.open_journal())

    @property
    def failure(self) -> JournalError | None:
        return self._failure

    def oldest_pending_s(self, now: float) -> float:
        first = self.last_seq + 1 if self.pending_facts else 0
        if first != self._watched_seq:
            self._watched_seq, self._watched_since = first, now
        return now - self._watched_since if first else 0.0

    async def append(self, facts: Sequence[AnyFact], position: int) -> list[Journaled]:
        return await self.submit(facts, position)

    def submit(self, facts: Sequence[AnyFact], position: int) -> "asyncio.Future[list[Journaled]]":
        self._life.require_alive()
        payloads = [encode_fact(fact) for fact in facts]
        self._require_room(len(facts))
        done: asyncio.Future[list[Journaled]] = self._loop.create_future()
        if not facts:
            done.set_result([])
            return done
        first = self._next_seq
        journaled = [Journaled(seq=first + i, position=position, fact=fact) for i, fact in enumerate(facts)]
        self._next_seq += len(facts)
        self._pending.append(_Pending(journaled=journaled, payloads=payloads, done=done))
        self.pending_facts += len(facts)
        self._rouse()
        return done

    async def wait_beyond(self, seq: int, seconds_max: float) -> int:
        if self.last_seq <= seq:
            self._grown = self._grown or asyncio.Event()
            try:
                async with asyncio.timeout(seconds_max):
                    await self._grown.wait()
            except TimeoutError:
                pass
        return self.last_seq

    def read(self, after_seq: int = 0) -> Iterator[Journaled]:
        self._life.require_alive()
        return self._disk.read_facts(after_seq)

    def read_rows(self, after_seq: int = 0) -> Iterator[JournalRow]:
        self._life.require_alive()
        return self._disk.read_rows(after_seq)

    def hash_at(self, seq: int) -> bytes | None:
        self._life.require_alive()
        return self._disk.hash_at(seq)

    def close(self) -> None:
        """Write what is waiting. The real one blocks for it; here no time passes. Raises JournalFailedError."""
        if self._life.dead or self._closing:
            return
        while self._group or (self._pending and self._failure is None):
            if not self._group:
                self._begin_sync()
            if self._sync.seconds == NEVER:
                raise JournalFailedError(f"the journal {self.path} still writes after 30 s: check the disk")
            self._end_sync(self._sync)
        self._closing = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_room(self, count: int) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closing:
            raise JournalClosedError(f"the journal {self.path} is closed; open it again to append")
        if count > GROUP_FACTS_MAX:
            raise FactUnwritableError(f"{count} facts in one append; at most {GROUP_FACTS_MAX} are written as one")
        if self.pending_facts + count > PENDING_FACTS_MAX:
            raise JournalOverloadedError(f"{self.pending_facts} facts wait for the disk, the most that may")

    # -- the writer ----------------------------------------------------------------------------------------------------

    def _rouse(self) -> None:
        if not self._group and not self._roused and not self._closing:
            self._roused = True
            self._loop.call_soon(self._begin_sync, context=self._life.context)

    def _begin_sync(self) -> None:
        """Everything that has gathered, up to GROUP_FACTS_MAX facts, in one transaction."""
        self._roused = False
        if self._group or not self._pending:
            return
        room = GROUP_FACTS_MAX
        while self._pending and len(self._pending[0].payloads) <= room:
            self._group.append(self._pending.popleft())
            room -= len(self._group[-1].payloads)
        self._rows = self._chained(self._group)
        self._sync = self._disk.next_sync()
        if self._sync.seconds < NEVER:
            self._loop.call_later(self._sync.seconds, self._end_sync, self._sync, context=self._life.context)

    def _chained(self, group: list[_Pending]) -> list[JournalRow]:
        rows, last = [], self.last_hash
        for pending in group:
            for entry, payload in zip(pending.journaled, pending.payloads, strict=True):
                own = row_hash(last, entry.seq, entry.position, payload)
                rows.append(
                    JournalRow(seq=entry.seq, position=entry.position, payload=payload, prev_hash=last, hash=own)
                )
                last = own
        return rows

    def _end_sync(self, sync: Sync) -> None:
        """Durable, or failed; those who wait learn of it in a callback of its own, so that a kill can come between."""
        if sync is not self._sync or not self._group:
            return  # `close` did not wait for the timer
        group, rows = self._group, self._rows
        self._group, self._rows = [], []
        if sync.error is not None:
            self._disk.tear(rows)
            self._fail(group, JournalFailedError(f"the journal {self.path} could not be written: {sync.error}"))
            return
        self._disk.keep(rows)
        self.last_seq, self.last_hash = rows[-1].seq, rows[-1].hash
        self.pending_facts -= len(rows)
        self._loop.call_soon(self._resolve, group, context=self._life.context)
        if self._pending:
            self._rouse()

    def _resolve(self, group: list[_Pending]) -> None:
        for pending in group:
            if not pending.done.done():
                pending.done.set_result(pending.journaled)
        self._announce()

    def _fail(self, group: list[_Pending], failure: JournalError) -> None:
        self._failure = failure
        waiting = [*group, *self._pending]
        self._pending.clear()
        self.pending_facts = 0
        self._loop.call_soon(self._reject, waiting, failure, context=self._life.context)

    def _reject(self, waiting: list[_Pending], failure: JournalError) -> None:
        for pending in waiting:
            if not pending.done.done():
                pending.done.set_exception(failure)
        self._announce()

    def _announce(self) -> None:
        if self._grown is not None:
            self._grown.set()
            self._grown = None

    def _die(self) -> None:
        """The process is killed: what it was writing is torn."""
        if self._group:
            self._disk.tear(self._rows)
        self._group, self._rows = [], []
        self._pending.clear()
