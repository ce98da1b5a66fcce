"""Which run the data folder holds: gone on with, found again in the database, over, or put away."""

import asyncio
import os
from pathlib import Path

import msgspec

from polybot.domain.errors import PolybotError
from polybot.domain.events import RunEnded, RunStarted
from polybot.paths import migrations_dir
from polybot.storage import journal_copy, journal_file, postgres, rebuild
from polybot.storage.journal_copy import CopyAwayError
from polybot.storage.journal_file import JournalError, JournalInUseError, JournalUnreadableError, lock_for_writing
from polybot.storage.journal_place import sync_folder
from polybot.storage.journal_verify import damage_of
from polybot.storage.migrate import migrate

FLOOR_FOLDER = "floor"
PUT_AWAY = "finished"
PUT_AWAY_NOTE = "put-away.txt"
UNKNOWN = "unknown"
ASK_SECONDS_MAX = 5.0
"""Without a journal the floor asks the database this long whether there was a run, before it begins a new one."""
CONNECT_SECONDS_MAX = 1.0
"""With a journal it does not wait for a database that is away: it trades without it (D6)."""


class RunError(PolybotError):
    """The run or its database would not do what it must; the text says what to do."""


class TakenUp(msgspec.Struct, frozen=True, kw_only=True):
    """What a start found. `warnings` are for the log and for system_events; `put_away`: where a finished run went."""

    warnings: list[str]
    put_away: Path | None = None


def journal_path(data_dir: Path) -> Path:
    return data_dir / FLOOR_FOLDER / "journal.sqlite"


def recordings_path(data_dir: Path) -> Path:
    """Where a live floor records what it sees."""
    return data_dir / "recordings"


def is_finished(path: Path) -> bool:
    """Whether the journal's last word is that its tape is over."""
    if not path.exists():
        return False
    connection = journal_file.open_for_reading(path)
    try:
        last_seq, _ = journal_file.last_row(connection, path)
    finally:
        connection.close()
    last = [row.journaled().fact for row in journal_file.read_rows(path, max(0, last_seq - 1))]
    return bool(last) and isinstance(last[-1], RunEnded) and last[-1].finished


def is_running(data_dir: Path) -> bool:
    """Whether a floor is writing to this folder's journal."""
    path = journal_path(data_dir)
    if not path.exists():
        return False
    try:
        lock_for_writing(path).close()
    except JournalInUseError:
        return True
    return False


def was_live(data_dir: Path) -> bool:
    """Whether the folder's run trades real money. A journal that cannot be read may well be one."""
    path = journal_path(data_dir)
    if not path.exists():
        return False
    try:
        first = next(journal_file.read_rows(path), None)
    except JournalError:
        return True
    fact = None if first is None else first.journaled().fact
    return isinstance(fact, RunStarted) and fact.mode == "live"


def put_away(data_dir: Path) -> Path | None:
    """Move a run's folder aside, whole; nothing is deleted. None where there is none.

    It is noted first, so that what the database has of it is not taken for a run that was lost. Raises
    JournalInUseError while a floor is writing there.
    """
    folder = data_dir / FLOOR_FOLDER
    if not folder.exists():
        _note_put_away(data_dir, UNKNOWN)
        return None
    taken = [old.name.split("-")[1] for old in data_dir.glob(f"{PUT_AWAY}-*")]  # people may add to the names
    number = 1 + max((int(digits) for digits in taken if digits.isdecimal()), default=0)
    with lock_for_writing(journal_path(data_dir)):
        _note_put_away(data_dir, _genesis_of(journal_path(data_dir)))
        return folder.rename(data_dir / f"{PUT_AWAY}-{number:04d}")


def was_put_away(data_dir: Path, genesis: bytes) -> bool:
    """Whether that run was put away on purpose. One that could not be read any more stands for whatever is there."""
    note = data_dir / PUT_AWAY_NOTE
    return note.exists() and not {genesis.hex(), UNKNOWN}.isdisjoint(note.read_text().split())


def _note_put_away(data_dir: Path, run: str) -> None:
    if data_dir.exists():
        note = data_dir / PUT_AWAY_NOTE
        _write_whole(note, [*(note.read_text().split() if note.exists() else []), run])


def _forget_unknown(data_dir: Path) -> None:
    """A new run is there: what could not be named is behind it."""
    note = data_dir / PUT_AWAY_NOTE
    if note.exists() and UNKNOWN in (runs := note.read_text().split()):
        _write_whole(note, [run for run in runs if run != UNKNOWN])


