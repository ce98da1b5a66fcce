"""Postgres and Redis of the simulated world, behind the protocols that the real ones stand behind; and the checkpoints.

They outlive the processes; a process reaches them through a door of its own, which shuts at its death. What it has sent
by then goes on: a commit that is on its way may still be done, and nobody hears of it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from polybot.chaos.disk import CHECKPOINT_PREFIX, SimDisk
from polybot.chaos.faults import Faults
from polybot.chaos.life import Life
from polybot.chaos.loop import VirtualLoop
from polybot.domain.units import Millis
from polybot.recovery import MEMORY_VERSION
from polybot.storage.bus import BusAwayError, Payload
from polybot.storage.checkpoint import (
    FILES_KEPT,
    ROWS_KEPT,
    Checkpoint,
    CheckpointError,
    decode_file,
    encode_file,
    require_usable,
)
from polybot.storage.journal_file import JournalError, JournalRow
from polybot.storage.projection_store import Choose, Place, Portion, ProjectionAwayError, RowRefusedError

K = TypeVar("K", int, str)

LOCK_LOOK_S = 0.05
SLOW_S_MAX = 10.0
KEYS_MAX = 1_000


class SimDatabase:
    """The projection: rows once and in order, and the copies of checkpoints."""

    def __init__(self, faults: Faults, true_ms: Callable[[], Millis]) -> None:
        self._faults, self._true_ms = faults, true_ms
        self.genesis: bytes | None = None
        self.rows: list[JournalRow] = []
        self.checkpoints: dict[int, bytes] = {}
        self.transactions = 0
        self._holder: object | None = None  # of the lock on the place

    def door(self, life: Life) -> "DatabaseDoor":
        """A process's way in: a ProjectionStore."""
        return DatabaseDoor(self, life)

    def away(self) -> bool:
        return self._faults.episode("store_postgres_down", self._true_ms()) is not None

    def answer_seconds(self) -> float:
        """How long one answer takes now."""
        slow = self._faults.intensity("store_postgres_slow", self._true_ms())
        lot = self._faults.draw("database answer", self.transactions)
        if slow is None:
            return 0.001 + 0.004 * lot
        self.note("store_postgres_slow")
        return SLOW_S_MAX * slow * (0.5 + 0.5 * lot)

    def note(self, name: str) -> None:
        self._faults.note(name, f"transaction {self.transactions}")

    def strikes(self, name: str) -> bool:
        return self._faults.strikes(name, self._true_ms(), f"transaction {self.transactions}")

    def wipe(self) -> None:
        """Somebody emptied it. A transaction that is under way fails."""
        self.genesis, self.rows, self.checkpoints = None, [], {}
        self._holder = None

    def repair(self, disk: SimDisk) -> int:
        """`polybot journal repair`: the journal made whole with this copy; returns the rows that are lost with it."""
        genesis = disk.genesis or self.genesis
        return disk.repair(genesis, self.rows) if genesis is not None else 0

    def catch_up(self, disk: SimDisk) -> bool:
        """What a start does first (storage/rebuild.py): a folder without a journal gets the one the database knows."""
        if disk.genesis is not None or self.genesis is None:
            return False
        disk.repair(self.genesis, self.rows)
        return True

    # -- a transaction's steps, for the door ---------------------------------------------------------------------------

    def is_locked(self) -> bool:
        return self._holder is not None

    def lock(self, holder: object) -> None:
        self._holder = holder

    def unlock(self, holder: object) -> None:
        """Commit, rollback, or the end of the connection; whose lock it is not does nothing."""
        if self._holder is holder:
            self._holder = None

    def place(self, genesis: bytes) -> Place:
        if self.genesis is None:
            return Place(genesis=genesis, seq=0, hash=genesis)
        last = self.rows[-1].hash if self.rows else self.genesis
        return Place(genesis=self.genesis, seq=len(self.rows), hash=last)

    def commit(self, holder: object, genesis: bytes, rows: Sequence[JournalRow]) -> bool:
        """Whether it was done: not if the server went away, or was wiped, after the lock was taken."""
        if self._holder is not holder or self.away():
            self.unlock(holder)
            return False
        self.unlock(holder)
        self.genesis = self.genesis or genesis
        self.rows += rows
        return True


