"""The main job, from outside: real processes, real Postgres and Valkey, the shipped tape, real signals."""

import json
import sqlite3
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from polybot.app import Backtest
from polybot.domain.events import (
    AnyFact,
    BooksAudited,
    CapitalAllocated,
    FillMatched,
    IntentRecorded,
    OrderClosed,
    TradeAudited,
    TradeSettled,
    Verdict,
    WindowRecorded,
)
from polybot.runs import journal_path
from polybot.settings import load_settings
from polybot.storage import postgres
from polybot.storage.embedded import embedded_servers
from polybot.storage.journal import Journal
from polybot.storage.journal_verify import verify
from tests.e2e.service import Service

pytestmark = pytest.mark.slow
WINDOWS, TRADERS = 12, 3


def facts_in(folder: Path) -> list[AnyFact]:
    with Journal.open(journal_path(folder)) as journal:
        return [entry.fact for entry in journal.read()]


def money_adds_up(facts: list[AnyFact]) -> bool:
    """Cash recomputed here from the bare facts, against the last figure each desk gave the auditor."""
    put_in = sum(fact.moved for fact in facts if isinstance(fact, CapitalAllocated))
    won = sum(fact.pnl for fact in facts if isinstance(fact, TradeSettled))
    last = {fact.agent: fact.desk_cash for fact in facts if isinstance(fact, BooksAudited)}
    return sum(last.values()) == put_in + won


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("whole") / "data"
    service = Service(folder, speed=0)
    printed = service.finish()
    assert service.process.returncode == 0
    return folder, printed


def test_a_run_plays_the_tape_to_its_end_and_prints_the_report(whole_run: tuple[Path, str]) -> None:
    _, printed = whole_run
    assert "played to its end" in printed
    assert "The money adds up" in printed
    assert "Every agent has its record for every window: 36 of 36" in printed


def test_every_window_has_one_record_per_agent(whole_run: tuple[Path, str]) -> None:
    records = [fact for fact in facts_in(whole_run[0]) if isinstance(fact, WindowRecorded)]
    assert len(records) == WINDOWS * TRADERS
    assert len({(record.agent, record.market) for record in records}) == WINDOWS * TRADERS
    assert not any(record.verdict is Verdict.DOWN for record in records)


def test_the_strategy_without_trade_prints_passes_with_that_reason(whole_run: tuple[Path, str]) -> None:
    reasons = {
        fact.reason
        for fact in facts_in(whole_run[0])
        if isinstance(fact, WindowRecorded) and fact.agent == "volume_spike"
    }
    assert reasons == {"no_trade_prints"}


def test_the_auditor_passed_every_trade_and_the_books(whole_run: tuple[Path, str]) -> None:
    facts = facts_in(whole_run[0])
    audited = [fact for fact in facts if isinstance(fact, TradeAudited)]
    assert len(audited) == sum(isinstance(fact, IntentRecorded) for fact in facts)
    assert all(fact.passed for fact in audited)
    assert all(fact.passed for fact in facts if isinstance(fact, BooksAudited))
    assert money_adds_up(facts)


def test_a_run_decides_what_the_backtest_decides_order_by_order(whole_run: tuple[Path, str]) -> None:
    settings = load_settings()
    expected = Backtest(settings, [settings.tape], []).run(lambda *_: None)
    kinds = IntentRecorded | FillMatched | OrderClosed | TradeSettled | WindowRecorded
    assert [fact for fact in facts_in(whole_run[0]) if isinstance(fact, kinds)] == [
        fact for fact in expected if isinstance(fact, kinds)
    ]


async def test_the_database_holds_the_journal_and_answers_the_briefs_queries(whole_run: tuple[Path, str]) -> None:
    folder = whole_run[0]
    facts = facts_in(folder)
    async with embedded_servers(folder / "servers", valkey=False) as servers:
        assert servers.database_url is not None
        pool = await postgres.open_pool(servers.database_url)
        try:
            assert await pool.fetchval("SELECT last_seq FROM projection") == len(facts)
            assert await pool.fetchval("SELECT count(*) FROM window_records") == WINDOWS * TRADERS
            settled = {f.order: f.pnl for f in facts if isinstance(f, TradeSettled)}
            rows = await pool.fetch("SELECT id, millionths(pnl) AS pnl FROM trades")
            assert {row["id"]: row["pnl"] for row in rows} == settled
            latest = await pool.fetch("SELECT * FROM trades ORDER BY executed_at DESC LIMIT 20;")
            assert len(latest) == min(20, len(settled))
            uneven = await pool.fetch(
                "SELECT transfer_id FROM ledger_entries GROUP BY transfer_id, asset HAVING sum(amount) <> 0"
            )
            assert uneven == []
        finally:
            await pool.close()


