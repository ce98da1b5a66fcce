"""A journal that was lost is made anew from Postgres, one that fell behind is brought up to it: proven row by row."""
# ruff: noqa: ASYNC240 - nothing else runs in a test's loop

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import msgspec
import pytest

from polybot.storage import journal_copy
from polybot.storage.journal import Journal
from polybot.storage.journal_copy import CopyAwayError, CopyUnusableError
from polybot.storage.journal_file import JournalDamagedError, JournalInUseError, read_rows
from polybot.storage.journal_verify import verify
from polybot.storage.rebuild import ForeignCopyError, JournalDivergedError, Restored, catch_up, restore
from tests.storage import facts
from tests.storage.projecting import Projecting, contents, wipe


@asynccontextmanager
async def connected(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    async with pool.acquire() as connection:
        yield connection  # type: ignore[misc]


async def caught_up(path: Path, pool: asyncpg.Pool, *, supersede: bool = False) -> Restored:
    async with connected(pool) as connection:
        return await catch_up(path, connection, supersede=supersede)


def content(path: Path) -> list[object]:
    return list(read_rows(path))


async def append(path: Path, *numbers: int) -> None:
    with Journal.open(path) as journal:
        await journal.append([facts.note(number) for number in numbers], position=0)


WRITTEN = len(facts.one_of_each()) + 90


@pytest.fixture
async def path(projecting: Projecting) -> Path:
    """A closed journal of some 120 facts, all of them in Postgres."""
    await projecting.tell(facts.one_of_each())
    await projecting.tell([facts.note(100 + n) for n in range(90)])
    projecting.journal.close()
    return projecting.journal.path


@pytest.mark.parametrize("batch", [7, 5_000])
async def test_a_lost_journal_is_made_anew_row_for_row(
    path: Path, pool: asyncpg.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(journal_copy, "BATCH_ROWS", batch)
    lost = tmp_path / "another machine" / "floor" / "journal.sqlite"
    restored = await caught_up(lost, pool)
    assert sorted(file.name for file in lost.parent.iterdir()) == ["journal.sqlite", "journal.sqlite.lock"]
    assert content(lost) == content(path)
    assert verify(lost) == msgspec.structs.replace(verify(path), path=str(lost))
    assert (restored.taken, restored.last_seq, restored.put_aside) == (WRITTEN, WRITTEN, None)
    assert f"{WRITTEN} facts were taken from the database" in restored.text
    assert "may never have reached it" in restored.text


async def test_the_journal_made_anew_goes_on_and_is_projected_into_the_same_database(
    path: Path, pool: asyncpg.Pool
) -> None:
    before = await contents(pool)
    for file in path.parent.glob("journal.sqlite*"):
        file.unlink()
    await caught_up(path, pool)
    going_on = Projecting(path, pool)
    await going_on.tell([])
    assert await contents(pool) == before
    await going_on.tell([facts.note(1000)])
    assert await pool.fetchval("SELECT count(*) FROM facts") == WRITTEN + 1
    going_on.journal.close()


async def test_a_database_that_shows_no_run_restores_nothing(
    tmp_path: Path, pool: asyncpg.Pool, empty_url: str
) -> None:
    assert (await caught_up(tmp_path / "journal", pool)).text == ""
    await pool.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    assert await caught_up(tmp_path / "journal", pool) == Restored(taken=0, last_seq=0, text="")
    assert not (tmp_path / "journal").exists()


async def test_a_journal_with_no_facts_yet_keeps_its_identity(projecting: Projecting, pool: asyncpg.Pool) -> None:
    await projecting.tell([])
    projecting.journal.close()
    path = projecting.journal.path
    path.unlink()
    await caught_up(path, pool)
    with Journal.open(path) as journal:
        assert (journal.genesis, journal.last_seq) == (b"g" * 32, 0)


async def test_an_older_copy_of_the_journal_gets_the_rows_it_lacks(
    projecting: Projecting, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    await projecting.tell([facts.note(n) for n in range(20)])
    copy = tmp_path / "backup.sqlite"
    await projecting.tell([])
    projecting.journal.close()
    shutil.copy(projecting.journal.path, copy)
    going_on = Projecting(projecting.journal.path, pool)
    await going_on.tell([facts.note(100 + n) for n in range(15)])
    going_on.journal.close()
    restored = await caught_up(copy, pool)
    assert (restored.taken, restored.last_seq) == (15, 35)
    assert "15 facts that the journal did not have (rows 21 on)" in restored.text
    assert content(copy) == content(going_on.journal.path)
    assert await caught_up(copy, pool) == Restored(taken=0, last_seq=35, text="")


async def test_a_journal_ahead_of_the_database_is_left_as_it_is(path: Path, pool: asyncpg.Pool) -> None:
    await append(path, 1, 2, 3)
    before = content(path)
    for supersede in (False, True):
        assert (await caught_up(path, pool, supersede=supersede)).taken == 0
    assert content(path) == before


async def diverge(path: Path, pool: asyncpg.Pool, folder: Path, rows: int) -> Path:
    """A former leader's journal: as the database's up to a row, and then `rows` of its own that never got there."""
    old = folder / "old leader" / "journal.sqlite"
    old.parent.mkdir()
    shutil.copy(path, old)
    await append(old, *range(500, 500 + rows))
    heir = Projecting(path, pool)
    await heir.tell([facts.note(900 + n) for n in range(5)])
    heir.journal.close()
    return old


@pytest.mark.parametrize("rows", [1, 5, 9], ids=["shorter", "as long", "longer"])
async def test_a_former_leaders_journal_is_put_aside_and_made_anew(
    path: Path, pool: asyncpg.Pool, tmp_path: Path, rows: int
) -> None:
    old = await diverge(path, pool, tmp_path, rows)
    was = content(old)
    (old.parent / f"checkpoint-{WRITTEN + rows:015d}.polybot").write_bytes(b"of the old history")
    restored = await caught_up(old, pool, supersede=True)
    assert restored.put_aside == old.parent / "journal.superseded-0001.sqlite"
    assert "journal.superseded-0001.sqlite" in restored.text
    assert content(restored.put_aside) == was
    assert content(old) == content(path)
    with Journal.open(old) as journal:  # no checkpoint of the old history says that rows are missing
        assert journal.last_seq == WRITTEN + 5


async def test_a_history_of_its_own_is_refused_where_nobody_led_after_it(
    path: Path, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    old = await diverge(path, pool, tmp_path, 2)
    was = content(old)
    with pytest.raises(JournalDivergedError, match="different histories"):
        await caught_up(old, pool)
    assert content(old) == was


async def test_another_runs_database_is_refused_and_the_journal_left_alone(
    path: Path, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger" / "journal.sqlite"
    await append(stranger, 1)
    for supersede in (False, True):
        with pytest.raises(ForeignCopyError, match="another journal's run"):
            await caught_up(stranger, pool, supersede=supersede)
    assert len(content(stranger)) == 1


async def test_a_damaged_journal_is_refused_at_a_start_and_made_anew_for_one_who_takes_over(
    path: Path, pool: asyncpg.Pool
) -> None:
    was = content(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER facts_keep_their_content")
        connection.execute("UPDATE facts SET position = 99 WHERE seq = 60")
    connection.close()
    restored = await caught_up(path, pool, supersede=True)
    assert restored.put_aside is not None
    assert content(path) == was
    with pytest.raises(JournalDamagedError, match="row 60"):
        content(restored.put_aside)
    path.write_bytes(b"")
    with pytest.raises(JournalDamagedError, match="empty"):
        await caught_up(path, pool)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE facts SET payload = '{}' WHERE seq = 70",
        "DELETE FROM facts WHERE seq >= 70",
    ],
)
async def test_a_copy_that_somebody_changed_is_not_made_a_journal_of(
    path: Path, pool: asyncpg.Pool, tmp_path: Path, statement: str
) -> None:
    await pool.execute(statement)
    lost = tmp_path / "lost" / "journal.sqlite"
    with pytest.raises(CopyUnusableError, match=r"not whole at row 70.*`polybot journal repair`"):
        await caught_up(lost, pool)
    assert not lost.exists()


async def test_a_copy_that_ends_in_another_row_than_it_says_is_refused(
    path: Path, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    await pool.execute("UPDATE projection SET last_hash = decode(repeat('00', 32), 'hex')")
    with pytest.raises(CopyUnusableError, match="not the one it says"):
        await caught_up(tmp_path / "lost" / "journal.sqlite", pool)


async def test_a_journal_in_use_is_not_touched(path: Path, pool: asyncpg.Pool) -> None:
    with Journal.open(path), pytest.raises(JournalInUseError):
        await caught_up(path, pool)


async def test_a_database_that_is_away_is_asked_again_and_then_said_to_be_away(tmp_path: Path) -> None:
    with pytest.raises(CopyAwayError, match="cannot be read"):
        await restore(
            tmp_path / "journal", "postgresql://polybot@127.0.0.1:1/polybot", connect_seconds_max=1.0, seconds_max=0.1
        )


async def test_a_kill_while_it_is_made_anew_leaves_none_and_the_next_try_makes_it(
    path: Path, pool: asyncpg.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = tmp_path / "lost" / "journal.sqlite"

    async def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("polybot.storage.rebuild.journal_copy.rows_after", killed)
        with pytest.raises(KeyboardInterrupt):
            await caught_up(lost, pool)
    assert not lost.exists()
    await caught_up(lost, pool)
    assert content(lost) == content(path)


async def test_a_wiped_database_is_filled_again_from_the_journal_every_table_row_for_row(
    projecting: Projecting, pool: asyncpg.Pool
) -> None:
    await projecting.tell(facts.one_of_each())
    before = await contents(pool)
    await wipe(pool)
    await projecting.tell([])
    assert await contents(pool) == before
    projecting.journal.close()
    await wipe(pool)  # and while the floor is not running
    again = Projecting(projecting.journal.path, pool)
    await again.tell([])
    assert await contents(pool) == before
    again.journal.close()
