"""After the last kill: journal, database, venue and the service's own page, compared row by row."""

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from polybot.chaos.real_books import Books, retell
from polybot.circuit import Circuit
from polybot.clock import SystemClock
from polybot.domain.events import MarketListed, MarketResolved
from polybot.domain.ids import MarketId
from polybot.domain.units import Money, Price
from polybot.floor.status import FloorStatus
from polybot.paths import migrations_dir
from polybot.recovery import MEMORY_VERSION, Recovered, decode_memory, new_memory, recover
from polybot.runs import FLOOR_FOLDER
from polybot.settings import Settings, load_plans
from polybot.storage import checkpoint, postgres
from polybot.storage.journal import Journal
from polybot.storage.migrate import migrate
from polybot.storage.projection_postgres import PostgresProjection
from polybot.storage.projector import DATABASE_CIRCUIT, Projector
from polybot.storage.tape import TapeReader

if TYPE_CHECKING:
    from polybot.storage.postgres import Pool

NOT_PROJECTED = frozenset({"checkpoints", "schema_migrations", "leadership", "standbys"})
"""Tables that are not made from the journal's facts, and differ from database to database."""
BATCH_ROWS = 2_000
FRESH = "chaos_fresh"
SELECT_FACTS = """
SELECT seq, position, payload::text AS payload, prev_hash, hash FROM facts WHERE seq > $1 ORDER BY seq LIMIT $2
"""
SELECT_TABLES = """
SELECT table_name FROM information_schema.tables
 WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY table_name
"""


class Compared(msgspec.Struct, kw_only=True):
    """How much was compared and what differed, in words with the place."""

    rows: int = 0
    tables: int = 0
    findings: list[str] = []


def windows_of(settings: Settings) -> dict[MarketId, Price]:
    """Every market of the tape, with what a share of Up paid."""
    paid: dict[MarketId, Price] = {}
    for event in TapeReader(settings.tape).events():
        if isinstance(event, MarketListed):
            paid.setdefault(event.market.id, Price(-1))
        elif isinstance(event, MarketResolved):
            paid[event.market] = event.payout_up
    return paid


async def compare_all(
    settings: Settings, journal: Journal, database_url: str, status: FloorStatus
) -> tuple[Books, Compared]:
    """Everything, of a run that has ended on `settings.data_dir`; `status` is what its page said last."""
    windows = windows_of(settings)
    books = retell(journal.read(), windows)
    compared = Compared(findings=list(books.findings))
    compared.findings += page_findings(status, books, len(windows))
    compared.findings += await venue_findings(settings, journal, books)
    async with _pool(database_url) as pool, fresh_projection(journal, database_url) as fresh:
        await compare_facts(journal, pool, compared)
        await compare_tables(pool, fresh, compared)
    return books, compared


# -- the service's own word -------------------------------------------------------------------------------------------


def page_findings(status: FloorStatus, books: Books, windows: int) -> Iterator[str]:
    """The page of the finished floor against the sums over the facts."""
    cash = sum(books.cash.values())
    said = {
        "cash": (status.cash, cash),
        "equity": (status.equity, cash),
        "profit": (status.pnl, books.pnl),
        "exposure": (status.exposure, 0),
        "capital": (status.capital, books.capital),
        "trades": (status.trades, books.trades),
        "windows": (status.windows_settled, windows),
    }
    for name, (page, facts) in said.items():
        if page != facts:
            yield f"page: {name} is {page}, the facts say {facts}"


# -- the venue --------------------------------------------------------------------------------------------------------


async def venue_findings(settings: Settings, journal: Journal, books: Books) -> list[str]:
    """The venue's account and the desks, recovered from the journal alone and from the newest checkpoint."""
    folder = settings.data_dir / FLOOR_FOLDER
    kept = await checkpoint.newest(folder, None, version=MEMORY_VERSION, hash_at=journal.hash_at)
    told = [("from the journal", _recover(settings, journal, None))]
    if kept.checkpoint is not None:
        told.append(("from a checkpoint", _recover(settings, journal, kept.checkpoint.state)))
    findings = [f"checkpoint: {warning}" for warning in kept.warnings]
    cash = Money(sum(books.cash.values()))
    for how, was in told:
        account = was.paper_venue(settings.venue.model(settings.seed)).state.account
        desks = {agent: desk.state.cash for agent, desk in was.room.desks.items()}
        if account.cash != cash or account.shares or account.reserved or account.reserved_shares:
            findings.append(f"venue, {how}: {account}; the facts say cash of {cash} and nothing else")
        if desks != books.cash:
            findings.append(f"desks, {how}: {desks}; the facts say {books.cash}")
        if any(desk.state.orders or desk.state.holdings for desk in was.room.desks.values()):
            findings.append(f"desks, {how}: orders or holdings are left")
    return findings


