"""The journal of the simulated floor: storage.journal.Journal's promises over a SimDisk, in virtual time.

Group commit, places, errors and limits are the real one's; the writer thread is a timer.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Self

from polybot.chaos.disk import JOURNAL_PATH, SimDisk, Sync
from polybot.chaos.life import Life
from polybot.chaos.loop import NEVER, VirtualLoop
from polybot.domain.events import AnyFact, Journaled
from polybot.storage.journal_file import JournalError, JournalRow, row_hash
from polybot.storage.journal_queue import JournalFailedError, JournalQueue, Pending


class SimJournal(JournalQueue):
    """One process's open journal. Make it with `open`; it ends with its life, or in order with `close`."""

    def __init__(self, disk: SimDisk, life: Life, loop: VirtualLoop, genesis: bytes) -> None:
        super().__init__(JOURNAL_PATH, genesis, len(disk.rows), disk.last_hash())
        self._disk, self._life, self._loop = disk, life, loop
        self._group: list[Pending] = []
        self._rows: list[JournalRow] = []
        self._sync = Sync()
        self._roused = False
        life.at_end(self._die)

    @classmethod
    def open(cls, disk: SimDisk, life: Life, loop: VirtualLoop) -> Self:
        """Raises JournalDamagedError or JournalMissingError, as the real one."""
        life.require_alive()
        return cls(disk, life, loop, disk.open_journal())

    def submit(self, facts: Sequence[AnyFact], position: int) -> "asyncio.Future[list[Journaled]]":
        self._life.require_alive()
        return super().submit(facts, position)

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

    # -- the writer ----------------------------------------------------------------------------------------------------

    def _accept(self, pending: Pending) -> None:
        self._add(pending)
        self._rouse()

    def _rouse(self) -> None:
        if not self._group and not self._roused and not self._closing:
            self._roused = True
            self._loop.call_soon(self._begin_sync, context=self._life.context)

    def _begin_sync(self) -> None:
        """Everything that has gathered, up to GROUP_FACTS_MAX facts, in one transaction."""
        self._roused = False
        if self._group or not self._pending:
            return
        self._group = self._next_group()
        self._rows = self._chained(self._group)
        self._sync = self._disk.next_sync()
        if self._sync.seconds < NEVER:
            self._loop.call_later(self._sync.seconds, self._end_sync, self._sync, context=self._life.context)

    def _chained(self, group: list[Pending]) -> list[JournalRow]:
        rows, last = [], self._last_hash
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
        self._durable_seq, self._last_hash = rows[-1].seq, rows[-1].hash
        self._pending_facts -= len(rows)
        self._loop.call_soon(self._resolve, group, context=self._life.context)
        if self._pending:
            self._rouse()

    def _fail(self, group: list[Pending], failure: JournalError) -> None:
        waiting = self._give_up(group, failure)
        self._loop.call_soon(self._reject, waiting, failure, context=self._life.context)

    def _die(self) -> None:
        """The process is killed: what it was writing is torn."""
        if self._group:
            self._disk.tear(self._rows)
        self._group, self._rows = [], []
        self._pending.clear()
