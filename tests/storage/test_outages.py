"""Real servers killed, stopped, cut off under stores at work: the database ends with every row, once, in order."""

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis.asyncio

from polybot import store_watch, stores, upkeep
from polybot.circuit import CircuitSnapshot, CircuitState
from polybot.clock import SystemClock
from polybot.domain.events import Severity, SystemNoted
from polybot.floor.status import MarketStatus, StoreState, StoreUnavailable
from polybot.storage import journal_file
from polybot.storage.embedded import EmbeddedPostgres, EmbeddedServers, EmbeddedValkey, embedded_servers
from polybot.storage.embedded_keeper import kept_running
from polybot.storage.journal import Journal
from polybot.storage.journal_file import read_rows
from polybot.storage.projection_postgres import PostgresProjection
from polybot.storage.projection_store import Choose, ProjectionAwayError
from polybot.storage.projector import Projector
from polybot.stores import FloorStores
from polybot.web.source import FloorSource
from tests.storage import facts
from tests.storage.projecting import Projecting, projector_of
from tests.web.fake_floor import FakeFloor


class Standing:
    """Stores at work on servers of our own, with a writer that never waits for them."""

    def __init__(self, servers: EmbeddedServers, journal: Journal, at_work: FloorStores) -> None:
        self.servers, self.journal, self.stores = servers, journal, at_work
        self.notes: list[str] = []
        self.written = 0

    async def note(self, severity: Severity, component: str, text: str) -> None:
        self.notes.append(f"{severity} {component}: {text}")
        fact = SystemNoted(at=facts.at(self.written), severity=severity, component=component, text=text)
        await self.journal.append([fact], position=0)

    async def write(self) -> None:
        """Facts without end, some five hundred a second."""
        while True:
            await self.journal.append([facts.note(self.written + n) for n in range(10)], position=self.written)
            self.written += 10
            await asyncio.sleep(0.02)

    def pid(self, kind: type[EmbeddedPostgres | EmbeddedValkey]) -> int:
        pid = next(server for server in self.servers.running if isinstance(server, kind)).pid
        assert pid is not None
        return pid

    def market_lines(self) -> list[MarketStatus]:
        return []

    def circuits(self) -> list[CircuitSnapshot]:
        return self.stores.circuits()

    def said(self, words: str) -> bool:
        return any(words in note for note in self.notes)

    async def rows_agree(self) -> None:
        """The database's rows are the journal's, one by one."""
        await until(lambda: self.stores.database().state is StoreState.OK)
        written = journal_rows(self.journal.path)
        projector = self.stores._projector
        assert projector is not None
        await until(lambda: projector.status().projected_seq >= len(written))
        assert (await database_rows(str(self.servers.database_url)))[: len(written)] == written


def journal_rows(path: Path) -> list[tuple[Any, ...]]:
    return [(r.seq, r.position, r.payload.decode(), r.prev_hash, r.hash) for r in read_rows(path)]


async def database_rows(url: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        stored = await connection.fetch("SELECT seq, position, payload::text, prev_hash, hash FROM facts ORDER BY seq")
    finally:
        await connection.close()
    return [tuple(row) for row in stored]


async def until(condition: Callable[[], bool], seconds_max: float = 20.0) -> None:
    async with asyncio.timeout(seconds_max):
        while not condition():  # noqa: ASYNC110 what is waited for is a plain value of another's
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="polybot-test-") as parent:
        Path(parent).chmod(0o755)
        yield Path(parent) / "data"


@pytest.fixture
async def standing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Standing]:
    monkeypatch.setattr(stores, "LOOK_EVERY_S", 0.05)
    async with embedded_servers(folder) as servers:
        await stores_emptied(str(servers.database_url))
        with Journal.open(tmp_path / "journal") as journal:
            at_work = await FloorStores.open(servers.database_url, servers.redis_url, journal, tmp_path)
            one = Standing(servers, journal, at_work)
            at_work.start(one, one.note)
            writing = asyncio.create_task(one.write())
            await until(lambda: at_work.database().state is StoreState.OK and at_work.redis().state is StoreState.OK)
            async with kept_running(servers.running, one.note, SystemClock().monotonic, random.Random(1)):
                yield one
            writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writing
            await at_work.close()


