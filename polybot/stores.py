"""What the floor writes to besides its journal: Postgres by the projector, Redis by the bus, and checkpoints."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from loguru import logger

from polybot.circuit import Circuit, CircuitSnapshot
from polybot.clock import SystemClock
from polybot.domain.errors import PolybotError
from polybot.domain.ids import SeriesId
from polybot.domain.units import Millis
from polybot.floor.status import MarketStatus, StoreState, StoreStatus
from polybot.paths import migrations_dir
from polybot.recovery import MEMORY_VERSION
from polybot.runs import FLOOR_FOLDER
from polybot.storage import checkpoint, postgres
from polybot.storage.bus import REDIS_CIRCUIT, Bus
from polybot.storage.journal import Journal
from polybot.storage.journal_file import JournalError, JournalUnreadableError
from polybot.storage.migrate import migrate
from polybot.storage.projection_postgres import PostgresProjection
from polybot.storage.projector import DATABASE_CIRCUIT, Projector, ProjectorStatus
from polybot.storage.redis_line import RedisLine
from polybot.store_watch import StoreWatch
from polybot.upkeep import Note, Upkeep
from polybot.web.json_form import to_plain

if TYPE_CHECKING:
    from polybot.storage.postgres import Connection, Pool

TICK_EVERY_S = 0.25
DRAIN_SECONDS_MAX = 10.0
"""An ordered stop waits this long for Postgres to catch up; the next start carries on with what is left."""
LAG_ROWS_OK = 5_000
SLOW_DATABASE_MS = 5_000
SLOW_DISK_S = 1.0
SAVE_SECONDS_MAX = 10.0
END_SECONDS_MAX = 10.0
LOOK_EVERY_S = 0.25
WATCH, PROJECTOR, BUS, TICKER, SAVING = "stores-watch", "projector", "bus", "ticker", "checkpoint-to-database"
"""The background work of the stores, by the name under which the end of one is told."""


class FloorView(Protocol):
    """What goes out over Redis."""

    def market_lines(self) -> list[MarketStatus]: ...

    def circuits(self) -> Sequence[CircuitSnapshot]: ...


class FloorStores:
    """Opened before the floor, closed after it; none of them can keep it from trading but the journal (D6)."""

    def __init__(self, data_dir: Path, journal: Journal, pool: "Pool | None", bus: Bus | None) -> None:
        self.data_dir, self.journal_file, self.pool, self._bus = data_dir, journal, pool, bus
        self._clock = SystemClock()
        self._projection: PostgresProjection | None = None
        self._projector: Projector | None = None
        self._upkeep = Upkeep(self._clock, random.Random(3))
        self._saving: asyncio.Task[None] | None = None
        self._guard: Callable[[Connection], Awaitable[None]] | None = None
        if pool is not None:
            chance = random.Random(1)
            circuit = Circuit("database", DATABASE_CIRCUIT, chance, self._clock.now_ms())
            self._projection = PostgresProjection(pool, prepare=partial(migrate, folder=migrations_dir()))
            self._projector = Projector(journal, self._projection, self._clock, circuit, chance)

    @classmethod
    async def open(
        cls, database_url: str | None, redis_url: str | None, journal: Journal, data_dir: Path
    ) -> "FloorStores":
        """Connects to nothing yet: a server that is away now is an outage like any other."""
        pool = await postgres.open_pool(database_url) if database_url is not None else None
        return cls(data_dir, journal, pool, _bus_to(redis_url) if redis_url is not None else None)

    def guard_writes(self, guard: "Callable[[Connection], Awaitable[None]]") -> None:
        """Run `guard` within every transaction that writes, before it does; it raises if we may not (fencing)."""
        self._guard = guard
        if self._projection is not None:
            self._projection.guard = guard

    def start(self, floor: FloorView, note: Note) -> None:
        """Begin to carry facts and ticks out; what comes and goes is noted."""
        keep = self._upkeep.keep
        self._upkeep.note = note
        keep(WATCH, lambda: self._watch(note))
        if (projector := self._projector) is not None:
            keep(PROJECTOR, lambda: self._project(projector))
        if (bus := self._bus) is not None:
            keep(BUS, bus.run)
            keep(TICKER, lambda: self._tick(bus, floor))

    async def _project(self, projector: Projector) -> None:
        try:
            await projector.run()
        except JournalUnreadableError:  # passing trouble of the disk: begun again after a while
            raise
        except PolybotError as error:  # the database needs a person; the floor goes on, /health says so
            logger.bind(action="projection").error("{}", error)

    async def _watch(self, note: Note) -> None:
        database, redis = StoreWatch("database", keeps_checkpoints=True), StoreWatch("redis")
        journal = StoreWatch("journal")
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = self._clock.now_ms()
            said = database.look(now, self.database()) if self._projector is not None else []
            said += redis.look(now, self.redis()) if self._bus is not None else []
            said += journal.look(now, self.journal())
            for one in said:
                try:
                    await note(one.severity, one.component, one.text)
                except JournalError as error:  # the boss ends the floor for it
                    logger.bind(action="journal_failed").error("{}; not written down: {}", error, one.text)
                    return

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
            for circuit in floor.circuits():
                bus.offer(f"circuit:{circuit.name}:state", circuit.state.encode())
            await asyncio.sleep(TICK_EVERY_S)

    async def drain(self) -> None:
        """Stop carrying, let Postgres catch up within bounds."""
        await self._end_tasks()
        if self._projector is not None and self._projector.status().stopped is None:
            missing = await self._projector.drain(DRAIN_SECONDS_MAX)
            if missing:
                told = logger.bind(action="projection")
                told.warning("{} facts are not in PostgreSQL yet; the journal has them all", missing)

    async def close(self) -> None:
        await self._end_tasks()
        if self._bus is not None:
            await self._bus.close()
        if self.pool is not None:
            await postgres.close_pool(self.pool)

    async def _end_tasks(self) -> None:
        await self._upkeep.end()
        if self._saving is not None:  # bounded by itself, and the last of a run is worth having
            await asyncio.wait([self._saving], timeout=END_SECONDS_MAX)

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
        """Save to the folder; to Postgres too where it answers, without waiting for it. Trouble is only logged."""
        try:
            known = await asyncio.to_thread(self.journal_file.hash_at, seq)
        except JournalUnreadableError as error:
            logger.bind(action="checkpoint").warning("no checkpoint is kept now: {}", error)
            return
        if known is None:
            return
        one = checkpoint.Checkpoint(
            version=MEMORY_VERSION, seq=seq, position=position, at=at, journal_hash=known, state=state
        )
        try:
            await checkpoint.save_to_file(self._checkpoints, one)
        except checkpoint.CheckpointError as error:
            logger.bind(action="checkpoint").warning("{}", error)
        if self.pool is not None and self._database_is_ready() and (self._saving is None or self._saving.done()):
            saving = partial(self._save_to_database, self.pool, one)
            self._saving = asyncio.create_task(self._upkeep.once(SAVING, saving), name=SAVING)

    async def _save_to_database(self, pool: "Pool", one: checkpoint.Checkpoint) -> None:
        """A database that hangs must not keep the boss from looking: nobody waits for this."""
        try:
            async with asyncio.timeout(SAVE_SECONDS_MAX):
                await checkpoint.save_to_database(pool, one, self._guard)
        except checkpoint.TROUBLE as error:
            text = str(error) or f"no answer within {SAVE_SECONDS_MAX:g} s"
            logger.bind(action="checkpoint").warning("Postgres has no copy of checkpoint {}: {}", one.seq, text)
        except PolybotError as error:  # the guard's: another floor leads by now
            logger.bind(action="checkpoint").error("no checkpoint may be written to Postgres: {}", error)

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
        seen = database_status(self._projector.status(), self._clock.now_ms())
        return self._unless_at_fault(seen, PROJECTOR, SAVING, WATCH)

    def redis(self) -> StoreStatus:
        if self._bus is None:
            return StoreStatus(state=StoreState.DOWN, detail="no Redis is configured")
        seen = self._bus.status()
        if seen.away_since is not None:
            return StoreStatus(state=StoreState.DOWN, since=seen.away_since, detail=seen.error or "")
        status = StoreStatus(state=StoreState.OK if seen.connected else StoreState.DEGRADED)
        return self._unless_at_fault(status, BUS, TICKER, WATCH)

    def journal(self) -> StoreStatus:
        failure = self.journal_file.failure
        if failure is not None:
            return StoreStatus(state=StoreState.DOWN, detail=str(failure))
        waited_s = self.journal_file.oldest_pending_s(self._clock.monotonic())
        if waited_s > SLOW_DISK_S:
            since = Millis(self._clock.now_ms() - round(waited_s * 1000))
            text = f"the disk is slow: {self.journal_file.pending_facts} facts wait for it, the oldest {waited_s:.0f} s"
            return StoreStatus(state=StoreState.DEGRADED, since=since, detail=text)
        status = StoreStatus(state=StoreState.OK, detail=f"{self.journal_file.last_seq} facts")
        return self._unless_at_fault(status, WATCH)

    def _unless_at_fault(self, status: StoreStatus, *work: str) -> StoreStatus:
        """A store that answers, but whose own work here has ended by a bug, is less than well."""
        fault = self._upkeep.fault(*work)
        if fault is None or status.state is StoreState.DOWN:
            return status
        return StoreStatus(state=StoreState.DEGRADED, since=fault.since, detail=fault.text, lag_rows=status.lag_rows)

    def circuits(self) -> list[CircuitSnapshot]:
        """The breakers on database and Redis."""
        now = self._clock.now_ms()
        keepers = [one for one in (self._projector, self._bus) if one is not None]
        return [keeper.circuit.snapshot(now) for keeper in keepers]


def _bus_to(url: str) -> Bus:
    clock, chance = SystemClock(), random.Random(2)
    return Bus(RedisLine(url), clock, Circuit("redis", REDIS_CIRCUIT, chance, clock.now_ms()), chance)


def database_status(seen: ProjectorStatus, now: Millis) -> StoreStatus:
    """Away, hanging, catching up, behind, or well: in this order, with since when."""
    lag, outage = seen.rows_behind, seen.outage
    if seen.stopped is not None:
        return StoreStatus(state=StoreState.DOWN, detail=seen.stopped, lag_rows=lag)
    if seen.away_since is not None:
        return StoreStatus(state=StoreState.DOWN, since=seen.away_since, detail=seen.error or "", lag_rows=lag)
    degraded = partial(StoreStatus, state=StoreState.DEGRADED, lag_rows=lag)
    if seen.awaited_since is not None and now - seen.awaited_since > SLOW_DATABASE_MS:
        waited = (now - seen.awaited_since) // 1000
        return degraded(since=seen.awaited_since, detail=f"it has not answered for {waited} s")
    if outage is not None and outage.level_at is None:
        return degraded(since=outage.since, detail="it is back, and catching up")
    if lag > LAG_ROWS_OK:
        return degraded(since=seen.behind_since, detail="it takes facts more slowly than they come")
    caught_up = None if outage is None else outage.rows
    return StoreStatus(state=StoreState.OK, lag_rows=lag, caught_up_rows=caught_up)
