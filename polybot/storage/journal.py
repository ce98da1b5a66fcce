"""The floor's memory of record: every fact is durable here before anything acts on it (design.md D5).

One writer thread commits whatever has gathered since its last commit (group commit: one fsync for many appends) and
wakes the event loop once per commit. `append` returns only when its facts are on disk.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Self

from polybot.domain.events import AnyFact, Journaled
from polybot.storage import journal_file, journal_place
from polybot.storage.journal_file import GENESIS_BYTES, PAGES_MAX, JournalError, JournalRow
from polybot.storage.journal_queue import JournalFailedError, JournalQueue, Pending
from polybot.storage.journal_verify import PROVEN_AT_OPEN_ROWS, prove_newest

PROVER_PAUSE_SECONDS = 0.02
"""After each batch of some 7 ms: proving competes with trading for the interpreter."""
CLOSE_SECONDS_MAX = 30.0

INSERT_INTO_FACTS = "INSERT INTO facts (seq, position, payload, prev_hash, hash) VALUES "
ONE_FACT = "(?, ?, CAST(? AS TEXT), ?, ?)"


class Journal(JournalQueue):
    """An open journal, for one event loop and one writing process. Make it with `Journal.open`."""

    def __init__(self, path: Path, lock: IO[str], connection: sqlite3.Connection) -> None:
        genesis = journal_file.read_genesis(connection, path)
        super().__init__(path, genesis, *journal_file.last_row(connection, path))
        self._lock_file = lock
        self._connection = connection
        self._work = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unproven = max(0, self._durable_seq - PROVEN_AT_OPEN_ROWS)
        self._writer = threading.Thread(target=self._write, name="journal-writer", daemon=True)
        self._no_more_proving = threading.Event()
        self._prover = threading.Thread(target=self._prove_older, name="journal-prover", daemon=True)

    @classmethod
    def open(cls, path: Path, *, genesis: bytes | None = None, pages_max: int = PAGES_MAX) -> Self:
        """Open or make the journal at `path`, prove its newest PROVEN_AT_OPEN_ROWS, and start its writer.

        Older rows are proven in a thread of their own: damage there is the journal's `failure`, as a failed write is.
        `genesis` (32 bytes) is the identity of a journal that is made now; drawn by the system where not given. Raises
        JournalInUseError, JournalMissingError, JournalUnusableError or JournalDamagedError. Blocks for up to a second:
        call it in a thread where something else runs.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = journal_file.lock_for_writing(path)
        except OSError as error:
            raise journal_file.JournalUnusableError(
                f"the journal's folder {path.parent} can't be used: {error}"
            ) from error
        try:
            if not journal_place.is_there(path):
                journal_place.require_no_run(path)
                journal_place.create(path, genesis or os.urandom(GENESIS_BYTES))
            prove_newest(path)  # before it is opened for writing: what is damaged stays as it was found
            journal = cls(path, lock, journal_file.open_for_writing(path, pages_max))
        except JournalError:
            lock.close()
            raise
        journal._writer.start()
        journal._prover.start()
        return journal

    @property
    def unproven_rows(self) -> int:
        """Rows at the beginning of a very long journal that have yet to be proven in the background; 0 when whole."""
        return self._unproven

    def submit(self, facts: Sequence[AnyFact], position: int) -> "asyncio.Future[list[Journaled]]":
        self._loop = asyncio.get_running_loop()
        return super().submit(facts, position)

    async def wait_beyond(self, seq: int, seconds_max: float) -> int:
        self._loop = asyncio.get_running_loop()
        return await super().wait_beyond(seq, seconds_max)

    def read(self, after_seq: int = 0) -> Iterator[Journaled]:
        """The durable facts after `after_seq`, proven as they are read. From any thread; raises JournalDamagedError."""
        return (row.journaled() for row in self.read_rows(after_seq))

    def read_rows(self, after_seq: int = 0) -> Iterator[JournalRow]:
        """The same as they stand in the file, hashes included."""
        return journal_file.read_rows(self.path, after_seq)

    def hash_at(self, seq: int) -> bytes | None:
        """The hash of row `seq`, the genesis for 0, None where there is no such row. From any thread."""
        connection = journal_file.open_for_reading(self.path)
        try:
            return journal_file.hash_at(connection, self.path, seq)
        finally:
            connection.close()

    def close(self) -> None:
        """Write what is waiting, end the writer, give up the file. Blocks for one commit, at most CLOSE_SECONDS_MAX."""
        self._no_more_proving.set()
        with self._work:
            self._closing = True
            self._work.notify()
        self._prover.join(CLOSE_SECONDS_MAX)
        self._writer.join(CLOSE_SECONDS_MAX)
        if self._writer.is_alive():
            raise JournalFailedError(
                f"the journal {self.path} still writes after {CLOSE_SECONDS_MAX:g} s: check the disk"
            )
        self._connection.close()
        self._lock_file.close()

    def _accept(self, pending: Pending) -> None:
        with self._work:
            if self._failure is not None:  # the writer may have ended since we looked: nobody would ever answer
                raise self._failure
            self._add(pending)
            self._work.notify()

    # -- the writer thread's side --------------------------------------------------------------------------------------

    def _write(self) -> None:
        group: list[Pending] = []
        with self._failing_on_any_end("writer", "be written", group):
            while taken := self._take_group():
                group[:] = taken
                self._commit(taken)
                group.clear()

    def _prove_older(self) -> None:
        """In the prover's thread: the rows before those that `open` proved."""
        older = self._unproven
        with self._failing_on_any_end("prover", "be proven", []):
            for reached in journal_file.prove(self.path, 0, older):
                self._unproven = older - reached
                if self._no_more_proving.wait(PROVER_PAUSE_SECONDS):
                    return

    @contextmanager
    def _failing_on_any_end(self, who: str, its_work: str, group: list[Pending]) -> Iterator[None]:
        """Whatever ends a thread of the journal is the journal's failure, and nobody waits for it in vain.

        Its own errors are told as such; a bug goes on to the log, as an error that a thread does not catch.
        """
        failure: JournalError | None = JournalFailedError(
            f"the journal's {who} for {self.path} ended by a bug: restart, and report the log"
        )
        try:
            yield
            failure = None
        except JournalError as error:
            failure = error
        except sqlite3.Error as error:
            failure = JournalFailedError(
                f"the journal {self.path} could not {its_work}: {journal_file.describe(error)}"
            )
            failure.__cause__ = error
        finally:
            if failure is not None:
                self._fail(group, failure)

    def _take_group(self) -> list[Pending]:
        """Whole appends, up to GROUP_FACTS_MAX facts; empty when closing and nothing is left."""
        with self._work:
            while not self._pending and not self._closing:
                self._work.wait()
            return self._next_group()

    def _commit(self, group: list[Pending]) -> None:
        """One INSERT, which is one transaction and one fsync.

        One statement and not executemany: SQLite calls give up the GIL, and a busy event loop gives it back only after
        its switch interval (5 ms), each time.
        """
        values: list[int | bytes] = []
        last_hash = self._last_hash
        for pending in group:
            for entry, payload in zip(pending.journaled, pending.payloads, strict=True):
                own = journal_file.row_hash(last_hash, entry.seq, entry.position, payload)
                values += (entry.seq, entry.position, payload, last_hash, own)
                last_hash = own
        count = len(values) // 5
        self._connection.execute(_insert_statement(count), values)
        self._last_hash = last_hash
        with self._work:
            self._durable_seq += count
            self._pending_facts -= count
        self._wake(self._resolve, group)

    def _fail(self, group: list[Pending], failure: JournalError) -> None:
        with self._work:
            waiting = self._give_up(group, failure)
        self._wake(lambda appends: self._reject(appends, failure), waiting)

    def _wake(self, callback: Callable[[list[Pending]], None], group: list[Pending]) -> None:
        if self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(callback, group)
        except RuntimeError:  # the loop was closed meanwhile: nobody is left to wait
            return


@cache
def _insert_statement(count: int) -> str:
    """At most GROUP_FACTS_MAX texts; the payload arrives as bytes and is UTF-8 text."""
    return INSERT_INTO_FACTS + ", ".join([ONE_FACT] * count)