def _write_whole(note: Path, runs: list[str]) -> None:
    """All or nothing, also in a power cut: with half a name, a run that was put away would be taken for a lost one."""
    unfinished = note.with_suffix(".unfinished")
    with unfinished.open("w") as file:
        file.write("".join(f"{run}\n" for run in dict.fromkeys(runs)))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(note)
    sync_folder(note.parent)


def _genesis_of(path: Path) -> str:
    """Raises JournalUnreadableError where it can be read once a lock, or the disk, lets it."""
    try:
        connection = journal_file.open_for_reading(path)
    except JournalUnreadableError:
        if path.exists():
            raise
        return UNKNOWN
    except JournalError:
        return UNKNOWN
    try:
        return journal_file.read_genesis(connection, path).hex()
    except JournalUnreadableError:
        raise
    except JournalError:
        return UNKNOWN
    finally:
        connection.close()


async def take_up(data_dir: Path, database_url: str | None, *, own: bool, after_another: bool = False) -> TakenUp:
    """Before the journal is opened: rows it has lost are taken from the database, all of them where it is gone.

    On our `own` server a finished run is then put away, and a database that shows only such runs is emptied. One that
    is not our own is only read. `after_another`: another floor led this account since ours did, and what the database
    has is the truth; rows of ours that never got there are put aside. Raises JournalDamagedError, JournalDivergedError
    or CopyUnusableError, when a person has to decide; RunError when our own database cannot be emptied, and
    CopyAwayError when it cannot be asked first; after another led, also CopyAwayError, and ForeignCopyError.
    """
    if database_url is None:
        return TakenUp(warnings=[])
    path = journal_path(data_dir)
    if path.exists():
        _forget_unknown(data_dir)
    warnings = await _from_database(data_dir, path, database_url, must_answer=own, after_another=after_another)
    went = await asyncio.to_thread(_put_away_finished, data_dir) if own else None
    if own and not path.exists():
        await wipe_database(database_url)
        (data_dir / PUT_AWAY_NOTE).unlink(missing_ok=True)
    return TakenUp(warnings=warnings, put_away=went)


def _put_away_finished(data_dir: Path) -> Path | None:
    """Only whole: with it goes what the database has of it, from which it could be repaired."""
    path = journal_path(data_dir)
    if not is_finished(path):
        return None
    if (damage := damage_of(path)) is not None:
        raise RunError(damage)
    return put_away(data_dir)


async def _from_database(
    data_dir: Path, path: Path, database_url: str, *, must_answer: bool, after_another: bool
) -> list[str]:
    first = not await asyncio.to_thread(path.exists)
    try:
        if first and await _shows_a_run_put_away(data_dir, database_url):
            return []
        restored = await rebuild.restore(
            path,
            database_url,
            connect_seconds_max=postgres.CONNECT_SECONDS_MAX if first else CONNECT_SECONDS_MAX,
            seconds_max=ASK_SECONDS_MAX if first or after_another else 0.0,
            supersede=after_another,
        )
    except rebuild.ForeignCopyError:
        if after_another:
            raise
        return []  # the projector says so, and what to do, for as long as it lasts
    except CopyAwayError as error:
        if after_another or (first and must_answer):
            raise
        return [f"{error}: a new run is begun, not knowing whether there was another"] if first else []
    return [restored.text] if restored.text else []


async def _shows_a_run_put_away(data_dir: Path, database_url: str) -> bool:
    if not (data_dir / PUT_AWAY_NOTE).exists():
        return False
    async with journal_copy.connected(database_url) as connection:
        place = await journal_copy.place_of(connection)
    return place is not None and was_put_away(data_dir, place.genesis)


async def migrate_database(database_url: str) -> list[str]:
    """Bring a database's schema up to date; the files that were applied."""
    pool = await postgres.open_pool(database_url, connections_max=1)
    try:
        async with pool.acquire() as connection:
            return await migrate(connection, migrations_dir())
    finally:
        await pool.close()


async def wipe_database(database_url: str) -> None:
    """Empty the database; the journal of the run it shows is put away, not lost. Raises RunError if it cannot be."""
    pool = await postgres.open_pool(database_url, connections_max=1)
    try:
        await pool.execute("DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public")
    except postgres.REFUSALS as error:
        raise RunError(f"the database could not be emptied: {error}; do it by hand, or give an empty one") from error
    except postgres.OUTAGES as error:
        raise RunError(f"the database could not be emptied: {error}; is it running?") from error
    finally:
        await pool.close()