def test_ctrl_c_stops_in_order_says_how_to_go_on_and_the_next_start_does(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first = Service(folder, speed=1500)
    first.wait_for("fill")
    assert "the same command goes on from here" in first.interrupt()
    assert first.process.returncode == 0
    assert servers_of(folder) == []
    second = Service(folder, speed=0)
    assert "36 of 36" in second.finish()
    assert "going on at market event" in str(second.lines)


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_ctrl_c_just_after_the_very_first_start_is_as_orderly_as_any_other(tmp_path: Path, seconds: float) -> None:
    service = Service(tmp_path / "data", speed=60)
    service.wait_for("open")
    time.sleep(seconds)
    assert "the same command goes on from here" in service.interrupt()
    assert service.process.returncode == 0


def test_a_run_is_not_gone_on_with_under_another_capital(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first = Service(folder, speed=1500)
    first.wait_for("fill")
    first.interrupt()
    other = Service(folder, speed=0, POLYBOT_CAPITAL="2000")
    other.finish()
    assert other.process.returncode == 1
    assert "began with 1000.00, and POLYBOT_CAPITAL is now 2000.00" in other.log


def test_kill_9_again_and_again_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for settled_windows in (0, 1, 1, 2):
        service = Service(folder, speed=4000)
        service.wait_for("open")
        if settled_windows:
            service.wait_for("settled", settled_windows)
        service.kill()
    printed = Service(folder, speed=0).finish()
    assert "36 of 36" in printed
    assert "The money adds up" in printed
    facts = facts_in(folder)
    intents = Counter(fact.intent.id for fact in facts if isinstance(fact, IntentRecorded))
    closed = Counter(fact.order for fact in facts if isinstance(fact, OrderClosed))
    fills = Counter(fact.fill for fact in facts if isinstance(fact, FillMatched))
    assert set(intents.values()) == set(closed.values()) == set(fills.values()) == {1}
    assert money_adds_up(facts)
    assert all(fact.passed for fact in facts if isinstance(fact, TradeAudited))
    assert verify(journal_path(folder)).damage is None


def test_a_running_floor_can_be_looked_at(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    service = Service(folder, speed=600)
    try:
        service.wait_for("fill")
        code, body = service.get("/health")
        assert (code, json.loads(body)["fit"]) == (200, True)
        assert "polybot_equity" in service.get("/metrics")[1]
        assert json.loads(service.get("/api/status")[1])["agents"]
        service.wait_for("settled")
        time.sleep(0.5)  # until the projector has carried it
        trades = json.loads(service.get("/api/trades?limit=50")[1])["trades"]
        assert any(trade["pnl"] is not None for trade in trades)
        assert json.loads(service.get("/api/windows?limit=3")[1])["windows"][0]["verdict"] in list(Verdict)
        assert json.loads(service.get("/api/events?limit=1")[1])["events"][0]["severity"]
        assert "<html" in service.get("/")[1]
        assert json.loads(redis_get(folder, "market:BTC-15m"))["series"] == "BTC-15m"
        assert redis_get(folder, "circuit:polymarket:state") == "closed"
    finally:
        service.interrupt()


def test_a_damaged_journal_is_refused_with_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    service = Service(folder, speed=4000)
    service.wait_for("fill")
    service.interrupt()
    with sqlite3.connect(journal_path(folder)) as database:
        database.execute("DROP TRIGGER IF EXISTS facts_are_never_changed")
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute("UPDATE facts SET payload = replace(payload, '2', '3') WHERE seq = 5")
    refused = Service(folder, speed=0)
    refused.finish()
    assert refused.process.returncode == 1


def servers_of(folder: Path) -> list[str]:
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if str(folder) in line]


def redis_get(folder: Path, key: str) -> str:
    """What a person gets from redis-cli; spoken by hand, since redis-cli need not be installed."""
    import redis

    command = next(line for line in (folder / "servers/servers.txt").read_text().splitlines() if "redis" in line)
    client = redis.Redis(port=int(command.split("-p")[1].split()[0]), decode_responses=True)
    return str(client.get(key))
