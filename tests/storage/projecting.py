"""A journal and a projector on a test's own database, and what a database says as one comparable value."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg

from polybot.circuit import Circuit, CircuitPlan
from polybot.clock import SystemClock
from polybot.domain.events import AnyFact
from polybot.storage.journal import Journal
from polybot.storage.projection_postgres import PostgresProjection
from polybot.storage.projector import BATCH_ROWS, Projector

TABLES = (
    "facts", "projection", "runs", "agents", "capital_allocations", "markets", "market_terms", "orders", "fills",
    "trades", "ledger_entries", "window_records", "refusals", "audits", "balance_audits", "metrics", "pauses",
    "system_events",
)  # fmt: skip


class Projecting:
    def __init__(self, path: Path, pool: asyncpg.Pool) -> None:
        self.journal, self.pool = Journal.open(path, genesis=b"g" * 32), pool
        self.projector = self.another()

    def another(self, **options: Any) -> Projector:
        return projector_of(self.journal, self.pool, **options)

    async def tell(self, facts: Sequence[AnyFact]) -> None:
        """Journal the facts and carry them over."""
        await self.journal.append(facts, position=1)
        while await self.projector.project_batch():
            pass


async def contents(pool: asyncpg.Pool, tables: Sequence[str] = TABLES) -> dict[str, list[tuple]]:
    """All rows of all tables of the projection, in an order that does not depend on how they came in."""
    rows = {table: await pool.fetch(f"SELECT * FROM {table}") for table in tables}
    return {table: sorted((tuple(row) for row in rows[table]), key=repr) for table in tables}


async def wipe(pool: asyncpg.Pool) -> None:
    await pool.execute(f"TRUNCATE {', '.join(TABLES)}")


HASTY = CircuitPlan(failures_max=2, open_ms_first=10, open_ms_max=20)
"""Waits of hundredths of a second, that tests need not wait."""


def projector_of(
    journal: Journal, pool: asyncpg.Pool, *, batch_rows: int = BATCH_ROWS, plan: CircuitPlan = HASTY, **options: Any
) -> Projector:
    clock, chance = SystemClock(), random.Random(1)
    circuit = Circuit("database", plan, chance, clock.now_ms())
    return Projector(journal, PostgresProjection(pool, **options), clock, circuit, chance, batch_rows=batch_rows)
