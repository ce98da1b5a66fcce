"""What the web shows, from where it is: the present from the floor's board, the past from Postgres."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from polybot.domain.ids import AgentId
from polybot.floor.status import (
    EventLine,
    FloorStatus,
    MetricsLine,
    StatusSource,
    StoreState,
    StoreStatus,
    StoreUnavailable,
    TradeLine,
    WindowLine,
)
from polybot.storage import postgres

if TYPE_CHECKING:
    from polybot.storage.postgres import Pool

T = TypeVar("T")
Line = TypeVar("Line", bound=msgspec.Struct)
READ_SECONDS_MAX = 5.0


class Present(Protocol):
    """Where the present comes from."""

    def status(self) -> FloorStatus: ...


class Database(Protocol):
    """Where the past comes from; no pool while the floor runs without a database."""

    @property
    def pool(self) -> "Pool | None": ...

    def database(self) -> StoreStatus: ...


class FloorSource(StatusSource):
    """The web's one look at the floor."""

    def __init__(self, present: Present, database: Database) -> None:
        self._present, self._database = present, database

    def status(self) -> FloorStatus:
        return self._present.status()

    async def trades(self, limit: int) -> Sequence[TradeLine]:
        return _lines(TradeLine, await self._read(lambda pool: postgres.recent_trades(pool, limit)))

    async def windows(self, limit: int) -> Sequence[WindowLine]:
        return _lines(WindowLine, await self._read(lambda pool: postgres.window_records(pool, limit)))

    async def events(self, limit: int) -> Sequence[EventLine]:
        return _lines(EventLine, await self._read(lambda pool: postgres.recent_events(pool, limit)))

    async def metrics_history(self, agent: AgentId | None, limit: int) -> Sequence[MetricsLine]:
        return _lines(MetricsLine, await self._read(lambda pool: postgres.metrics_history(pool, agent, limit)))

    async def _read(self, query: "Callable[[Pool], Awaitable[T]]") -> T:
        pool = self._database.pool
        if pool is None:
            raise StoreUnavailable("the floor runs without a database: set POLYBOT_DATABASE_URL to look at the past")
        seen = self._database.database()
        if seen.state is StoreState.DOWN and seen.since is not None:  # its projector finds out when it is back
            raise StoreUnavailable(f"Postgres is away ({seen.detail}); the floor goes on, the past can't be shown")
        try:
            async with asyncio.timeout(READ_SECONDS_MAX):
                return await query(pool)
        except postgres.OUTAGES as error:
            raise StoreUnavailable(
                f"Postgres does not answer ({error}); the floor goes on, the past can't be shown"
            ) from error


def _lines(kind: type[Line], rows: Sequence[msgspec.Struct]) -> list[Line]:
    """The database's rows and what is shown of them have the same field names."""
    return [msgspec.convert(row, kind, from_attributes=True) for row in rows]
