"""What the floor writes to besides its journal: Postgres by the projector, Redis by the bus, and checkpoints."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from loguru import logger

from polybot.clock import SystemClock
from polybot.domain.errors import PolybotError
from polybot.domain.events import RunEnded, Severity
from polybot.domain.ids import SeriesId
from polybot.domain.units import Millis
from polybot.floor.status import MarketStatus, StoreState, StoreStatus
from polybot.paths import migrations_dir
from polybot.recovery import MEMORY_VERSION
from polybot.storage import checkpoint, postgres
from polybot.storage.bus import Bus
from polybot.storage.journal import Journal
from polybot.storage.journal_file import JournalInUseError, lock_for_writing
from polybot.storage.migrate import migrate
from polybot.storage.projector import Projector
from polybot.web.json_form import to_plain

if TYPE_CHECKING:
    from polybot.storage.postgres import Pool

TICK_EVERY_S = 0.25
DRAIN_SECONDS_MAX = 10.0
"""An ordered stop waits this long for Postgres to catch up; the next start carries on with what is left."""
LAG_ROWS_OK = 5_000
LOOK_EVERY_S = 1.0
FLOOR_FOLDER = "floor"
PUT_AWAY = "finished"


class StoreError(PolybotError):
    """A store would not do what it must; the text says what and what to do."""


Note = Callable[[Severity, str, str], Awaitable[None]]
"""Writes a system event: how bad, which part, in words."""


class FloorView(Protocol):
    """What goes out over Redis."""

    def market_lines(self) -> list[MarketStatus]: ...

    def circuits(self) -> Mapping[str, str]:
        """Breaker by name: closed or open."""
        ...


class FloorStores:
    """Opened before the floor, closed after it; none of them can keep it from trading but the journal (D6)."""

    def __init__(self, data_dir: Path, journal: Journal, pool: "Pool | None", bus: Bus | None) -> None:
        self.data_dir, self.journal_file, self.pool, self._bus = data_dir, journal, pool, bus
        self._projector: Projector | None = None
        self._tasks: list[asyncio.Task[None]] = []
        if pool is not None:
            prepare = partial(migrate, folder=migrations_dir())
            self._projector = Projector(journal, pool, SystemClock(), random.Random(1), prepare=prepare)

    @classmethod
    async def open(
        cls, database_url: str | None, redis_url: str | None, journal: Journal, data_dir: Path
    ) -> "FloorStores":
        """Connects to nothing yet: a server that is away now is an outage like any other."""
        pool = await postgres.open_pool(database_url) if database_url is not None else None
        bus = Bus(redis_url, SystemClock(), random.Random(2)) if redis_url is not None else None
        return cls(data_dir, journal, pool, bus)

    def start(self, floor: FloorView, note: Note) -> None:
        """Begin to carry facts and ticks out; what comes and goes is noted."""
        self._tasks.append(asyncio.create_task(self._watch(note), name="stores-watch"))
        if self._projector is not None:
            self._tasks.append(asyncio.create_task(self._project(self._projector), name="projector"))
        if self._bus is not None:
            self._tasks.append(asyncio.create_task(self._bus.run(), name="bus"))
            self._tasks.append(asyncio.create_task(self._tick(self._bus, floor), name="ticker"))

    async def _project(self, projector: Projector) -> None:
        try:
            await projector.run()
        except PolybotError as error:  # the database needs a person; the floor goes on, /health says so
            logger.bind(action="projection").error("{}", error)

    async def _watch(self, note: Note) -> None:
        """Outages begin and end in the log and in system_events, not only in /health (R22)."""
        was = {"database": StoreState.OK, "redis": StoreState.OK}
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for name, now in (("database", self.database()), ("redis", self.redis())):
                if StoreState.DEGRADED in (now.state, was[name]) or now.state is was[name]:
                    continue
                was[name] = now.state
                if now.state is StoreState.DOWN:
                    await note(Severity.WARNING, name, f"{name} is away, the floor goes on without it: {now.detail}")
                else:
                    await note(Severity.INFO, name, f"{name} is back")

    async def _tick(self, bus: Bus, floor: FloorView) -> None:
        while True:
            now: dict[SeriesId, MarketStatus] = {}
            for line in floor.market_lines():  # the first to end is the one that is on
                if line.seconds_left > 0:
                    now.setdefault(line.series, line)
            for series, line in now.items():
                plain = to_plain(line)
                bus.offer(f"market:{series}", plain)
                bus.offer(f"ticks:{series}", plain)
            for name, state in floor.circuits().items():
                bus.offer(f"circuit:{name}:state", state.encode())
            await asyncio.sleep(TICK_EVERY_S)

    async def drain(self) -> None:
        """Stop carrying, let Postgres catch up within bounds."""
        await self._end_tasks()
        if self._projector is not None and self._projector.status().stopped is None:
            missing = await self._projector.drain(DRAIN_SECONDS_MAX)
            if missing:
                told = logger.bind(action="projection")
                told.warning("{} facts are not in Postgres yet; the journal has them all", missing)

    async def close(self) -> None:
        await self._end_tasks()
        if self._bus is not None:
            await self._bus.close()
        if self.pool is not None:
            await self.pool.close()

    async def _end_tasks(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # -- checkpoints --------------------------------------------------------------------------------------------------

    async def newest_checkpoint(self) -> checkpoint.Checkpoint | None:
        """The newest usable one of folder and database; what is wrong with newer ones goes to the log."""
        found = await checkpoint.newest(
            self._checkpoints, self.pool, version=MEMORY_VERSION, hash_at=self.journal_file.hash_at
        )
        for warning in found.warnings:
            logger.bind(action="checkpoint").warning("{}", warning)
        return found.checkpoint

    async def keep_checkpoint(self, seq: int, position: int, at: Millis, state: bytes) -> None:
        """Save to the folder and, where it answers, to Postgres. Trouble is logged: the journal has it all."""
        known = await asyncio.to_thread(self.journal_file.hash_at, seq)
        if known is None:
            return
        one = checkpoint.Checkpoint(
            version=MEMORY_VERSION, seq=seq, position=position, at=at, journal_hash=known, state=state
        )
        try:
            await checkpoint.save_to_file(self._checkpoints, one)
            if self.pool is not None and self._database_is_ready():
                await checkpoint.save_to_database(self.pool, one)
        except checkpoint.CheckpointError as error:
            logger.bind(action="checkpoint").warning("{}", error)
        except checkpoint.TROUBLE as error:
            logger.bind(action="checkpoint").warning("Postgres has no copy of checkpoint {}: {}", seq, error)

    def _database_is_ready(self) -> bool:
        """Up, and its tables made: not before the first batch has been carried."""
        projected = self._projector is not None and self._projector.status().projected_seq > 0
        return projected and self.database().state is StoreState.OK

    @property
    def _checkpoints(self) -> Path:
        return self.data_dir / FLOOR_FOLDER

    # -- how they are -------------------------------------------------------------------------------------------------

    def database(self) -> StoreStatus:
        if self._projector is None:
            return StoreStatus(state=StoreState.DOWN, detail="no database is configured")
        seen = self._projector.status()
        if seen.stopped is not None:
            return StoreStatus(state=StoreState.DOWN, detail=seen.stopped, lag_rows=seen.rows_behind)
        if seen.away_since is not None:
            return StoreStatus(
                state=StoreState.DOWN, since=seen.away_since, detail=seen.error or "", lag_rows=seen.rows_behind
            )
        lagging = seen.rows_behind > LAG_ROWS_OK
        return StoreStatus(
            state=StoreState.DEGRADED if lagging else StoreState.OK,
            since=seen.behind_since if lagging else None,
            lag_rows=seen.rows_behind,
        )

    def redis(self) -> StoreStatus:
        if self._bus is None:
            return StoreStatus(state=StoreState.DOWN, detail="no Redis is configured")
        seen = self._bus.status()
        if seen.away_since is not None:
            return StoreStatus(state=StoreState.DOWN, since=seen.away_since, detail=seen.error or "")
        return StoreStatus(state=StoreState.OK if seen.connected else StoreState.DEGRADED)

    def journal(self) -> StoreStatus:
        failure = self.journal_file.failure
        if failure is not None:
            return StoreStatus(state=StoreState.DOWN, detail=str(failure))
        return StoreStatus(state=StoreState.OK, detail=f"{self.journal_file.last_seq} facts")


# -- runs -------------------------------------------------------------------------------------------------------------


def journal_path(data_dir: Path) -> Path:
    return data_dir / FLOOR_FOLDER / "journal.sqlite"


def is_finished(path: Path) -> bool:
    """Whether the journal's last word is that its tape is over."""
    if not path.exists():
        return False
    with Journal.open(path) as journal:
        last = list(journal.read(max(0, journal.last_seq - 1)))
    return bool(last) and isinstance(last[-1].fact, RunEnded) and last[-1].fact.finished


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


