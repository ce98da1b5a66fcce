"""Postgres as the floor reads it: a pool with a limit on every wait, which errors mean it is away, and named queries.

Amounts come back as integers of a millionth and times as UTC milliseconds, like everywhere else (D2, D3).
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import asyncpg
import msgspec

from polybot.domain.events import Severity, Verdict
from polybot.domain.ids import AgentId, MarketId
from polybot.domain.market import Outcome
from polybot.domain.units import Millis, Money, Price, Shares

if TYPE_CHECKING:
    Pool = asyncpg.pool.Pool[asyncpg.Record]
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]

CONNECT_SECONDS_MAX = 5.0
COMMAND_SECONDS_MAX = 30.0
IDLE_SECONDS_MAX = 300.0
CLOSE_SECONDS_MAX = 3.0
ROWS_MAX = 10_000
SERVER_SETTINGS = {
    "application_name": "polybot",
    "timezone": "UTC",
    "lock_timeout": "10s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",
}

OUTAGES: tuple[type[Exception], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,  # disk full, too many connections
    asyncpg.OperatorInterventionError,  # shutting down, starting up, statement timeout
    asyncpg.TransactionRollbackError,  # deadlock, serialization
    asyncpg.PostgresSystemError,  # its disk failed
    asyncpg.ReadOnlySQLTransactionError,  # a standby, or a failover under way
    asyncpg.ObjectNotInPrerequisiteStateError,  # not accepting connections, a lock not to be had
    asyncpg.InvalidCatalogNameError,  # the database is (not yet) there
    asyncpg.InvalidSchemaNameError,  # it was emptied, and its schema is not made again (yet)
    asyncpg.InvalidAuthorizationSpecificationError,  # nor its user
    asyncpg.InvalidCachedStatementError,  # the schema changed under a prepared statement
    asyncpg.InterfaceError,  # the connection was closed under us
    asyncpg.InternalClientError,  # a connection died within a COPY or an executemany (asyncpg issues 784 and 1069)
    OSError,
    TimeoutError,
)
"""Postgres is away, or can't serve now: worth another try later. All else it raises is a bug."""

REFUSALS: tuple[type[Exception], ...] = (asyncpg.InsufficientPrivilegeError, asyncpg.DependentObjectsStillExistError)
"""Our role may not do this, or something of somebody else's hangs on it: a person has to."""

Row = TypeVar("Row", bound=msgspec.Struct)


class TradeRow(msgspec.Struct, frozen=True, kw_only=True):
    """`price` is the average, `pnl` None until settled."""

    id: str
    at: Millis
    agent: AgentId
    market: MarketId
    outcome: Outcome
    side: str
    shares: Shares
    price: Price
    cost: Money
    fees: Money
    pnl: Money | None
    reason: str


class AgentRow(msgspec.Struct, frozen=True, kw_only=True):
    """An agent and all its trades summed; `wins` of `settled` trades made money."""

    id: AgentId
    name: str
    role: str
    state: str
    capital: Money
    starts: int
    crashes: int
    trades: int
    settled: int
    wins: int
    pnl: Money
    fees: Money
    last_trade_at: Millis | None


class WindowRow(msgspec.Struct, frozen=True, kw_only=True):
    at: Millis
    agent: AgentId
    market: MarketId
    verdict: Verdict
    reason: str
    value: float | None
    threshold: float | None
    shortfall: float | None
    text: str


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    at: Millis
    severity: Severity
    component: str
    text: str


class MetricsRow(msgspec.Struct, frozen=True, kw_only=True):
    """agent None is the floor; money in millionths, the rest plain ratios."""

    at: Millis
    agent: AgentId | None
    trades: int
    wins: int
    pnl: Money
    fees: Money
    equity: Money
    exposure: Money
    win_rate: float | None
    sharpe: float | None
    drawdown: float
    uptime: float


