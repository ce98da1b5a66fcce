"""A damaged journal is made whole from its own rows and the database's; what cannot be had is told, never made up."""
# ruff: noqa: ASYNC240 - nothing else runs in a test's loop

import os
import random
import shutil
import sqlite3
from pathlib import Path

import asyncpg
import pytest

from polybot.storage.journal import Journal
from polybot.storage.journal_file import JournalDamagedError, JournalRow, read_rows
from polybot.storage.journal_repair import Draft, RepairImpossibleError, discard, draft, finish
from polybot.storage.journal_verify import damage_of, verify
from tests.storage.journals import damaged, note
from tests.storage.projecting import Projecting

ROWS = 1500


async def drafted(path: Path, pool: asyncpg.Pool | None = None) -> Draft:
    if pool is None:
        return await draft(path, None)
    async with pool.acquire() as connection:
        return await draft(path, connection)


def spoil(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def content(path: Path) -> list[JournalRow]:
    return list(read_rows(path))


@pytest.fixture
async def projected(projecting: Projecting) -> Path:
    """A closed journal of 600 rows; Postgres has 590 of them."""
    await projecting.tell([note(n, "x" * 300) for n in range(590)])
    await projecting.journal.append([note(n) for n in range(10)], position=0)
    projecting.journal.close()
    return projecting.journal.path


async def test_without_a_database_the_proven_rows_are_kept_and_the_others_told(path: Path) -> None:
    await damaged(path, "UPDATE facts SET position = 9 WHERE seq = 700", ROWS)
    before = path.read_bytes()
    made = await drafted(path)
    assert (made.rows, made.from_file, made.from_database) == (699, 699, 0)
    assert made.lost is not None
    assert (made.lost.first_seq, made.lost.last_seq, made.lost.readable) == (700, ROWS, {"SystemNoted": 801})
    assert "801 facts are cut off, rows 700 to 1500" in made.lost.told()
    assert path.read_bytes() == before  # nothing has happened yet
    kept = finish(made)
    assert kept == path.parent / "journal.damaged-0001.sqlite"
    assert kept.read_bytes() == before
    with Journal.open(path) as journal:
        assert journal.last_seq == 699
        await journal.append([note(1)], position=0)
    assert kept.read_bytes() == before


async def test_a_second_repair_keeps_the_second_file_too(path: Path) -> None:
    await damaged(path, "UPDATE facts SET position = 9 WHERE seq = 700", ROWS)
    finish(await drafted(path))
    spoil(path, "UPDATE facts SET position = 9 WHERE seq = 600")
    assert finish(await drafted(path)) == path.parent / "journal.damaged-0002.sqlite"
    assert verify(path).rows == 599


@pytest.mark.parametrize(
    ("statement", "from_database"),
    [
        ("UPDATE facts SET payload = replace(payload, 'INFO', 'ERROR') WHERE seq = 300", 291),
        ("DELETE FROM facts WHERE seq IN (300, 400)", 291),
        ("DELETE FROM facts WHERE seq <= 550", 590),
        ("UPDATE facts SET hash = zeroblob(32) WHERE seq = 300", 291),
        ("DROP TABLE identity", 0),
        ("UPDATE identity SET genesis = zeroblob(32)", 0),
    ],
)
async def test_with_the_database_nothing_is_lost_not_even_rows_that_it_never_had(
    projected: Path, pool: asyncpg.Pool, statement: str, from_database: int
) -> None:
    whole = content(projected)
    spoil(projected, statement)
    assert damage_of(projected) is not None
    made = await drafted(projected, pool)
    assert (made.rows, made.lost, made.database) == (600, None, "the database has rows 1 to 590")
    assert made.from_database == from_database
    finish(made)
    assert content(projected) == whole
    assert damage_of(projected) is None


@pytest.mark.parametrize("seed", range(4))
async def test_overwritten_pages_cost_nothing_that_file_or_database_still_have(
    projected: Path, pool: asyncpg.Pool, seed: int
) -> None:
    whole = content(projected)
    chance = random.Random(seed)
    pages = projected.stat().st_size // 4096
    with projected.open("r+b") as file:
        for page in chance.sample(range(2, pages), 3):
            file.seek(page * 4096)
            file.write(chance.randbytes(4096))
    assert damage_of(projected) is not None
    made = await drafted(projected, pool)
    finish(made)
    assert made.rows >= 590
    assert content(projected) == whole[: made.rows]
    assert (made.lost is None) == (made.rows == 600)


@pytest.mark.parametrize("left", ["nothing", "an empty file", "text"])
async def test_a_journal_of_which_nothing_is_left_is_made_from_the_database(
    projected: Path, pool: asyncpg.Pool, left: str
) -> None:
    whole = content(projected)
    for file in projected.parent.glob("journal.sqlite*"):
        file.unlink()
    if left != "nothing":
        projected.write_bytes(b"" if left == "an empty file" else b"certainly no database " * 500)
    made = await drafted(projected, pool)
    assert (made.from_file, made.from_database) == (0, 590)
    assert made.lost is not None
    assert made.lost.told() == "whatever came after row 590 is lost: the file's end is gone"
    finish(made)
    assert content(projected) == whole[:590]


async def test_with_neither_file_nor_database_there_is_nothing_to_begin_with(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"")
    with pytest.raises(RepairImpossibleError, match="POLYBOT_DATABASE_URL"):
        await drafted(path)
    assert path.read_bytes() == b""


async def test_another_runs_database_is_not_used(path: Path, projected: Path, pool: asyncpg.Pool) -> None:
    await damaged(path, "UPDATE facts SET position = 9 WHERE seq = 300", 500)
    made = await drafted(path, pool)
    assert (made.rows, made.from_database) == (299, 0)
    assert "another run" in made.database


async def test_rows_that_somebody_changed_in_the_database_are_not_taken(projected: Path, pool: asyncpg.Pool) -> None:
    spoil(projected, "DELETE FROM facts WHERE seq > 100")
    await pool.execute("""UPDATE facts SET payload = '{"fact":"SystemNoted"}' WHERE seq = 200""")
    made = await drafted(projected, pool)
    assert made.rows == 199
    assert made.lost is not None
    assert made.lost.last_seq == 590


async def test_rows_lost_with_the_wal_come_back_from_the_database(projected: Path, pool: asyncpg.Pool) -> None:
    whole = content(projected)
    (projected.parent / f"checkpoint-{580:015d}.polybot").write_bytes(b"made at row 580")
    spoil(projected, "DELETE FROM facts WHERE seq > 500")
    with pytest.raises(JournalDamagedError, match="it ends there"):
        Journal.open(projected)
    finish(await drafted(projected, pool))
    assert content(projected) == whole[:590]
    Journal.open(projected).close()


async def test_checkpoints_of_rows_that_are_no_more_are_put_aside_with_them(path: Path) -> None:
    await damaged(path, "DELETE FROM facts WHERE seq > 900", ROWS)
    for row in (800, 1200):
        (path.parent / f"checkpoint-{row:015d}.polybot").write_bytes(b"state")
    made = await drafted(path)
    assert made.lost is not None
    assert made.lost.last_seq == 1200
    finish(made)
    assert sorted(file.name for file in path.parent.glob("checkpoint*")) == [
        f"checkpoint-{800:015d}.polybot",
        f"checkpoint-{1200:015d}.superseded",
    ]
    Journal.open(path).close()


async def test_a_repair_that_is_thought_better_of_leaves_everything_as_it_was(path: Path) -> None:
    await damaged(path, "UPDATE facts SET position = 9 WHERE seq = 300", 500)
    before = path.read_bytes()
    await drafted(path)
    discard(path)
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*.unfinished*"))


async def test_a_power_cut_at_any_step_of_a_repair_leaves_the_damaged_journal_or_the_whole_one(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await damaged(path, "UPDATE facts SET position = 9 WHERE seq = 300", 500)
    made = await drafted(path)
    copies: list[Path] = []

    def watched(owner: object, name: str) -> None:
        step = getattr(owner, name)

        def and_look(*arguments, **named):
            copies.append(Path(shutil.copytree(path.parent, tmp_path / f"moment-{len(copies)}")))
            return step(*arguments, **named)

        monkeypatch.setattr(owner, name, and_look)

    for owner, name in ((os, "fsync"), (os, "link"), (Path, "replace"), (Path, "unlink"), (Path, "rename")):
        watched(owner, name)
    finish(made)
    monkeypatch.undo()
    assert len(copies) > 6
    ends = []
    for folder in copies:
        try:  # JournalMissingError would be neither the old nor the new one
            with Journal.open(folder / path.name) as journal:
                ends.append(journal.last_seq)
        except JournalDamagedError:
            ends.append(0)
    assert ends == sorted(ends)
    assert {*ends} == {0, 299}