class DatabaseDoor:
    """One process's connection: projection_store.ProjectionStore."""

    def __init__(self, database: SimDatabase, life: Life) -> None:
        self._database, self._life = database, life
        self._holder: object | None = None
        life.at_end(self._roll_back)

    async def carry(self, genesis: bytes, choose: Choose) -> int:
        self._life.require_alive()
        database = self._database
        database.transactions += 1
        seconds = database.answer_seconds()
        await asyncio.sleep(seconds / 2)
        self._require_answer()
        while database.is_locked():  # noqa: ASYNC110 - by another process, or by a commit of ours that was given up
            await asyncio.sleep(LOCK_LOOK_S)
        holder = self._holder = object()
        database.lock(holder)
        try:
            place = database.place(genesis)
            portion = await choose(place)
            self._require_answer()
            _require_sequence(place, portion)
            if database.strikes("store_postgres_fails"):
                raise ProjectionAwayError("the transaction was rolled back (simulated)")
            done = self._send_commit(holder, genesis, portion, seconds / 2)
        finally:
            self._roll_back()
        if not await done or database.strikes("store_postgres_answer_lost"):
            raise ProjectionAwayError("the connection was lost before the answer to the commit (simulated)")
        return place.seq if portion is None else portion.rows[-1].seq

    def _roll_back(self) -> None:
        """What has not been sent for commit by now is given up."""
        if self._holder is not None:
            self._database.unlock(self._holder)
            self._holder = None

    def _require_answer(self) -> None:
        self._life.require_alive()
        if self._database.away():
            self._database.note("store_postgres_down")
            raise ProjectionAwayError("connection refused (simulated)")

    def _send_commit(
        self, holder: object, genesis: bytes, portion: Portion | None, seconds: float
    ) -> "asyncio.Future[bool]":
        """From here on it is the server's affair, whatever becomes of us."""
        self._holder = None
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop), "the simulated database lives in virtual time"
        done: asyncio.Future[bool] = loop.create_future()
        rows = () if portion is None else portion.rows

        def commit() -> None:
            committed = self._database.commit(holder, genesis, rows)
            if not done.done():
                done.set_result(committed)

        loop.call_later(seconds, commit, context=loop.outside)
        return done


def _require_sequence(place: Place, portion: Portion | None) -> None:
    """What the primary key and the chain of the real table hold: each row once, after the one before it."""
    seq, last = place.seq, place.hash
    for row in portion.rows if portion is not None else ():
        seq += 1
        if row.seq != seq or row.prev_hash != last:
            raise RowRefusedError(f"row {row.seq} does not follow row {seq - 1}")
        last = row.hash


class SimLine:
    """Redis: storage.bus.Line. Keeps what was sent last under each key."""

    def __init__(self, faults: Faults, true_ms: Callable[[], Millis], life: Life) -> None:
        self._faults, self._true_ms, self._life = faults, true_ms, life
        self.values: dict[str, Payload] = {}

    async def send(self, values: Mapping[str, Payload]) -> None:
        self._life.require_alive()
        await asyncio.sleep(0.001)
        self._life.require_alive()
        if self._faults.episode("store_redis_down", self._true_ms()) is not None:
            self._faults.note("store_redis_down")
            raise BusAwayError("connection refused (simulated)")
        if len(self.values) < KEYS_MAX:
            self.values.update(values)

    async def close(self) -> None:
        """Nothing is held."""


class HashedJournal(Protocol):
    """What ties a checkpoint to a journal's history."""

    def hash_at(self, seq: int) -> bytes | None: ...


class SimCheckpoints:
    """Checkpoints on the simulated disk and their copies in the database, by the rules of storage/checkpoint.py."""

    def __init__(self, disk: SimDisk, database: SimDatabase | None = None, version: int = MEMORY_VERSION) -> None:
        self._disk, self._database, self._version = disk, database, version
        self.warnings: list[str] = []
        """Why checkpoints were passed over, the latest last."""

    def save(self, journal: HashedJournal, seq: int, position: int, at: Millis, state: bytes) -> None:
        """In the folder and, where it answers, in the database. Not before the journal has row `seq`."""
        known = journal.hash_at(seq)
        if known is None:
            return
        one = Checkpoint(version=self._version, seq=seq, position=position, at=at, journal_hash=known, state=state)
        content = encode_file(one)
        _keep(self._disk.files, f"{CHECKPOINT_PREFIX}{seq:015d}.polybot", content, FILES_KEPT)
        if self._database is not None and not self._database.away():
            _keep(self._database.checkpoints, seq, content, ROWS_KEPT)

    def newest(self, journal: HashedJournal) -> bytes | None:
        """The newest state of both places that is whole, of this version and of this journal's history."""
        for name, content in self._found():
            try:
                one = decode_file(content)
                require_usable(one, self._version, journal.hash_at)
            except (CheckpointError, JournalError) as error:
                self.warnings = [*self.warnings[-20:], f"{name} is passed over: {error}"]
                continue
            return one.state
        return None

    def _found(self) -> list[tuple[str, bytes]]:
        """Newest first; of the same row, the file's before the database's."""
        copies: dict[int, bytes] = {}
        if self._database is not None and not self._database.away():
            copies = self._database.checkpoints
        found = [(f"{CHECKPOINT_PREFIX}{seq:015d} in the database", content) for seq, content in copies.items()]
        return sorted([*self._disk.files.items(), *found], reverse=True)


def _keep(kept: dict[K, bytes], key: K, content: bytes, most: int) -> None:
    """The newest `most`, by their keys; anything else that lies among the files is not touched."""
    kept[key] = content
    for old in sorted(kept)[:-most]:
        del kept[old]