def put_away(data_dir: Path) -> Path | None:
    """Move a run's folder aside, whole; nothing is deleted. None where there is none.

    Raises JournalInUseError while a floor is writing there.
    """
    folder = data_dir / FLOOR_FOLDER
    if not folder.exists():
        return None
    taken = [old.name.split("-")[1] for old in data_dir.glob(f"{PUT_AWAY}-*")]  # people may add to the names
    number = 1 + max((int(digits) for digits in taken if digits.isdecimal()), default=0)
    with lock_for_writing(journal_path(data_dir)):
        return folder.rename(data_dir / f"{PUT_AWAY}-{number:04d}")


async def migrate_database(database_url: str) -> list[str]:
    """Bring a database's schema up to date; the files that were applied."""
    pool = await postgres.open_pool(database_url, connections_max=1)
    try:
        async with pool.acquire() as connection:
            return await migrate(connection, migrations_dir())
    finally:
        await pool.close()


async def wipe_database(database_url: str) -> None:
    """Empty the database; the journal of the run it shows is put away, not lost. Raises StoreError if it cannot be."""
    pool = await postgres.open_pool(database_url, connections_max=1)
    try:
        await pool.execute("DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public")
    except postgres.REFUSALS as error:
        raise StoreError(f"the database could not be emptied: {error}; do it by hand, or give an empty one") from error
    except postgres.OUTAGES as error:
        raise StoreError(f"the database could not be emptied: {error}; is it running?") from error
    finally:
        await pool.close()


async def make_room(data_dir: Path, own_database_url: str | None) -> Path | None:
    """Before a start on our own servers: a finished run is put away, and a database that shows no run of ours emptied.

    Returns where the finished run went. With a database that is not our own, nothing is touched: a finished run stays.
    """
    if own_database_url is None:
        return None
    went = put_away(data_dir) if is_finished(journal_path(data_dir)) else None
    if not journal_path(data_dir).exists():
        await wipe_database(own_database_url)
    return went
