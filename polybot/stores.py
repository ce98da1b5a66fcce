"""What the floor writes to besides its journal: Postgres by the projector, Redis by the bus, checkpoints in both."""

import asyncio
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from loguru import logger

from polybot.clock import SystemClock
from polybot.domain.errors import PolybotError
from polybot.domain.units import Millis
from polybot.floor.status import MarketStatus, StoreState, StoreStatus
from polybot.paths import migrations_dir
from polybot.storage.journal import Journal
from polybot.storage.migrate import migrate
from polybot.storage.postgres import open_pool
from polybot.storage.projector import Projector

if TYPE_CHECKING:
    from polybot.storage.postgres import Pool

TICK_EVERY_S = 0.25
DRAIN_SECONDS_MAX = 10.0
"""An ordered stop waits this long for Postgres to catch up; the next start carries on with what is left."""
LAG_ROWS_OK = 5_000


class FloorStores:
    """Opened before the floor, closed after it; none of them can stop it from trading but the journal (D6)."""

    def __init__(self, journal: Journal, pool: "Pool | None") -> None:
        self.journal_file, self.pool = journal, pool
        self._clock = SystemClock()
        self._projector: Projector | None = None
        self._tasks: list[asyncio.Task[None]] = []
        if pool is not None:
            prepare = partial(_prepare, migrations_dir())
            self._projector = Projector(journal, pool, self._clock, random.Random(1), prepare=prepare)

    @classmethod
    async def open(cls, database_url: str | None, redis_url: str | None, journal: Journal) -> "FloorStores":
        pool = await open_pool(database_url) if database_url is not None else None
        return cls(journal, pool)

    def start(self, markets: Callable[[], list[MarketStatus]]) -> None:
        """Begin to carry facts and ticks out."""
        if self._projector is not None:
            self._tasks.append(asyncio.create_task(self._project(self._projector), name="projector"))

    async def _project(self, projector: Projector) -> None:
        try:
            await projector.run()
        except PolybotError as error:  # the database needs a person; the floor goes on, /health says so
            logger.bind(action="projection").error("{}", error)

    async def drain(self) -> None:
        """Let Postgres catch up, within bounds."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._projector is not None and self._projector.status().stopped is None:
            missing = await self._projector.drain(DRAIN_SECONDS_MAX)
            if missing:
                logger.bind(action="projection").warning("{} facts are not in Postgres yet; the next start carries on", missing)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self.pool is not None:
            await self.pool.close()

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
        return StoreStatus(state=StoreState.DOWN, detail="no bus is configured")

    def journal(self) -> StoreStatus:
        failure = self.journal_file.failure
        if failure is not None:
            return StoreStatus(state=StoreState.DOWN, detail=str(failure))
        return StoreStatus(state=StoreState.OK, detail=f"{self.journal_file.last_seq} facts")

    async def keep_checkpoint(self, seq: int, position: int, at: Millis, state: bytes) -> None:
        pass


async def _prepare(folder: Path, connection: "object") -> object:
    return await migrate(connection, folder)  # type: ignore[arg-type]


async def load_checkpoint(stores: FloorStores, journal: Journal, decode: object) -> None:
    return None


async def archive_finished(data_dir: Path, database_url: str | None, *, wipe: bool) -> None:
    return None
