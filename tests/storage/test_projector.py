"""The database says what the journal says: every row, once, in order, whatever happens to Postgres on the way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import asyncpg
import msgspec
import pytest

from polybot.domain import events
from polybot.domain.book import BookState
from polybot.domain.fact import Fact
from polybot.domain.order import CloseReason
from polybot.paths import migrations_dir
from polybot.storage import projector as projector_module
from polybot.storage.journal import Journal
from polybot.storage.journal_file import read_rows
from polybot.storage.migrate import migrate
from polybot.storage.postgres import open_pool
from polybot.storage.projection import CHANGES
from polybot.storage.projection_store import ProjectionAwayError, ProjectionError
from polybot.storage.projector import ForeignProjectionError, ProjectionStoppedError
from tests.storage import facts
from tests.storage.conftest import administer
from tests.storage.projecting import TABLES, Projecting, contents, projector_of


async def value(pool: asyncpg.Pool, query: str, *arguments: object):
    return await pool.fetchval(query, *arguments)


# -- what facts become -------------------------------------------------------------------------------------------------


async def test_every_kind_of_fact_has_its_place_and_every_table_its_facts(
    projecting: Projecting, pool: asyncpg.Pool
) -> None:
    told = facts.one_of_each()
    assert {type(fact) for fact in told} == set(CHANGES) == set(events.AnyFact.__args__)
    await projecting.tell(told)
    counts = {table: len(rows) for table, rows in (await contents(pool)).items()}
    assert counts.pop("facts") == len(told)
    assert all(counts.values()), counts
    assert await value(pool, "SELECT last_seq FROM projection") == len(told)


async def test_the_facts_table_is_the_journal_row_for_row(projecting: Projecting, pool: asyncpg.Pool) -> None:
    await projecting.tell(facts.one_of_each())
    stored = await pool.fetch("SELECT seq, position, payload::text, prev_hash, hash FROM facts ORDER BY seq")
    written = [(r.seq, r.position, r.payload.decode(), r.prev_hash, r.hash) for r in read_rows(projecting.journal.path)]
    assert [tuple(row) for row in stored] == written


async def test_an_order_is_followed_from_intent_to_settlement(projecting: Projecting, pool: asyncpg.Pool) -> None:
    wish = facts.intent()
    await projecting.tell([facts.opened(), facts.intended(wish)])
    assert await value(pool, "SELECT status FROM orders") == "intended"
    await projecting.tell([facts.accepted(wish)])
    assert await value(pool, "SELECT status FROM orders") == "working"
    await projecting.tell([facts.matched(wish, 1), facts.matched(wish, 2, shares=20_000_000, price=480_000)])
    trade = await pool.fetchrow("SELECT shares, price, cost, fees, pnl FROM trades")
    assert tuple(trade or ()) == (Decimal(30), Decimal("0.490000"), Decimal("14.7"), Decimal("0.34986"), None)
    assert await value(pool, "SELECT filled FROM orders") == 30
    await projecting.tell([facts.failed(wish, 1), facts.confirmed(wish, 2), facts.closed(wish, CloseReason.KILLED)])
    trade = await pool.fetchrow("SELECT shares, price, cost, fees FROM trades")
    assert tuple(trade or ()) == (Decimal(20), Decimal("0.480000"), Decimal("9.6"), Decimal("0.17493"))
    assert tuple(await pool.fetchrow("SELECT status, closed_reason, filled FROM orders") or ()) == (
        "closed",
        "killed",
        20,
    )
    states = [row["state"] for row in await pool.fetch("SELECT state FROM fills ORDER BY seq")]
    assert states == ["voided", "confirmed"]


async def test_a_trade_whose_every_fill_failed_never_was(projecting: Projecting, pool: asyncpg.Pool) -> None:
    wish = facts.intent()
    await projecting.tell([facts.opened(), facts.intended(wish), facts.accepted(wish), facts.matched(wish)])
    assert await value(pool, "SELECT count(*) FROM trades") == 1
    await projecting.tell([facts.failed(wish)])
    assert await value(pool, "SELECT count(*) FROM trades") == 0
    assert await value(pool, "SELECT count(*) FROM ledger_entries WHERE state <> 'voided'") == 0


async def test_the_ledger_alone_gives_every_balance_and_sums_to_zero(
    projecting: Projecting, pool: asyncpg.Pool
) -> None:
    await projecting.tell(facts.one_of_each())
    uneven = "SELECT transfer_id FROM ledger_entries GROUP BY transfer_id, asset HAVING sum(amount) <> 0"
    assert await pool.fetch(uneven) == []
    cash = "SELECT posted, held FROM ledger_balances WHERE agent_id = 'momentum' AND account = 'cash'"
    assert tuple(await pool.fetchrow(cash) or ()) == (Decimal("337.725070"), 0)
    shares = "SELECT posted FROM ledger_balances WHERE account = 'shares'"
    assert await value(pool, shares) == 0


async def test_trouble_of_every_kind_is_found_in_system_events(projecting: Projecting, pool: asyncpg.Pool) -> None:
    await projecting.tell(facts.one_of_each())
    rows = await pool.fetch("SELECT severity, message FROM system_events WHERE severity <> 'INFO' ORDER BY id")
    assert [(row["severity"], row["message"].split(":")[0]) for row in rows] == [
        ("WARNING", "fill momentum-000002.1 of momentum-000002 failed"),
        ("WARNING", "cancel of momentum-000003 refused"),
        ("ERROR", "momentum-000002 failed its audit"),
        ("CRITICAL", "momentum's desk has $1.00 in cash, its fills alone give $2.00"),
        ("WARNING", "momentum paused by loss_streak"),
        ("ERROR", "the floor paused by daily_loss"),
        ("ERROR", "boss crashed"),
        ("CRITICAL", "note 91"),
        ("WARNING", "ann accepted 250.00 pUSD"),
        ("WARNING", f"ann accepted -5.00 shares of {facts.market().id} UP"),
        ("WARNING", "ann accepted 12.00 pUSD as the cost of momentum-000001"),
    ]


async def test_what_happened_to_the_wallet_is_found_in_system_events(
    projecting: Projecting, pool: asyncpg.Pool
) -> None:
    moves = [fact for fact in facts.one_of_each() if isinstance(fact, events.WalletMoved)]
    elsewhere = events.WalletMoved(at=facts.at(94), kind=events.WalletMove.MERGED, market=None, amount=facts.dollars(2))
    await projecting.tell([*moves, elsewhere])
    rows = await pool.fetch("SELECT component, message FROM system_events ORDER BY id")
    assert [tuple(row) for row in rows] == [
        ("wallet", "500.00 pUSD of the wallet are not the floor's"),
        ("wallet", f"redeemed 10.00 pUSD of {facts.market().id} in 0xabc"),
        ("wallet", "merged 2.00 pUSD of shares that are not of this floor"),
    ]


async def test_text_that_postgres_cannot_hold_is_kept_in_the_fact_and_marked_elsewhere(
    projecting: Projecting, pool: asyncpg.Pool
) -> None:
    odd = events.SystemNoted(at=facts.at(1), severity=events.Severity.INFO, component="x", text="a\0b \U0001f4c8")
    await projecting.tell([odd])
    assert await value(pool, "SELECT message FROM system_events") == "a\N{REPLACEMENT CHARACTER}b \U0001f4c8"
    assert "\\u0000" in await value(pool, "SELECT payload::text FROM facts")


@pytest.mark.parametrize("state", [BookState.UNVERIFIABLE, BookState.CONTRADICTED])
async def test_the_database_refuses_an_order_on_a_book_that_was_not_verified(
    projecting: Projecting, state: BookState
) -> None:
    with pytest.raises(ProjectionStoppedError, match="orders_book_was_verified"):
        await projecting.tell([facts.opened(), facts.intended(facts.intent(state=state))])


async def test_the_database_refuses_a_transfer_that_does_not_sum_to_zero(pool: asyncpg.Pool) -> None:
    await pool.execute("INSERT INTO agents (id, name, created_at, changed_at) VALUES ('a', 'a', now(), now())")
    line = "('t', {}, 1, 'a', 'cash', 'pUSD', {}, 'posted', now())"
    with pytest.raises(asyncpg.CheckViolationError, match="transfer t does not sum to zero"):
        await pool.execute(f"INSERT INTO ledger_entries VALUES {line.format(1, 5)}, {line.format(2, -4)}")


# -- rows and journals that do not belong ------------------------------------------------------------------------------


async def test_a_database_of_another_journal_is_refused_and_left_alone(
    projecting: Projecting, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    await projecting.tell([facts.note(1)])
    before = await contents(pool)
    with Journal.open(tmp_path / "other") as other:
        await other.append([facts.note(2)], position=0)
        stranger = projector_of(other, pool)
        with pytest.raises(ForeignProjectionError, match="another journal's rows"):
            await stranger.run()
    assert await contents(pool) == before
    assert "another journal" in (stranger.status().stopped or "")


@pytest.mark.parametrize("rows", [0, 1, 2], ids=["empty", "shorter", "as long"])
async def test_an_older_copy_of_the_journal_is_refused(
    projecting: Projecting, pool: asyncpg.Pool, tmp_path: Path, rows: int
) -> None:
    await projecting.tell([facts.note(1), facts.note(2)])
    with Journal.open(tmp_path / "copy", genesis=b"g" * 32) as copy:
        await copy.append([facts.note(10 + n) for n in range(rows)], position=0)
        with pytest.raises(ForeignProjectionError, match="another history"):
            await projector_of(copy, pool).project_batch()


async def test_a_row_that_postgres_refuses_stops_the_projection_there_after_all_good_rows(
    projecting: Projecting, pool: asyncpg.Pool
) -> None:
    good = [facts.note(n) for n in range(20)]
    twice = [facts.window(), facts.window()]
    await projecting.journal.append([*good, *twice, *good], position=0)
    with pytest.raises(ProjectionStoppedError, match="window_records_one_per_agent_and_market") as error:
        await asyncio.wait_for(projecting.projector.run(), 20)
    assert error.value.seq == 22
    assert await value(pool, "SELECT last_seq FROM projection") == 21
    assert "row 22" in (projecting.projector.status().stopped or "")


async def test_a_row_that_this_version_does_not_know_stops_the_projection_there(
    projecting: Projecting, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FromTheFuture(Fact, frozen=True, kw_only=True):
        pass

    good = facts.note(1)
    monkeypatch.setattr("polybot.storage.journal_queue.encode_fact", msgspec.json.encode)
    await projecting.journal.append([good, FromTheFuture(at=facts.at(2)), good], position=0)  # type: ignore[list-item]
    with pytest.raises(ProjectionStoppedError, match="no fact that this version knows") as error:
        await asyncio.wait_for(projecting.projector.run(), 20)
    assert error.value.seq == 2
    assert await value(pool, "SELECT last_seq FROM projection") == 1


# -- Postgres away -----------------------------------------------------------------------------------------------------


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of hundredths of a second, that tests need not wait."""
    monkeypatch.setattr(projector_module, "RETRY_SECONDS_FIRST", 0.02)
    monkeypatch.setattr(projector_module, "IDLE_SECONDS", 0.05)