async def open_pool(url: str, *, connections_max: int = 5) -> "Pool":
    """A pool that connects when first used, so that the floor starts without Postgres. Close it with `pool.close()`."""
    return await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=connections_max,
        timeout=CONNECT_SECONDS_MAX,
        command_timeout=COMMAND_SECONDS_MAX,
        max_inactive_connection_lifetime=IDLE_SECONDS_MAX,
        server_settings=SERVER_SETTINGS,
    )


async def close_pool(pool: "Pool") -> None:
    """Close in order, or after CLOSE_SECONDS_MAX without: a server that hangs must not keep us from ending."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS_MAX):
            await pool.close()
    except TimeoutError:
        pool.terminate()


# -- named queries: newest first, at most `limit` rows; they raise one of OUTAGES while Postgres is away ---------------

RECENT_TRADES = """
SELECT t.id, millis(t.executed_at) AS at, t.agent_id AS agent, t.market_id AS market,
       CASE t.outcome WHEN 'UP' THEN 0 ELSE 1 END AS outcome, t.side,
       millionths(t.shares) AS shares, millionths(t.price) AS price, millionths(t.cost) AS cost,
       millionths(t.fees) AS fees, millionths(t.pnl) AS pnl, o.reason
  FROM trades t JOIN orders o ON o.id = t.id
 ORDER BY t.executed_at DESC, o.seq DESC LIMIT $1
"""
AGENT_SUMMARIES = """
SELECT id, name, role, state, millionths(capital) AS capital, starts, crashes, trades, settled, wins,
       millionths(pnl) AS pnl, millionths(fees) AS fees, millis(last_trade_at) AS last_trade_at
  FROM agent_summary ORDER BY id LIMIT $1
"""
WINDOW_RECORDS = """
SELECT millis(at) AS at, agent_id AS agent, market_id AS market, verdict, reason, value, threshold, shortfall,
       message AS text
  FROM window_records ORDER BY at DESC, seq DESC LIMIT $1
"""
RECENT_EVENTS = """
SELECT millis(timestamp) AS at, severity, component, message AS text
  FROM system_events ORDER BY timestamp DESC, id DESC LIMIT $1
"""
METRICS_HISTORY = """
SELECT millis(at) AS at, agent_id AS agent, trades, wins, millionths(pnl) AS pnl, millionths(fees) AS fees,
       millionths(equity) AS equity, millionths(exposure) AS exposure, win_rate, sharpe, drawdown, uptime
  FROM metrics WHERE agent_id IS NOT DISTINCT FROM $2 ORDER BY seq DESC LIMIT $1
"""


async def recent_trades(pool: "Pool", limit: int) -> list[TradeRow]:
    return await _rows(pool, TradeRow, RECENT_TRADES, limit)


async def agent_summaries(pool: "Pool", limit: int = ROWS_MAX) -> list[AgentRow]:
    """Ordered by id."""
    return await _rows(pool, AgentRow, AGENT_SUMMARIES, limit)


async def window_records(pool: "Pool", limit: int) -> list[WindowRow]:
    return await _rows(pool, WindowRow, WINDOW_RECORDS, limit)


async def recent_events(pool: "Pool", limit: int) -> list[EventRow]:
    return await _rows(pool, EventRow, RECENT_EVENTS, limit)


async def metrics_history(pool: "Pool", agent: AgentId | None, limit: int) -> list[MetricsRow]:
    """The monitor's figures of one agent or, with None, of the floor: its equity curve, newest first."""
    return await _rows(pool, MetricsRow, METRICS_HISTORY, limit, agent)


async def _rows(pool: "Pool", kind: type[Row], query: str, limit: int, *arguments: object) -> list[Row]:
    bounded = max(0, min(limit, ROWS_MAX))
    records: Sequence[asyncpg.Record] = await pool.fetch(query, bounded, *arguments)
    return [msgspec.convert(dict(record), kind) for record in records]