async def stores_emptied(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await connection.close()


# -- our own servers, killed -------------------------------------------------------------------------------------------


async def test_a_killed_postgres_is_started_again_where_it_was_and_misses_nothing(standing: Standing) -> None:
    for _ in range(3):
        dead = standing.pid(EmbeddedPostgres)
        before = standing.written
        os.kill(dead, signal.SIGKILL)
        await until(lambda: standing.stores.database().state is StoreState.DOWN)
        await until(lambda: standing.stores.database().state is StoreState.OK)
        assert standing.pid(EmbeddedPostgres) != dead
        assert standing.written > before, "facts are journaled whatever the database does"
    await standing.rows_agree()
    assert standing.said("WARNING postgresql: our own PostgreSQL was killed by SIGKILL; it is started again")
    assert standing.said("INFO postgresql: our own PostgreSQL runs again after")
    assert standing.said("for the 3. time within 5 minutes")
    assert standing.said("WARNING database: database is away since")
    await until(lambda: standing.said("facts were caught up, it has them all"))


async def test_a_killed_valkey_is_started_again_on_its_port_and_told_everything_anew(standing: Standing) -> None:
    url, dead = str(standing.servers.redis_url), standing.pid(EmbeddedValkey)
    os.kill(dead, signal.SIGKILL)
    await until(lambda: standing.said("our own Valkey runs again"))
    await until(lambda: standing.said("INFO redis: redis is back after"))
    async with redis.asyncio.Redis.from_url(url, decode_responses=True) as client:
        assert await client.get("circuit:database:state") == "closed"
    assert standing.pid(EmbeddedValkey) != dead


async def test_servers_that_hang_are_told_of_since_when_they_did_and_keep_nobody_from_ending(
    standing: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "SLOW_DATABASE_MS", 200)
    processes = [
        standing.pid(EmbeddedPostgres),
        *backends_of(standing.pid(EmbeddedPostgres)),
        standing.pid(EmbeddedValkey),
    ]
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        await until(lambda: standing.stores.database().state is StoreState.DEGRADED)
        seen = standing.stores.database()
        assert seen.detail.startswith("it has not answered for")
        assert seen.since is not None
        await until(lambda: standing.stores.redis().state is StoreState.DOWN)
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)
    await until(lambda: standing.stores.redis().state is StoreState.OK)
    await standing.rows_agree()


def backends_of(postmaster: int) -> list[int]:
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return [int(pid) for pid in children]


# -- in the middle of a transaction ------------------------------------------------------------------------------------


async def test_a_backend_killed_within_every_second_transaction_loses_and_doubles_nothing(standing: Standing) -> None:
    killed = 0

    async def kill_some(connection: Any) -> None:
        nonlocal killed
        if random.Random(killed * 7 + standing.written).random() < 0.5 and killed < 3:
            killed += 1
            backend = connection.get_server_pid()
            asyncio.get_running_loop().call_later(0.002, os.kill, backend, signal.SIGKILL)  # during COPY or after it

    standing.stores.guard_writes(kill_some)
    await until(lambda: killed == 3)
    await standing.rows_agree()


class AnswerLost:
    """A database whose every second commit goes well without anybody hearing of it."""

    def __init__(self, store: PostgresProjection) -> None:
        self._store, self.lost, self._turn = store, 0, False

    async def carry(self, genesis: bytes, choose: Choose) -> int:
        reached = await self._store.carry(genesis, choose)
        self._turn = not self._turn
        if self._turn:
            self.lost += 1
            raise ProjectionAwayError("the answer to the commit was lost")
        return reached


async def test_a_commit_whose_answer_is_lost_is_found_and_not_done_again(
    projecting: Projecting, database_url: str
) -> None:
    store = AnswerLost(PostgresProjection(projecting.pool))
    projector: Projector = projector_of(projecting.journal, projecting.pool, batch_rows=7)
    projector._store = store
    await projecting.journal.append([facts.note(n) for n in range(100)], position=0)
    assert await projector.drain(seconds_max=20) == 0
    assert store.lost >= 8
    assert await database_rows(database_url) == journal_rows(projecting.journal.path)
    outage = projector.status().outage
    assert outage is not None
    assert outage.level_at is not None


# -- bugs of our own ---------------------------------------------------------------------------------------------------


async def test_a_bug_in_each_of_the_stores_own_loops_is_told_shown_and_made_good(
    standing: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "WAIT_S_FIRST", 0.3)
    monkeypatch.setattr(upkeep, "STEADY_S", 0.2)

    async def trips(connection: Any) -> None:
        raise ZeroDivisionError("a bug")

    def trips_too(*_: object) -> list[Any]:
        raise KeyError("another bug")

    standing.stores.guard_writes(trips)
    standing.market_lines = trips_too  # type: ignore[method-assign]
    monkeypatch.setattr(store_watch.StoreWatch, "look", trips_too)
    for name in ("projector", "ticker", "stores-watch"):
        await until(lambda name=name: standing.said(f"ERROR {name}: {name} ended unexpectedly"))  # type: ignore[misc]
    database, redis_store = standing.stores.database(), standing.stores.redis()
    assert (database.state, redis_store.state) == (StoreState.DEGRADED, StoreState.DEGRADED)
    assert "ended unexpectedly: " in database.detail
    assert database.since is not None
    monkeypatch.undo()
    monkeypatch.setattr(upkeep, "STEADY_S", 0.2)
    del standing.market_lines
    standing.stores.guard_writes(nothing_amiss)
    for name in ("projector", "ticker", "stores-watch"):
        await until(lambda name=name: standing.said(f"INFO {name}: {name} runs again"))  # type: ignore[misc]
    await standing.rows_agree()