def _recover(settings: Settings, journal: Journal, kept: bytes | None) -> Recovered:
    memory = new_memory(settings.capital_money) if kept is None else decode_memory(kept)
    return recover(
        memory,
        journal.read(memory.seq),
        TapeReader(settings.tape).events(),
        load_plans(settings),
        settings.limits.limits(),
    )


# -- the database -----------------------------------------------------------------------------------------------------


async def compare_facts(journal: Journal, pool: "Pool", compared: Compared) -> None:
    """Each row of the journal against the row of that number in `facts`, both ways, to the first that differs."""
    rows = journal.read_rows()
    reached = 0
    while batch := await pool.fetch(SELECT_FACTS, reached, BATCH_ROWS):
        for there in batch:
            here = next(rows, None)
            stored = (there["seq"], there["position"], there["payload"].encode(), there["prev_hash"], there["hash"])
            if here is None or stored != (here.seq, here.position, here.payload, here.prev_hash, here.hash):
                wanted = "no further row" if here is None else f"row {here.seq}: {here.payload.decode()}"
                compared.findings.append(f"facts: has row {stored[0]}: {there['payload']}; the journal has {wanted}")
                return
            compared.rows += 1
        reached = batch[-1]["seq"]
    if (left := next(rows, None)) is not None:
        compared.findings.append(f"facts: ends at row {reached}; the journal goes on with row {left.seq}")


async def compare_tables(pool: "Pool", fresh: "Pool", compared: Compared) -> None:
    """Every projected table against that of a database into which the same journal was projected in one go."""
    tables = [row["table_name"] for row in await fresh.fetch(SELECT_TABLES)]
    here = [row["table_name"] for row in await pool.fetch(SELECT_TABLES)]
    if tables != here:
        compared.findings.append(f"the database has tables {here}, a fresh one {tables}")
        return
    for table in tables:
        if table in NOT_PROJECTED:
            continue
        compared.tables += 1
        select = f"SELECT t::text AS line FROM {table} t ORDER BY 1"  # noqa: S608 - the database's own name of it
        stored, wanted = [[row["line"] for row in await side.fetch(select)] for side in (pool, fresh)]
        compared.rows += len(wanted)
        if stored != wanted:
            extra, missing = sorted(set(stored) - set(wanted)), sorted(set(wanted) - set(stored))
            compared.findings.append(
                f"{table}: {len(stored)} rows, {len(wanted)} expected; too many: {extra[:1]}, missing: {missing[:1]}"
            )


@asynccontextmanager
async def fresh_projection(journal: Journal, database_url: str) -> "AsyncIterator[Pool]":
    """A new database on the same server with the whole journal in it; dropped afterwards."""
    parts = urlsplit(database_url)
    admin_url = parts._replace(netloc=parts.netloc.replace("polybot@", "postgres@", 1), path="/postgres").geturl()
    async with _pool(admin_url) as admin:
        await admin.execute(f"DROP DATABASE IF EXISTS {FRESH} WITH (FORCE)")
        await admin.execute(f"CREATE DATABASE {FRESH} OWNER polybot")
        try:
            async with _pool(parts._replace(path=f"/{FRESH}").geturl()) as fresh:
                await project_all(journal, fresh)
                yield fresh
        finally:
            await admin.execute(f"DROP DATABASE IF EXISTS {FRESH} WITH (FORCE)")


async def project_all(journal: Journal, pool: "Pool") -> None:
    """Carry the whole journal into an empty database."""
    clock, chance = SystemClock(), random.Random(1)
    store = PostgresProjection(pool, prepare=partial(migrate, folder=migrations_dir()))
    projector = Projector(journal, store, clock, Circuit("fresh", DATABASE_CIRCUIT, chance, clock.now_ms()), chance)
    while await projector.project_batch():
        pass


@asynccontextmanager
async def _pool(url: str) -> "AsyncIterator[Pool]":
    pool = await postgres.open_pool(url, connections_max=2)
    try:
        yield pool
    finally:
        await pool.close()
