"""A disk that outlives the processes on it, and the journal kept there: what a kill or a power cut leaves is drawn.

The rows, their bytes and their hashes are the real journal's. A group of facts is one transaction: its bytes go to the
write-ahead log and count once the sync is over. A life that ends before leaves a random part of them, and the next one
that opens the journal takes the group if it is whole and drops it otherwise. So an acknowledged fact is always there,
one that was under way may or may not be.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import msgspec

from polybot.domain.events import Journaled
from polybot.storage.journal_file import (
    JournalDamagedError,
    JournalError,
    JournalRow,
    check_row,
)
from polybot.storage.journal_place import JournalMissingError

JOURNAL_PATH = Path("simulated/floor/journal.sqlite")
"""Of no real file: it stands in messages."""
CHECKPOINT_PREFIX = "checkpoint-"


class Sync(msgspec.Struct, frozen=True, kw_only=True):
    """How one sync of the disk goes: after `seconds` (infinite: never) it is over, or fails with `error`."""

    seconds: float = 0.001
    error: str | None = None


class SimDisk:
    """Made once per simulated world. `next_sync` and `kept_share` are where faults come in."""

    def __init__(self, chance: Random, genesis: bytes) -> None:
        """`genesis`: the identity of the first journal made here; later ones get their own from it."""
        self._chance = chance
        self._next_genesis = genesis
        self.genesis: bytes | None = None
        self.rows: list[JournalRow] = []
        self.log = b""
        self.files: dict[str, bytes] = {}
        self.proven = 0
        self._facts: dict[int, Journaled] = {}
        self.next_sync: Callable[[], Sync] = self._usual_sync
        self.kept_share: Callable[[], float] = self._usual_kept_share
        self.on_rows: Callable[[Sequence[JournalRow]], None] = _nobody
        """Told whenever rows have become durable, in the middle of that moment."""

    def _usual_sync(self) -> Sync:
        """0.5 to 4 ms, and one in a hundred 50 ms: a busy SSD."""
        slow = self._chance.random() < 0.01
        return Sync(seconds=0.05 if slow else 0.0005 + 0.0035 * self._chance.random())

    def _usual_kept_share(self) -> float:
        """Nothing, everything, or any part of what was on its way, each as likely."""
        lot = self._chance.random()
        return 0.0 if lot < 1 / 3 else 1.0 if lot < 2 / 3 else self._chance.random()

    # -- the journal's rows --------------------------------------------------------------------------------------------

    def open_journal(self) -> bytes:
        """Take in what the log holds, prove the rows, return the genesis. Raises JournalError as the real one does."""
        if self.genesis is None:
            if self._checkpoint_rows():
                raise JournalMissingError(
                    f"the journal {JOURNAL_PATH} is missing, and a checkpoint shows there was one"
                )
            self.genesis = self._next_genesis
            self._next_genesis = hashlib.sha256(self._next_genesis).digest()
        group, self.log = read_group(self.log), b""
        self.prove()
        if group and group[0].seq == len(self.rows) + 1 and group[0].prev_hash == self.last_hash():
            self.rows += group
            self.on_rows(group)
        self.prove()
        ahead = [seq for seq in self._checkpoint_rows() if seq > len(self.rows)]
        if ahead:
            raise JournalDamagedError(
                JOURNAL_PATH, len(self.rows) + 1, f"it ends there, and a checkpoint was made at row {max(ahead)}"
            )
        return self.genesis

    def prove(self) -> None:
        """Check the chain of every row that was not checked since it was written. Raises JournalDamagedError."""
        for row in self.rows[self.proven :]:
            check_row(JOURNAL_PATH, row, self.proven + 1, self._hash(self.proven))
            self.proven += 1

    def last_hash(self) -> bytes:
        return self._hash(len(self.rows))

    def hash_at(self, seq: int) -> bytes | None:
        return self._hash(seq) if 0 <= seq <= len(self.rows) else None

    def read_rows(self, after_seq: int) -> Iterator[JournalRow]:
        """In order, each proven; what was proven since it was written is not hashed again."""
        if self.hash_at(after_seq) is None:
            raise JournalDamagedError(JOURNAL_PATH, after_seq, "it is missing, while rows after it are asked for")
        seq = after_seq
        while seq < len(self.rows):
            row = self.rows[seq]
            if seq >= self.proven:
                check_row(JOURNAL_PATH, row, seq + 1, self._hash(seq))
                self.proven = seq + 1 if seq == self.proven else self.proven
            seq += 1
            yield row

    def read_facts(self, after_seq: int) -> Iterator[Journaled]:
        """The rows as facts. Each row is decoded from its bytes once; the same bytes give the same fact."""
        facts = self._facts
        for row in self.read_rows(after_seq):
            fact = facts.get(row.seq)
            if fact is None:
                fact = facts[row.seq] = row.journaled()
            yield fact

    def keep(self, rows: Sequence[JournalRow]) -> None:
        """The sync of a group is over: it is durable."""
        self.rows += rows
        self.on_rows(rows)

    def tear(self, rows: Sequence[JournalRow]) -> None:
        """The group was on its way when the writer ended: some of its bytes are in the log."""
        group = group_bytes(rows)
        self.log = group[: round(self.kept_share() * len(group))]

    def _hash(self, seq: int) -> bytes:
        assert self.genesis is not None, "a journal is opened before it is read"
        return self.rows[seq - 1].hash if seq else self.genesis

    def _checkpoint_rows(self) -> list[int]:
        names = (name.removeprefix(CHECKPOINT_PREFIX).partition(".") for name in self.files)
        return [int(number) for number, _, suffix in names if number.isdecimal() and suffix == "polybot"]

    # -- what befalls the disk -----------------------------------------------------------------------------------------

    def flip_bit(self, seq: int) -> None:
        """A bit of an old row's payload changes; whoever reads or opens finds it by the chain."""
        row = self.rows[seq - 1]
        place = self._chance.randrange(len(row.payload))
        payload = bytearray(row.payload)
        payload[place] ^= 1 << self._chance.randrange(8)
        self.rows[seq - 1] = msgspec.structs.replace(row, payload=bytes(payload))
        self._facts.pop(seq, None)
        self.proven = min(self.proven, seq - 1)

    def lose_folder(self) -> None:
        """Journal, log and checkpoints are gone."""
        self.genesis, self.rows, self.log, self.files = None, [], b"", {}
        self.proven, self._facts = 0, {}

    def repair(self, genesis: bytes, copy: Sequence[JournalRow]) -> int:
        """Make the journal whole with the rows of a copy, and make it anew where there is none; returns rows lost.

        Row by row, our own where it fits the chain, else the copy's. Checkpoints of rows that are no more are put away.
        """
        before = len(self.rows)
        rows: list[JournalRow] = []
        previous = genesis
        for seq in range(1, max(before, len(copy)) + 1):
            found = [
                one for one in (self.rows[seq - 1 : seq], copy[seq - 1 : seq]) if one and _fits(one[0], seq, previous)
            ]
            if not found:
                break
            rows.append(found[0][0])
            previous = rows[-1].hash
        self.genesis, self.rows, self.log, self.proven, self._facts = genesis, rows, b"", 0, {}
        gone = [seq for seq in self._checkpoint_rows() if seq > len(rows)]
        self.files = {name: data for name, data in self.files.items() if not any(f"{seq:015d}" in name for seq in gone)}
        return max(0, before - len(rows))


def group_bytes(rows: Sequence[JournalRow]) -> bytes:
    """A transaction in the write-ahead log: its length, its rows, and a sum without which it does not count."""
    body = msgspec.msgpack.encode(rows)
    return struct.pack(">I", len(body)) + body + hashlib.sha256(body).digest()


def read_group(log: bytes) -> list[JournalRow]:
    """The transaction in the log; none where its bytes are not all there."""
    if len(log) < 4:
        return []
    (length,) = struct.unpack(">I", log[:4])
    body, digest = log[4 : 4 + length], log[4 + length :]
    if len(body) < length or hashlib.sha256(body).digest() != digest:
        return []
    return msgspec.msgpack.decode(body, type=list[JournalRow])


def _fits(row: JournalRow, seq: int, previous: bytes) -> bool:
    try:
        check_row(JOURNAL_PATH, row, seq, previous)
    except JournalError:
        return False
    return True


def _nobody(_: Sequence[JournalRow]) -> None:
    """Listens."""
