"""Migrations: once each, in order, together or not at all, whoever starts at the same time."""

import asyncio
import shutil
from pathlib import Path

import asyncpg
import pytest

from polybot.paths import migrations_dir
from polybot.storage.migrate import (
    DatabaseNewerError,
    MigrationChangedError,
    MigrationError,
    migrate,
    read_migrations,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two small migrations that can be spoiled."""
    write(tmp_path, "0001_first.sql", "CREATE TABLE first (x int);")
    write(tmp_path, "0002_second.sql", "CREATE TABLE second (x int);\nINSERT INTO second VALUES (1);")
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)


async def apply(url: str, folder: Path) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return await migrate(connection, folder)
    finally:
        await connection.close()


async def fetch(url: str, query: str) -> list[tuple]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def test_each_migration_is_applied_once_and_in_order(empty_url: str, folder: Path) -> None:
    assert await apply(empty_url, folder) == ["0001_first.sql", "0002_second.sql"]
    assert await apply(empty_url, folder) == []
    write(folder, "0003_third.sql", "ALTER TABLE first ADD COLUMN y int;")
    assert await apply(empty_url, folder) == ["0003_third.sql"]
    assert await fetch(empty_url, "SELECT x FROM second") == [(1,)]


async def test_the_floors_own_schema_applies_to_an_empty_database(empty_url: str) -> None:
    assert await apply(empty_url, migrations_dir()) == [m.name for m in read_migrations(migrations_dir())]


async def test_five_starters_at_once_apply_each_migration_once(empty_url: str, folder: Path) -> None:
    answers = await asyncio.gather(*[apply(empty_url, folder) for _ in range(5)])
    assert sorted(name for answer in answers for name in answer) == ["0001_first.sql", "0002_second.sql"]
    assert await fetch(empty_url, "SELECT x FROM second") == [(1,)]


async def test_a_file_changed_after_it_was_applied_is_refused(empty_url: str, folder: Path) -> None:
    await apply(empty_url, folder)
    write(folder, "0001_first.sql", "CREATE TABLE first (x bigint);")
    with pytest.raises(MigrationChangedError, match=r"0001_first.sql was changed after it was applied"):
        await apply(empty_url, folder)


async def test_a_database_of_a_newer_polybot_is_refused(empty_url: str, folder: Path) -> None:
    await apply(empty_url, folder)
    (folder / "0002_second.sql").unlink()
    with pytest.raises(DatabaseNewerError, match=r"newer PolyBot \(0002_second.sql\)"):
        await apply(empty_url, folder)


async def test_a_failing_migration_is_rolled_back_whole_and_its_line_named(empty_url: str, folder: Path) -> None:
    write(folder, "0003_third.sql", "CREATE TABLE third (x int);\nSELECT nonsense;\n")
    with pytest.raises(MigrationError, match=r"0003_third.sql failed and was rolled back.*line 2"):
        await apply(empty_url, folder)
    assert await fetch(empty_url, "SELECT number FROM schema_migrations") == [(1,), (2,)]
    assert await fetch(empty_url, "SELECT to_regclass('third') IS NULL") == [(True,)]
    write(folder, "0003_third.sql", "CREATE TABLE third (x int);")
    assert await apply(empty_url, folder) == ["0003_third.sql"]


@pytest.mark.parametrize(
    ("name", "what"),
    [("0004_gap.sql", "1, 2, 4"), ("0002_double.sql", "1, 2, 2"), ("extra.sql", "not named like 0001_title.sql")],
)
def test_gaps_doubles_and_stray_names_are_refused(folder: Path, name: str, what: str) -> None:
    write(folder, name, "SELECT 1;")
    with pytest.raises(MigrationError, match=what):
        read_migrations(folder)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MigrationError):
        read_migrations(tmp_path)


async def test_the_lock_is_free_after_a_failure(empty_url: str, folder: Path) -> None:
    bad = folder / "bad"
    shutil.copytree(folder, bad, ignore=shutil.ignore_patterns("bad"))
    write(bad, "0003_bad.sql", "SELECT nonsense;")
    connection = await asyncpg.connect(empty_url)
    with pytest.raises(MigrationError):
        await migrate(connection, bad)
    assert await asyncio.wait_for(apply(empty_url, folder), 5) == []
    await connection.close()