async def nothing_amiss(connection: Any) -> None:
    return


async def test_a_locked_journal_stops_the_projection_for_as_long_as_it_is_locked(
    standing: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "WAIT_S_FIRST", 0.1)
    read = Journal.hash_at
    monkeypatch.setattr(Journal, "hash_at", locked)
    await until(lambda: standing.said("ERROR projector: projector ended unexpectedly: JournalUnreadableError"))
    assert standing.stores.database().state is StoreState.DEGRADED
    assert "another program holds the file" in standing.stores.database().detail
    monkeypatch.setattr(Journal, "hash_at", read)
    monkeypatch.setattr(upkeep, "STEADY_S", 0.2)
    await standing.rows_agree()


def locked(journal: Journal, seq: int) -> bytes | None:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorname = "SQLITE_BUSY"
    raise journal_file.trouble(journal.path, seq, "SQLite cannot read it", error)


# -- away from the start, and for long ---------------------------------------------------------------------------------


async def test_a_floor_opened_without_database_and_redis_says_so_and_keeps_checkpoints_in_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(store_watch, "FILES_ONLY_AFTER_MS", 300)
    with Journal.open(tmp_path / "journal") as journal:
        url = "postgresql://polybot@127.0.0.1:1/polybot"
        at_work = await FloorStores.open(url, "redis://127.0.0.1:1", journal, tmp_path)
        one = Standing(EmbeddedServers(), journal, at_work)
        at_work.start(one, one.note)
        await until(lambda: one.said("checkpoints go to files only"))
        assert one.said("WARNING redis: redis is away since")
        await at_work.keep_checkpoint(journal.last_seq, 0, facts.at(1), b"state")
        assert list((tmp_path / "floor").glob("checkpoint-*"))
        assert {c.name: c.state is CircuitState.CLOSED for c in at_work.circuits()} == {
            "database": False,
            "redis": False,
        }
        await at_work.close()


async def test_stores_close_in_seconds_though_the_database_hangs(folder: Path, tmp_path: Path) -> None:
    async with embedded_servers(folder, valkey=False) as servers:
        await stores_emptied(str(servers.database_url))
        with Journal.open(tmp_path / "journal") as journal:
            at_work = await FloorStores.open(servers.database_url, None, journal, tmp_path)
            one = Standing(servers, journal, at_work)
            at_work.start(one, one.note)
            await until(lambda: at_work.database().state is StoreState.OK)
            postmaster = one.pid(EmbeddedPostgres)
            stopped = [postmaster, *backends_of(postmaster)]
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            try:
                await journal.append([facts.note(1)], position=0)
                await asyncio.sleep(0.2)
                started = asyncio.get_running_loop().time()
                await at_work.close()
                assert asyncio.get_running_loop().time() - started < 15
            finally:
                for pid in stopped:
                    os.kill(pid, signal.SIGCONT)


async def test_a_slow_disk_is_told_of_as_such_and_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "SLOW_DISK_S", 0.05)
    commit = Journal._commit

    def commit_slowly(journal: Journal, group: list[Any]) -> None:
        time.sleep(0.4)
        commit(journal, group)

    with Journal.open(tmp_path / "journal") as journal:
        at_work = await FloorStores.open(None, None, journal, tmp_path)
        await journal.append([facts.note(1)], position=0)
        assert at_work.journal().state is StoreState.OK
        monkeypatch.setattr(Journal, "_commit", commit_slowly)
        waiting = asyncio.ensure_future(journal.append([facts.note(2), facts.note(3)], position=0))
        await until(lambda: at_work.journal().state is StoreState.DEGRADED)
        assert "the disk is slow: 2 facts wait for it" in at_work.journal().detail
        await waiting
        assert at_work.journal().state is StoreState.OK


async def test_a_look_at_the_past_is_refused_at_once_while_the_database_is_away(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "journal") as journal:
        at_work = await FloorStores.open("postgresql://polybot@127.0.0.1:1/polybot", None, journal, tmp_path)
        one = Standing(EmbeddedServers(), journal, at_work)
        at_work.start(one, one.note)
        await until(lambda: at_work.database().state is StoreState.DOWN)
        with pytest.raises(StoreUnavailable, match=r"Postgres is away \(.*Connect"):
            await FloorSource(FakeFloor(), at_work).trades(10)
        await at_work.close()
