"""Start-up takes the newest checkpoint that can be trusted, and none rather than a wrong one."""

import os
from pathlib import Path

import asyncpg
import msgspec
import pytest

from polybot.domain.units import Millis
from polybot.storage.checkpoint import (
    FILES_KEPT,
    ROWS_KEPT,
    Checkpoint,
    CheckpointError,
    Found,
    newest,
    save_to_database,
    save_to_file,
)
from polybot.storage.journal import Journal
from polybot.storage.postgres import open_pool
from tests.storage import facts

VERSION = 3
HISTORY = {seq: bytes([seq]) * 32 for seq in range(60)}


def checkpoint(seq: int, *, version: int = VERSION, history: bytes | None = None) -> Checkpoint:
    return Checkpoint(
        version=version,
        seq=seq,
        position=10 * seq,
        at=Millis(facts.START + seq),
        journal_hash=history or bytes([seq]) * 32,
        state=b'{"cash": 1, "text": "a\\nb"}\n' + bytes([seq]),
    )


async def found(folder: Path, pool: asyncpg.Pool | None = None) -> Found:
    return await newest(folder, pool, version=VERSION, hash_at=HISTORY.get)


def file_of(folder: Path, seq: int) -> Path:
    return folder / f"checkpoint-{seq:015d}.polybot"


async def test_what_is_saved_is_found_again_in_either_place(tmp_path: Path, pool: asyncpg.Pool) -> None:
    await save_to_file(tmp_path / "new folder", checkpoint(5))
    await save_to_database(pool, checkpoint(7))
    assert await found(tmp_path / "new folder") == Found(checkpoint=checkpoint(5), origin="file", warnings=[])
    assert await found(tmp_path / "new folder", pool) == Found(checkpoint=checkpoint(7), origin="database", warnings=[])
    await save_to_file(tmp_path / "new folder", checkpoint(9))
    assert (await found(tmp_path / "new folder", pool)).checkpoint == checkpoint(9)


async def test_nothing_anywhere_is_a_start_from_the_journal_alone(tmp_path: Path, pool: asyncpg.Pool) -> None:
    assert await found(tmp_path, pool) == Found(checkpoint=None, origin="", warnings=[])
    assert await found(tmp_path / "missing") == Found(checkpoint=None, origin="", warnings=[])


async def test_only_the_newest_few_are_kept(tmp_path: Path, pool: asyncpg.Pool) -> None:
    for seq in range(1, 31):
        await save_to_file(tmp_path, checkpoint(seq))
        await save_to_database(pool, checkpoint(seq))
    assert sorted(os.listdir(tmp_path)) == [file_of(tmp_path, seq).name for seq in range(31 - FILES_KEPT, 31)]
    assert await pool.fetchval("SELECT count(*) FROM checkpoints") == ROWS_KEPT


async def test_saving_the_same_row_again_replaces_it(tmp_path: Path, pool: asyncpg.Pool) -> None:
    later = msgspec.structs.replace(checkpoint(5), state=b"{}")
    for each in (checkpoint(5), later):
        await save_to_file(tmp_path, each)
        await save_to_database(pool, each)
    assert (await found(tmp_path)).checkpoint == later
    assert (await found(tmp_path / "none", pool)).checkpoint == later


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data[: len(data) // 3],
        lambda data: b"",
        lambda data: data.replace(b'"cash": 1', b'"cash": 9'),
        lambda data: data.replace(b'"position":90', b'"position":91'),
        lambda data: b"\xff" * len(data),
    ],
    ids=["cut short", "cut in its header", "empty", "state changed", "header changed", "overwritten"],
)
async def test_a_damaged_file_is_passed_over_with_a_warning(tmp_path: Path, spoil) -> None:
    await save_to_file(tmp_path, checkpoint(5))
    await save_to_file(tmp_path, checkpoint(9))
    file = file_of(tmp_path, 9)
    file.write_bytes(spoil(file.read_bytes()))
    answer = await found(tmp_path)
    assert answer.checkpoint == checkpoint(5)
    [warning] = answer.warnings
    assert "row 9 in the file is passed over" in warning


async def test_a_damaged_row_is_passed_over_with_a_warning(tmp_path: Path, pool: asyncpg.Pool) -> None:
    await save_to_database(pool, checkpoint(5))
    await save_to_database(pool, checkpoint(9))
    await pool.execute("UPDATE checkpoints SET state = 'nonsense' WHERE seq = 9")
    answer = await found(tmp_path, pool)
    assert answer.checkpoint == checkpoint(5)
    assert "row 9 in the database is passed over: it is damaged" in answer.warnings[0]


@pytest.mark.parametrize(
    ("unusable", "why"),
    [
        (checkpoint(9, version=VERSION + 1), "of a newer version"),
        (checkpoint(9, version=VERSION - 1), "of an older version"),
        (checkpoint(9, history=b"x" * 32), "another journal"),
        (checkpoint(99), "ahead of the journal"),
    ],
)
async def test_a_checkpoint_that_does_not_fit_is_passed_over_with_the_reason(
    tmp_path: Path, pool: asyncpg.Pool, unusable: Checkpoint, why: str
) -> None:
    await save_to_database(pool, checkpoint(5))
    await save_to_file(tmp_path, unusable)
    answer = await found(tmp_path, pool)
    assert answer.checkpoint == checkpoint(5)
    assert why in answer.warnings[0]


async def test_a_write_that_was_killed_half_way_leaves_the_older_one_usable(tmp_path: Path) -> None:
    await save_to_file(tmp_path, checkpoint(5))
    (tmp_path / "checkpoint-000000000000009.unfinished").write_bytes(b"{")
    (tmp_path / "checkpoint-notes.polybot").write_bytes(b"whatever")
    assert await found(tmp_path) == Found(checkpoint=checkpoint(5), origin="file", warnings=[])


async def test_postgres_away_is_a_warning_and_files_are_used(tmp_path: Path) -> None:
    await save_to_file(tmp_path, checkpoint(5))
    pool = await open_pool("postgresql://polybot@127.0.0.1:1/polybot")
    answer = await found(tmp_path, pool)
    await pool.close()
    assert answer.checkpoint == checkpoint(5)
    assert "checkpoints cannot be read" in answer.warnings[0]


async def test_a_database_still_to_be_migrated_has_none_and_files_are_used(tmp_path: Path, empty_url: str) -> None:
    await save_to_file(tmp_path, checkpoint(5))
    pool = await open_pool(empty_url)
    answer = await found(tmp_path, pool)
    await pool.close()
    assert answer == Found(checkpoint=checkpoint(5), origin="file", warnings=[])


async def test_a_folder_that_cannot_be_written_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="check the disk"):
        await save_to_file(tmp_path / "file" / "checkpoints", checkpoint(1))


async def test_it_is_tied_to_the_journals_own_hashes(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "journal") as journal:
        await journal.append([facts.note(1), facts.note(2)], position=0)
        fitting = msgspec.structs.replace(checkpoint(1), journal_hash=journal.hash_at(1) or b"")
        await save_to_file(tmp_path, fitting)
        answer = await newest(tmp_path, None, version=VERSION, hash_at=journal.hash_at)
        assert answer.checkpoint == fitting
    with Journal.open(tmp_path / "another folder" / "journal") as other:
        await other.append([facts.note(1)], position=0)
        assert (await newest(tmp_path, None, version=VERSION, hash_at=other.hash_at)).checkpoint is None
