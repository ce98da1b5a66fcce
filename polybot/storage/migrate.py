"""Brings the database's schema to what this version needs: plain SQL files, in order, once each, under a lock.

`schema_migrations` remembers each file's SHA-256: a file that was changed after it was applied is an error, because two
databases that ran different texts under one name can't be told apart later.
"""

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import msgspec

from polybot.domain.errors import PolybotError

if TYPE_CHECKING:
    from polybot.storage.postgres import Connection

FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
LOCK_KEY = 0x506F6C79_00000001  # "Poly", 1: one starter at a time in this database
LOCK_SECONDS_MAX = 60
MIGRATION_SECONDS_MAX = 900.0

CREATE_REGISTER = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
SELECT_APPLIED = "SELECT number, name, sha256 FROM schema_migrations ORDER BY number"
REGISTER = "INSERT INTO schema_migrations (number, name, sha256) VALUES ($1, $2, $3)"


class MigrationError(PolybotError):
    """The schema cannot be brought up to date; the text says what to do."""


class MigrationChangedError(MigrationError):
    """A file differs from what was applied under its name."""


class DatabaseNewerError(MigrationError):
    """The database has migrations that this version of PolyBot does not know."""


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    number: int
    name: str
    text: str
    sha256: str


async def migrate(connection: "Connection", folder: Path) -> list[str]:
    """Apply what is missing, each file in its own transaction, and return the names applied. Safe with many starters.

    Raises MigrationError, and one of postgres.OUTAGES when the server goes away.
    """
    wanted = read_migrations(folder)
    await connection.execute(f"SET lock_timeout = '{LOCK_SECONDS_MAX:d}s'; SET statement_timeout = 0")
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK_KEY, timeout=LOCK_SECONDS_MAX + 5)
    except asyncpg.LockNotAvailableError:
        raise MigrationError(
            f"another PolyBot has been migrating this database for over {LOCK_SECONDS_MAX} s: look for it in "
            "pg_stat_activity, and start again when it is done"
        ) from None
    try:
        await connection.execute(CREATE_REGISTER)
        applied = {row["number"]: row for row in await connection.fetch(SELECT_APPLIED)}
        _require_same_history(wanted, applied)
        missing = [migration for migration in wanted if migration.number not in applied]
        for migration in missing:
            await _apply(connection, migration)
        return [migration.name for migration in missing]
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", LOCK_KEY)
            await connection.execute("RESET lock_timeout; RESET statement_timeout")


def read_migrations(folder: Path) -> list[Migration]:
    """The folder's `NNNN_title.sql` files in order. Raises MigrationError for a gap, a double or a stray name."""
    migrations = []
    for path in sorted(folder.glob("*.sql")):
        match = FILE_NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path} is not named like 0001_title.sql; rename it, or move it elsewhere")
        text = path.read_text(encoding="utf-8")
        digest = hashlib.sha256(text.encode()).hexdigest()
        migrations.append(Migration(number=int(match[1]), name=path.name, text=text, sha256=digest))
    numbers = [migration.number for migration in migrations]
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        raise MigrationError(f"the migrations in {folder} are numbered {numbers}; they must be 1, 2, 3 ... with no gap")
    return migrations


def _require_same_history(wanted: list[Migration], applied: dict[int, asyncpg.Record]) -> None:
    unknown = [row["name"] for number, row in applied.items() if number > len(wanted)]
    if unknown:
        raise DatabaseNewerError(
            f"the database was migrated by a newer PolyBot ({', '.join(unknown)}): upgrade PolyBot, or name another "
            "database"
        )
    for migration in wanted:
        row = applied.get(migration.number)
        if row is not None and row["sha256"] != migration.sha256:
            raise MigrationChangedError(
                f"{migration.name} was changed after it was applied to this database (as {row['name']}): put the "
                "old text back, and write what is new into a migration of its own"
            )


async def _apply(connection: "Connection", migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.text, timeout=MIGRATION_SECONDS_MAX)
            await connection.execute(REGISTER, migration.number, migration.name, migration.sha256)
    except (asyncpg.SyntaxOrAccessError, asyncpg.IntegrityConstraintViolationError, asyncpg.DataError) as error:
        raise MigrationError(
            f"{migration.name} failed and was rolled back: {error} ({_place(migration, error)}); mend it"
        ) from error


def _place(migration: Migration, error: asyncpg.PostgresError) -> str:
    """The line in the file, where Postgres says so."""
    position = getattr(error, "position", None)
    if position is None:
        return "no place given"
    return f"line {migration.text.count(chr(10), 0, int(position) - 1) + 1}"
