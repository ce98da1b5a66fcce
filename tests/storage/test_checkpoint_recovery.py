"""Whatever is wrong with a checkpoint, it is passed over with a warning, and the floor is where the journal says."""

import re
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import asyncpg
import msgspec
import pytest

from polybot.domain.units import Millis
from polybot.recovery import MEMORY_VERSION, FloorMemory, decode_memory, new_memory, recover
from polybot.storage.checkpoint import Checkpoint, Found, newest, save_to_database, save_to_file
from polybot.storage.journal import Journal
from tests.test_recovery import Kept, shipped

NEWEST, OLDER = -1, -3


@cache
def run() -> Kept:
    """A run over the shipped tape's first windows, with a checkpoint every few facts."""
    return shipped()


class Floor(NamedTuple):
    folder: Path
    journal: Journal
    pool: asyncpg.Pool


@pytest.fixture
async def floor(tmp_path: Path, pool: asyncpg.Pool) -> AsyncIterator[Floor]:
    """The run's journal, whole."""
    with Journal.open(tmp_path / "floor" / "journal.sqlite") as journal:
        for entry in run().journal:
            await journal.append([entry.fact], entry.position)
        yield Floor(tmp_path / "floor", journal, pool)


def checkpoint(journal: Journal, which: int) -> Checkpoint:
    """One of the run's own: the last, or one before it."""
    state = run().checkpoints[which]
    seq = decode_memory(state).seq
    known = journal.hash_at(seq)
    assert known is not None
    return Checkpoint(version=MEMORY_VERSION, seq=seq, position=0, at=Millis(1), journal_hash=known, state=state)


async def found(floor: Floor) -> Found:
    return await newest(floor.folder, floor.pool, version=MEMORY_VERSION, hash_at=floor.journal.hash_at)


def recovered(floor: Floor, taken: Checkpoint | None) -> tuple[object, ...]:
    """All that a floor knows after a start from there, and what it then finds due (which forgets what is over)."""
    kept = run().floor
    memory: FloorMemory = decode_memory(taken.state) if taken else new_memory(kept.capital)
    was = recover(memory, floor.journal.read(memory.seq), iter(run().tape), kept.plans, kept.limits)
    venue = was.paper_venue(kept.model).state
    due = was.room.due(was.now)
    return msgspec.to_builtins((was.memory.room, was.memory.board, venue.account, was.memory.seq)), was.now, due


def file_of(floor: Floor, one: Checkpoint) -> Path:
    return floor.folder / f"checkpoint-{one.seq:015d}.polybot"


async def cut_short(floor: Floor, one: Checkpoint) -> None:
    await save_to_file(floor.folder, one)
    file = file_of(floor, one)
    file.write_bytes(file.read_bytes()[:-40])


async def overwritten(floor: Floor, one: Checkpoint) -> None:
    await save_to_file(floor.folder, one)
    file = file_of(floor, one)
    file.write_bytes(b"\xff" * file.stat().st_size)


async def of_a_newer_version(floor: Floor, one: Checkpoint) -> None:
    await save_to_file(floor.folder, msgspec.structs.replace(one, version=MEMORY_VERSION + 1))


async def of_another_journal(floor: Floor, one: Checkpoint) -> None:
    await save_to_file(floor.folder, msgspec.structs.replace(one, journal_hash=b"x" * 32))


async def ahead_of_the_journal(floor: Floor, one: Checkpoint) -> None:
    await save_to_database(floor.pool, msgspec.structs.replace(one, seq=one.seq + 10_000))


async def changed_in_the_database(floor: Floor, one: Checkpoint) -> None:
    await save_to_database(floor.pool, one)
    await floor.pool.execute("UPDATE checkpoints SET state = state || '\\x00'::bytea")


BAD: list[tuple[Callable[[Floor, Checkpoint], object], str]] = [
    (cut_short, "in the file is passed over: it is damaged"),
    (overwritten, "in the file is passed over: .* cannot be read"),
    (of_a_newer_version, "in the file is passed over: it is of a newer version"),
    (of_another_journal, "in the file is passed over: it belongs to another journal"),
    (ahead_of_the_journal, "in the database is passed over: it is ahead of the journal"),
    (changed_in_the_database, "in the database is passed over: it is damaged"),
]


@pytest.mark.parametrize(("spoiled", "warning"), BAD, ids=[spoiled.__name__ for spoiled, _ in BAD])
async def test_a_bad_one_is_passed_over_for_an_older_one_and_the_floor_is_where_the_journal_says(
    floor: Floor, spoiled, warning: str
) -> None:
    alone = recovered(floor, None)
    await spoiled(floor, checkpoint(floor.journal, NEWEST))
    nothing = await found(floor)
    assert nothing.checkpoint is None
    assert recovered(floor, nothing.checkpoint) == alone
    await save_to_file(floor.folder, checkpoint(floor.journal, OLDER))
    older = await found(floor)
    assert older.checkpoint == checkpoint(floor.journal, OLDER)
    assert re.search(warning, "\n".join(older.warnings))
    assert recovered(floor, older.checkpoint) == alone


async def test_only_the_databases_is_good_and_it_is_taken(floor: Floor) -> None:
    alone = recovered(floor, None)
    await overwritten(floor, checkpoint(floor.journal, NEWEST))
    await save_to_database(floor.pool, checkpoint(floor.journal, OLDER))
    taken = await found(floor)
    assert (taken.origin, taken.checkpoint) == ("database", checkpoint(floor.journal, OLDER))
    assert recovered(floor, taken.checkpoint) == alone


async def test_the_newest_of_both_places_is_taken_and_little_of_the_journal_is_read(floor: Floor) -> None:
    alone = recovered(floor, None)
    await save_to_file(floor.folder, checkpoint(floor.journal, OLDER))
    await save_to_database(floor.pool, checkpoint(floor.journal, NEWEST))
    taken = await found(floor)
    assert taken.checkpoint is not None
    assert taken.warnings == []
    assert len(list(floor.journal.read(taken.checkpoint.seq))) < len(run().journal) / 4
    assert recovered(floor, taken.checkpoint) == alone