@pytest.fixture
async def running(projecting: Projecting, hasty: None) -> AsyncIterator[Projecting]:
    """The projector at work."""
    task = asyncio.create_task(projecting.projector.run())
    yield projecting
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def until(condition, seconds_max: float = 15.0) -> None:
    async with asyncio.timeout(seconds_max):
        while not condition():  # noqa: ASYNC110 what is waited for is a plain value of another's
            await asyncio.sleep(0.01)


async def test_a_running_projector_follows_the_journal(running: Projecting, pool: asyncpg.Pool) -> None:
    for n in range(5):
        await running.journal.append([facts.note(n)], position=0)
        await until(lambda: running.projector.status().rows_behind == 0)
    assert await value(pool, "SELECT count(*) FROM facts") == 5


async def test_an_outage_is_told_survived_and_made_up_for(
    running: Projecting, pool: asyncpg.Pool, admin_url: str
) -> None:
    name = await value(pool, "SELECT current_database()")
    status = running.projector.status
    await running.journal.append([facts.note(0)], position=0)
    await until(lambda: status().projected_seq == 1)
    kill = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    await administer(admin_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false", kill)
    await running.journal.append([facts.note(n) for n in range(100)], position=0)
    await until(lambda: status().error is not None)
    assert status().rows_behind == 100
    assert status().away_since is not None
    assert status().behind_since is not None
    await administer(admin_url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await until(lambda: status().rows_behind == 0 and status().error is None)
    assert (status().away_since, status().behind_since) == (None, None)
    assert await value(pool, "SELECT count(*) FROM facts") == 101


async def test_connections_killed_again_and_again_lose_and_double_nothing(
    running: Projecting, pool: asyncpg.Pool, admin_url: str
) -> None:
    name = await value(pool, "SELECT current_database()")
    kill = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    for n in range(30):
        await running.journal.append([facts.note(100 * n + i) for i in range(100)], position=0)
        await administer(admin_url, kill)
    await until(lambda: running.projector.status().rows_behind == 0)
    await until(lambda: running.projector.status().error is None)
    assert await value(pool, "SELECT count(*) FROM system_events") == 3000


async def test_a_floor_that_starts_without_postgres_projects_once_it_is_there(tmp_path: Path, hasty: None) -> None:
    pool = await open_pool("postgresql://polybot@127.0.0.1:1/polybot")
    with Journal.open(tmp_path / "journal") as journal:
        await journal.append([facts.note(1)], position=0)
        projector = projector_of(journal, pool)
        task = asyncio.create_task(projector.run())
        await until(lambda: projector.status().error is not None)
        assert "Connect" in (projector.status().error or "")
        task.cancel()
        assert await projector.drain(seconds_max=0.2) == 1
    await pool.close()


async def test_an_empty_database_is_prepared_first_and_a_wiped_one_made_anew(
    tmp_path: Path, empty_url: str, hasty: None
) -> None:
    pool = await open_pool(empty_url)
    with Journal.open(tmp_path / "journal") as journal:
        await journal.append([facts.note(1), facts.note(2)], position=0)
        projector = projector_of(journal, pool, prepare=lambda connection: migrate(connection, migrations_dir()))
        assert await projector.drain(seconds_max=10) == 0
        await pool.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await journal.append([facts.note(3)], position=0)
        assert await projector.drain(seconds_max=10) == 0
        assert await value(pool, "SELECT count(*) FROM facts") == 3
    await pool.close()


async def test_a_database_that_refuses_for_a_reason_nobody_foresaw_is_asked_again_until_somebody_mended_it(
    projecting: Projecting, pool: asyncpg.Pool
) -> None:
    await projecting.tell([facts.note(1)])
    await pool.execute("ALTER TABLE facts RENAME COLUMN position TO somewhere")
    await projecting.journal.append([facts.note(2)], position=0)
    with pytest.raises(ProjectionAwayError, match="UndefinedColumnError"):
        await projecting.projector.project_batch()
    await pool.execute("ALTER TABLE facts RENAME COLUMN somewhere TO position")
    assert await projecting.projector.drain(seconds_max=10) == 0


async def test_a_database_whose_schema_is_gone_is_away_until_it_is_made_again(tmp_path: Path, empty_url: str) -> None:
    pool = await open_pool(empty_url)
    with Journal.open(tmp_path / "journal") as journal:
        await journal.append([facts.note(1), facts.note(2)], position=0)
        projector = projector_of(journal, pool, prepare=lambda connection: migrate(connection, migrations_dir()))
        assert await projector.drain(seconds_max=10) == 0
        await pool.execute("DROP SCHEMA public CASCADE")
        await journal.append([facts.note(3)], position=0)
        assert await projector.drain(seconds_max=0.5) > 0
        assert "InvalidSchemaName" in (projector.status().error or "")
        await pool.execute("CREATE SCHEMA public")
        assert await projector.drain(seconds_max=10) == 0
        assert await value(pool, "SELECT count(*) FROM facts") == 3
    await pool.close()


async def test_without_its_tables_and_nobody_to_make_them_it_stops_with_the_remedy(
    tmp_path: Path, empty_url: str
) -> None:
    pool = await open_pool(empty_url)
    with Journal.open(tmp_path / "journal") as journal, pytest.raises(ProjectionError, match="polybot migrate"):
        await projector_of(journal, pool).run()
    await pool.close()


async def test_drain_carries_what_is_left_and_says_what_is_not(projecting: Projecting) -> None:
    await projecting.journal.append([facts.note(n) for n in range(900)], position=0)
    assert await projecting.another(batch_rows=100).drain(seconds_max=20) == 0


def test_every_table_of_the_projection_is_compared() -> None:
    text = (migrations_dir() / "0001_floor.sql").read_text()
    made = {line.split()[2] for line in text.splitlines() if line.startswith("CREATE TABLE")}
    assert made - set(TABLES) == {"checkpoints"}
