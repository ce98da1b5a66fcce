"""The comparison after real chaos: a database that is the journal's passes, and each planted difference is named."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from polybot.app import Backtest
from polybot.chaos.real_books import Books, retell
from polybot.chaos.real_compare import (
    Compared,
    compare_facts,
    compare_tables,
    fresh_projection,
    page_findings,
    project_all,
    venue_findings,
    windows_of,
)
from polybot.domain.events import AnyFact
from polybot.domain.ids import AgentId
from polybot.domain.units import Millis, Money
from polybot.floor.status import FloorStatus, StoreState, StoreStatus
from polybot.runs import journal_path
from polybot.settings import Settings, load_settings
from polybot.storage.journal import Journal


@pytest.fixture(scope="module")
def story() -> list[AnyFact]:
    settings = load_settings()
    return Backtest(settings, [settings.tape], []).run(lambda *_: None)


@pytest.fixture
async def kept(tmp_path: Path, story: list[AnyFact]) -> AsyncIterator[tuple[Settings, Journal]]:
    """A data folder with the journal of a whole run."""
    settings = load_settings(data_dir=tmp_path)
    with Journal.open(journal_path(tmp_path)) as journal:
        await journal.append(story, 25_288)
        yield settings, journal


@pytest.fixture
async def projected(kept: tuple[Settings, Journal], pool: asyncpg.Pool) -> asyncpg.Pool:
    """The floor's database, with that journal in it."""
    await project_all(kept[1], pool)
    return pool


async def compared(kept: tuple[Settings, Journal], pool: asyncpg.Pool, url: str) -> Compared:
    result = Compared()
    async with fresh_projection(kept[1], url) as fresh:
        await compare_facts(kept[1], pool, result)
        await compare_tables(pool, fresh, result)
    return result


async def test_a_database_that_is_the_journals_passes_row_by_row(kept, projected, database_url, story):
    result = await compared(kept, projected, database_url)
    assert result.findings == []
    assert result.rows > 2 * len(story)
    assert result.tables > 12


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM facts WHERE seq = 40", "facts: has row 41"),
        ("DELETE FROM facts WHERE seq = (SELECT max(seq) FROM facts)", "the journal goes on with row"),
        ("""UPDATE facts SET payload = replace(payload::text, 'momentum', 'momentun')::json
            WHERE seq = (SELECT min(seq) FROM facts WHERE payload::text LIKE '%momentum%')""", "facts: has row"),
        ("UPDATE facts SET position = position + 1 WHERE seq = 7", "facts: has row 7"),
        ("UPDATE facts SET hash = prev_hash WHERE seq = 7", "facts: has row 7"),
        ("""INSERT INTO facts SELECT seq + 1, position, at, kind, payload, prev_hash, hash FROM facts
            ORDER BY seq DESC LIMIT 1""", "the journal has no further row"),
        ("UPDATE trades SET pnl = pnl + 0.000001 WHERE id = (SELECT min(id) FROM trades)", "trades: 20 rows, 20"),
        ("DELETE FROM window_records WHERE seq = (SELECT max(seq) FROM window_records)", "window_records: 35 rows"),
        ("UPDATE orders SET filled = 0 WHERE id = (SELECT min(id) FROM orders)", "orders: 24 rows"),
        ("UPDATE fills SET state = 'voided' WHERE id = (SELECT min(id) FROM fills)", "fills: 27 rows"),
        ("""INSERT INTO system_events SELECT 99999, now(), 'INFO', 'test', 'one too many'""", "system_events: "),
        ("CREATE TABLE more (id int)", "the database has tables"),
        ("UPDATE projection SET last_seq = last_seq - 1", "projection: 1 rows"),
    ],
)  # fmt: skip
async def test_a_planted_difference_in_the_database_is_named(kept, projected, database_url, statement, words):
    await projected.execute(statement)
    result = await compared(kept, projected, database_url)
    assert any(words in finding for finding in result.findings), result.findings


async def test_the_venues_account_and_the_desks_agree_with_the_facts(kept):
    settings, journal = kept
    books = retell(journal.read(), windows_of(settings))
    assert await venue_findings(settings, journal, books) == []


async def test_money_that_only_the_facts_know_of_is_found_at_venue_and_desks(kept):
    settings, journal = kept
    books = retell(journal.read(), windows_of(settings))
    books.cash[AgentId("momentum")] = Money(books.cash[AgentId("momentum")] + 1)
    found = await venue_findings(settings, journal, books)
    assert [finding.partition(",")[0] for finding in found] == ["venue", "desks"]


BOOKS = Books(cash={AgentId("a"): Money(90)}, capital=Money(100), pnl=Money(-10), trades=2)
OK = StoreStatus(state=StoreState.OK)
FIGURES = ("cash", "equity", "pnl", "exposure", "capital", "trades", "windows_settled")


def a_page(**figures: Any) -> FloorStatus:
    page = FloorStatus(
        run="r",
        mode="paper",
        source="tape",
        version="0",
        started_at=Millis(0),
        wall_time=Millis(0),
        fit=True,
        capital=Money(100),
        equity=Money(90),
        cash=Money(90),
        exposure=Money(0),
        pnl=Money(-10),
        trades=2,
        windows_settled=12,
        database=OK,
        redis=OK,
        journal=OK,
    )
    return msgspec.structs.replace(page, **figures)


def test_a_page_that_says_what_the_facts_say_passes():
    assert list(page_findings(a_page(), BOOKS, 12)) == []


@pytest.mark.parametrize("figure", FIGURES)
def test_a_page_that_says_otherwise_is_found(figure):
    assert len(list(page_findings(a_page(**{figure: 7}), BOOKS, 12))) == 1
