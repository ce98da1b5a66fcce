"""What the web shows, from where it is: the present from the floor's board, the past from Postgres."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from polybot.domain.ids import AgentId
from polybot.floor.status import (
    EventLine,
    FloorStatus,
    MetricsLine,
    StatusSource,
    StoreUnavailable,
    TradeLine,
    WindowLine,
)
from polybot.storage import postgres

if TYPE_CHECKING:
    from polybot.storage.postgres import Pool

T = TypeVar("T")
READ_SECONDS_MAX = 5.0


class Present(Protocol):
    """Where the present comes from."""

    def status(self) -> FloorStatus: ...


class Database(Protocol):
    """Where the past comes from; no pool while the floor runs without a database."""

    @property
    def pool(self) -> "Pool | None": ...


class FloorSource(StatusSource):
    """The web's one look at the floor."""

    def __init__(self, present: Present, database: Database) -> None:
        self._present, self._database = present, database

    def status(self) -> FloorStatus:
        return self._present.status()

    async def trades(self, limit: int) -> Sequence[TradeLine]:
        rows = await self._read(lambda pool: postgres.recent_trades(pool, limit))
        return [
            TradeLine(
                at=row.at,
                agent=row.agent,
                market=row.market,
                outcome=row.outcome,
                shares=row.shares,
                price=row.price,
                fees=row.fees,
                pnl=row.pnl,
                reason=row.reason,
            )
            for row in rows
        ]

    async def windows(self, limit: int) -> Sequence[WindowLine]:
        rows = await self._read(lambda pool: postgres.window_records(pool, limit))
        return [
            WindowLine(
                at=row.at,
                agent=row.agent,
                market=row.market,
                verdict=row.verdict,
                reason=row.reason,
                value=row.value,
                threshold=row.threshold,
                shortfall=row.shortfall,
                text=row.text,
            )
            for row in rows
        ]

    async def events(self, limit: int) -> Sequence[EventLine]:
        rows = await self._read(lambda pool: postgres.recent_events(pool, limit))
        return [EventLine(at=row.at, severity=row.severity, component=row.component, text=row.text) for row in rows]

    async def metrics_history(self, agent: AgentId | None, limit: int) -> Sequence[MetricsLine]:
        rows = await self._read(lambda pool: postgres.metrics_history(pool, agent, limit))
        return [
            MetricsLine(
                at=row.at,
                agent=row.agent,
                trades=row.trades,
                wins=row.wins,
                pnl=row.pnl,
                fees=row.fees,
                equity=row.equity,
                exposure=row.exposure,
                win_rate=row.win_rate,
                sharpe=row.sharpe,
                drawdown=row.drawdown,
                uptime=row.uptime,
            )
            for row in rows
        ]

    async def _read(self, query: "Callable[[Pool], Awaitable[T]]") -> T:
        pool = self._database.pool
        if pool is None:
            raise StoreUnavailable("the floor runs without a database: set POLYBOT_DATABASE_URL to look at the past")
        try:
            async with asyncio.timeout(READ_SECONDS_MAX):
                return await query(pool)
        except postgres.OUTAGES as error:
            raise StoreUnavailable(
                f"Postgres does not answer ({error}); the floor goes on, the past can't be shown"
            ) from error
