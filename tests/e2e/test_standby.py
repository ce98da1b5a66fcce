"""One floor per account, from outside: two real processes, one real Postgres, real signals (0004-one-floor.md)."""
# ruff: noqa: ASYNC240 - nothing else runs in a test's loop

import asyncio
import json
import os
import re
import signal
import sqlite3
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from polybot.domain.events import AnyFact, FillMatched, IntentRecorded, OrderClosed, TradingPaused
from polybot.runs import journal_path
from polybot.storage.embedded_postgres import EmbeddedPostgres
from polybot.storage.embedded_valkey import EmbeddedValkey
from polybot.storage.journal_file import FACT_DECODER
from polybot.storage.journal_verify import verify
from polybot.storage.lease import LEASE_S, MARGIN_S
from tests.e2e.service import Service
from tests.e2e.test_kill_switch import paused, until
from tests.web.test_control import BEARER, TOKEN

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
NUMBERS = count(1)
SPEED, SPEED_SLOW = 300.0, 120.0


@dataclass(frozen=True)
class Stores:
    postgres: EmbeddedPostgres
    redis_url: str


@dataclass(frozen=True)
class Pair:
    """Where two floors of one account run: each in a folder of its own, both on one database."""

    url: str
    redis_url: str
    folder: Path
    started: list[Service]

    def start(self, name: str, *, data: str | None = None, speed: float = SPEED, **environment: str) -> Service:
        service = Service(
            self.folder / name,
            speed=speed,
            POLYBOT_DATA_DIR=str(self.folder / (data or name)),
            POLYBOT_DATABASE_URL=self.url,
            POLYBOT_REDIS_URL=self.redis_url,
            **environment,
        )
        self.started.append(service)
        return service

    def facts(self, name: str) -> list[AnyFact]:
        return facts_in(self.folder / name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stores() -> AsyncIterator[Stores]:
    with tempfile.TemporaryDirectory(prefix="polybot-test-") as name:
        Path(name).chmod(0o755)
        postgres, valkey = EmbeddedPostgres(Path(name)), EmbeddedValkey(Path(name))
        redis_url = await valkey.start()
        await postgres.start()
        yield Stores(postgres=postgres, redis_url=redis_url)
        await postgres.stop()
        await valkey.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def pair(stores: Stores, tmp_path: Path) -> AsyncIterator[Pair]:
    name = f"account_{next(NUMBERS)}"
    admin = await asyncpg.connect(stores.postgres.url(database="postgres", role="postgres"))
    await admin.execute(f"CREATE DATABASE {name} OWNER polybot")
    await admin.close()
    made = Pair(url=stores.postgres.url(database=name), redis_url=stores.redis_url, folder=tmp_path, started=[])
    yield made
    for service in made.started:
        if service.process.poll() is None:
            service.kill()


async def ask(pair: Pair, query: str) -> object:
    connection = await asyncpg.connect(pair.url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def facts_in(folder: Path) -> list[AnyFact]:
    with sqlite3.connect(f"file:{journal_path(folder)}?mode=ro", uri=True) as journal:
        return [FACT_DECODER.decode(text) for (text,) in journal.execute("SELECT payload FROM facts ORDER BY seq")]


def standby_health(service: Service) -> dict[str, object]:
    url = re.search(r"http://[^)]+/health", str(service.wait_for("standby")[0]["message"]))
    assert url is not None
    with urllib.request.urlopen(url.group(), timeout=5) as answer:
        assert answer.status == 200
        health: dict[str, object] = json.loads(answer.read())
        return health


def stop_asked_of(standby: Service, seconds: float = 30.0) -> dict[str, object]:
    """POST to a standby until the leader has heard of it; what was said."""
    url = re.search(r"http://[^)]+(?=/health)", str(standby.wait_for("standby")[0]["message"]))
    assert url is not None
    end = time.monotonic() + seconds
    while True:
        request = urllib.request.Request(f"{url.group()}/api/stop", method="POST", headers=BEARER)
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                told: dict[str, object] = json.loads(answer.read())
                return told
        except urllib.error.HTTPError as error:  # 502: the leader is not open yet
            if error.code != 502 or time.monotonic() > end:
                raise
            time.sleep(0.1)


def seconds_to_trading(service: Service, since: float) -> float:
    """From `since` until its floor is open and its traders run."""
    service.wait_for("run_started")
    running = [line for line in service.wait_for("agent", 6) if "(trader) is running" in str(line["message"])]
    seconds = datetime.fromisoformat(str(running[-1]["time"])).timestamp() - since
    print(f"trading again after {seconds:.2f} s")
    return seconds


async def quiet(pair: Pair, name: str) -> None:
    """Until no fact is on its way to the disk: one that is would arrive there after the process wakes, harmlessly."""
    seen = -1
    while (now := len(pair.facts(name))) != seen:
        seen = now
        await asyncio.sleep(0.2)


def nothing_is_doubled(facts: list[AnyFact]) -> bool:
    intents = Counter(fact.intent.id for fact in facts if isinstance(fact, IntentRecorded))
    closed = Counter(fact.order for fact in facts if isinstance(fact, OrderClosed))
    fills = Counter(fact.fill for fact in facts if isinstance(fact, FillMatched))
    return bool(intents) and {*intents.values(), *closed.values(), *fills.values()} == {1}


async def test_a_second_floor_on_the_same_folder_waits_and_goes_on_when_the_first_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first = Service(folder, speed=SPEED)
    first.wait_for("fill")
    second = Service(tmp_path / "second", speed=0, POLYBOT_DATA_DIR=str(folder))
    health = standby_health(second)
    assert health["state"] == "standby"
    assert f"process {first.process.pid}" in str(health["why"])
    assert json.loads(first.get("/health")[1])["fit"]
    killed_at = time.time()
    first.kill()
    assert seconds_to_trading(second, killed_at) < 5
    assert "36 of 36" in second.finish()
    facts = facts_in(folder)
    assert nothing_is_doubled(facts)
    assert verify(journal_path(folder)).damage is None


async def test_a_second_floor_elsewhere_waits_and_goes_on_with_the_run_when_the_first_is_killed(pair: Pair) -> None:
    first = pair.start("first")
    first.wait_for("fill")
    second = pair.start("second", speed=0)
    health = standby_health(second)
    assert (health["state"], health["epoch"]) == ("standby", 1)
    assert f":{first.process.pid}:" in str(health["leader"])
    first.wait_for("fill", 3)
    killed_at = time.time()
    first.kill()
    assert seconds_to_trading(second, killed_at) < 5  # the same machine: it sees that the process is gone
    assert "36 of 36" in second.finish()
    facts = pair.facts("second")
    assert nothing_is_doubled(facts)
    assert await ask(pair, "SELECT epoch FROM leadership") == 2
    assert await ask(pair, "SELECT count(*) FROM facts") == len(facts)
    taken = re.search(r"(\d+) facts were taken from the database", second.log)
    assert taken is not None
    assert int(taken[1]) > 20
    assert pair.facts("first")[: int(taken[1])] == facts[: int(taken[1])]


async def test_a_first_floor_that_stops_in_order_hands_over_at_once_and_is_a_standby_when_started_again(
    pair: Pair,
) -> None:
    first = pair.start("first")
    first.wait_for("agent", 6)
    second = pair.start("second", speed=SPEED_SLOW)
    standby_health(second)
    first.interrupt()
    stopped_at = time.time()
    assert first.process.returncode == 0
    assert seconds_to_trading(second, stopped_at) < 4
    again = pair.start("again", data="first")
    assert standby_health(again)["epoch"] == 2
    farewell = again.interrupt()
    assert "it had traded nothing" in farewell
    assert "Stopped in order" not in farewell
    assert again.process.returncode == 0
    second.interrupt()
    assert pair.facts("second")[: len(pair.facts("first"))] == pair.facts("first")  # nothing was lost on the way


async def test_a_stopped_leader_is_replaced_after_its_lease_and_does_nothing_when_it_wakes(pair: Pair) -> None:
    first = pair.start("first", speed=SPEED_SLOW)
    first.wait_for("run_started")
    second = pair.start("second")
    standby_health(second)
    first.wait_for("order")
    await quiet(pair, "first")
    first.process.send_signal(signal.SIGSTOP)
    stopped_at = time.time()
    before = len(pair.facts("first"))
    assert LEASE_S - 3 < seconds_to_trading(second, stopped_at) < LEASE_S + MARGIN_S + 4
    second.wait_for("order")
    first.process.send_signal(signal.SIGCONT)
    first.finish(20)
    assert first.process.returncode == 1
    assert "leads this account" in first.log
    assert len(pair.facts("first")) == before
    second.interrupt()
    facts = pair.facts("second")
    assert nothing_is_doubled(facts)
    assert await ask(pair, "SELECT count(*) FROM facts") == len(facts)
    assert await ask(pair, "SELECT count(*) FROM runs") == 2


async def test_a_leader_outlives_a_restart_of_postgres_under_its_own_epoch(pair: Pair, stores: Stores) -> None:
    first = pair.start("first", speed=SPEED_SLOW)
    first.wait_for("run_started")
    second = pair.start("second")
    standby_health(second)
    pid = stores.postgres.pid
    assert pid is not None
    os.kill(pid, signal.SIGINT)
    await stores.postgres.wait_ended()
    await stores.postgres.restart()
    beat = await ask(pair, "SELECT beat FROM leadership WHERE epoch = 1")
    while await ask(pair, "SELECT beat FROM leadership WHERE epoch = 1") == beat:
        assert await ask(pair, "SELECT epoch FROM leadership") == 1
        await asyncio.sleep(0.1)
    first.wait_for("order")
    assert standby_health(second)["epoch"] == 1
    first.interrupt()
    assert first.process.returncode == 0
    second.wait_for("run_started")
    second.interrupt()


async def test_a_stop_asked_of_the_standby_stops_the_leader_and_holds_when_the_standby_takes_over(pair: Pair) -> None:
    first = pair.start("first", speed=SPEED_SLOW)
    first.wait_for("run_started")
    second = pair.start("second", speed=SPEED_SLOW, POLYBOT_CONTROL_TOKEN=TOKEN)
    told = stop_asked_of(second)
    assert str(told["done"]).endswith("the floor is paused, until somebody resumes")
    assert "kill_switch" in paused(first)
    first.kill()
    second.wait_for("run_started")
    until(second, lambda: "kill_switch" in paused(second))
    facts = [*pair.facts("first"), *pair.facts("second")]
    stopped = next(fact.at for fact in facts if isinstance(fact, TradingPaused) and fact.breaker == "kill_switch")
    assert not any(isinstance(fact, IntentRecorded) and fact.intent.decided_at > stopped for fact in facts)
