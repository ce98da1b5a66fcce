"""The brief's queries (R25) run exactly as written and give right answers; so do the named ones of the web page."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg
import msgspec
import pytest

from polybot.domain import events
from polybot.domain.events import Severity
from polybot.domain.ids import AgentId
from polybot.domain.units import Millis
from polybot.storage import postgres
from tests.storage import facts
from tests.storage.projecting import Projecting

RECENT_TRADES = "SELECT * FROM trades ORDER BY executed_at DESC LIMIT 20;"
AGENTS_OF_A_DAY = """
SELECT a.name, COUNT(t.id) AS trades, SUM(t.pnl) AS pnl,
       AVG(CASE WHEN t.pnl > 0 THEN 1 ELSE 0 END) * 100 AS win_rate
  FROM agents a LEFT JOIN trades t ON t.agent_id = a.id
 WHERE t.executed_at > NOW() - INTERVAL '24 hours' GROUP BY a.name;
"""
TROUBLE = "SELECT * FROM system_events WHERE severity IN ('ERROR', 'CRITICAL') ORDER BY timestamp DESC LIMIT 50;"


def moved_to(fact: events.AnyFact, moment: datetime) -> events.AnyFact:
    return msgspec.structs.replace(fact, at=Millis(int(moment.timestamp() * 1000)))


@pytest.fixture
async def told(projecting: Projecting) -> Projecting:
    """Two agents: one won one of two, the other's trade is open; and a trade of the day before yesterday."""
    now = datetime.now(UTC)
    lives = [
        (facts.intent(AgentId("momentum"), 1), 4.72, now - timedelta(hours=1)),
        (facts.intent(AgentId("momentum"), 2), -5.27, now - timedelta(hours=2)),
        (facts.intent(AgentId("momentum"), 3), -1.0, now - timedelta(hours=48)),
        (facts.intent(AgentId("mean_reversion"), 1), None, now - timedelta(minutes=5)),
    ]
    told = [facts.opened()]
    for wish, pnl, moment in lives:
        told += [moved_to(fact, moment) for fact in facts.life(wish, pnl)]
    crash = facts.announced(AgentId("momentum"), events.AgentState.CRASHED, "KeyError: 'x'")
    told += [facts.note(1), facts.note(2, Severity.CRITICAL), facts.note(3, Severity.WARNING), crash]
    await projecting.tell(told)
    return projecting


async def test_the_recent_trades(told: Projecting, pool: asyncpg.Pool) -> None:
    rows = await pool.fetch(RECENT_TRADES)
    assert [row["id"] for row in rows] == [
        "mean_reversion-000001",
        "momentum-000001",
        "momentum-000002",
        "momentum-000003",
    ]
    newest, won = rows[0], rows[1]
    assert newest["pnl"] is None
    assert newest["settled_at"] is None
    expected = {
        "agent_id": "momentum",
        "market_id": facts.market().id,
        "outcome": "UP",
        "side": "BUY",
        "shares": Decimal("10.000000"),
        "price": Decimal("0.510000"),
        "cost": Decimal("5.100000"),
        "fees": Decimal("0.174930"),
        "pnl": Decimal("4.720000"),
    }
    assert {name: won[name] for name in expected} == expected


async def test_each_agents_trades_pnl_and_win_rate_of_a_day(told: Projecting, pool: asyncpg.Pool) -> None:
    rows = {row["name"]: (row["trades"], row["pnl"], row["win_rate"]) for row in await pool.fetch(AGENTS_OF_A_DAY)}
    assert rows == {
        "momentum": (2, Decimal("-0.550000"), Decimal(50)),
        "mean_reversion": (1, None, Decimal(0)),
    }


async def test_the_trouble_newest_first(told: Projecting, pool: asyncpg.Pool) -> None:
    rows = [(row["severity"], row["component"], row["message"]) for row in await pool.fetch(TROUBLE)]
    crash = ("ERROR", "momentum", "momentum crashed: KeyError: 'x'")
    assert sorted(rows) == sorted([crash, ("CRITICAL", "test", "note 2")])


async def test_the_named_queries_answer_in_the_floors_own_units(told: Projecting, pool: asyncpg.Pool) -> None:
    newest, *_ = trades = await postgres.recent_trades(pool, 3)
    assert len(trades) == 3
    assert (newest.agent, newest.price, newest.shares, newest.fees) == ("mean_reversion", 510_000, 10_000_000, 174_930)
    assert newest.reason == facts.intent().reason
    momentum = {row.id: row for row in await postgres.agent_summaries(pool)}[AgentId("momentum")]
    assert (momentum.trades, momentum.settled, momentum.wins, momentum.pnl) == (3, 3, 1, -1_550_000)
    assert (momentum.state, momentum.crashes) == ("crashed", 1)
    events_seen = await postgres.recent_events(pool, 10)
    assert events_seen[0].at == facts.at(3)
    assert await postgres.window_records(pool, 10) == []


async def test_the_equity_curve_is_the_floors_or_one_agents(projecting: Projecting, pool: asyncpg.Pool) -> None:
    floor = [facts.metrics(None, n, 1000 + n) for n in range(5)]
    await projecting.tell([*floor, facts.metrics(AgentId("momentum"), 9, 333)])
    assert [row.equity for row in await postgres.metrics_history(pool, None, 2)] == [1_004_000_000, 1_003_000_000]
    assert [row.equity for row in await postgres.metrics_history(pool, AgentId("momentum"), 9)] == [333_000_000]


async def test_rows_convert_into_what_the_page_shows(told: Projecting, pool: asyncpg.Pool) -> None:
    """The app turns rows into the lines of floor/status.py by their field names alone."""
    status = pytest.importorskip("polybot.floor.status")
    await told.tell([facts.window(), facts.metrics(None, 1, 1000)])
    for rows, line in (
        (await postgres.recent_trades(pool, 9), status.TradeLine),
        (await postgres.window_records(pool, 9), status.WindowLine),
        (await postgres.recent_events(pool, 9), status.EventLine),
        (await postgres.metrics_history(pool, None, 9), status.MetricsLine),
    ):
        assert rows
        for row in rows:
            assert msgspec.convert(row, line, from_attributes=True).at == row.at
