"""One Postgres and one Valkey for all storage tests, started when first asked for; a fresh database for each test."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from polybot.paths import migrations_dir
from polybot.storage.embedded import EmbeddedServers, embedded_servers
from polybot.storage.migrate import migrate
from polybot.storage.postgres import open_pool
from tests.storage.projecting import Projecting

DATABASE_NUMBERS = count(1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal can be made."""
    return tmp_path / "floor" / "journal.sqlite"


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """With a short path, as sockets need it, which every user may enter."""
    with tempfile.TemporaryDirectory(prefix="polybot-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "data"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers(servers_folder: Path) -> AsyncIterator[EmbeddedServers]:
    async with embedded_servers(servers_folder) as running:
        yield running


@pytest.fixture
def redis_url(servers: EmbeddedServers) -> str:
    assert servers.redis_url is not None
    return servers.redis_url


@pytest.fixture
def admin_url(servers: EmbeddedServers) -> str:
    """The server's own superuser, for what a test does to a database behind PolyBot's back."""
    assert servers.database_url is not None
    return of_database(servers.database_url, "postgres").replace("polybot@", "postgres@", 1)


@pytest.fixture
async def empty_url(servers: EmbeddedServers, admin_url: str) -> AsyncIterator[str]:
    """An empty database of the test's own."""
    name = f"test_{next(DATABASE_NUMBERS)}"
    await administer(admin_url, f"CREATE DATABASE {name} OWNER polybot")
    assert servers.database_url is not None
    yield of_database(servers.database_url, name)
    await administer(admin_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database_url(empty_url: str) -> str:
    """A database with the floor's schema."""
    connection = await asyncpg.connect(empty_url)
    try:
        await migrate(connection, migrations_dir())
    finally:
        await connection.close()
    return empty_url


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def projecting(tmp_path: Path, pool: asyncpg.Pool) -> Iterator[Projecting]:
    """A journal with a projector on the test's database."""
    made = Projecting(tmp_path / "journal.sqlite", pool)
    yield made
    made.journal.close()


async def administer(admin_url: str, *statements: str) -> None:
    connection = await asyncpg.connect(admin_url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def of_database(url: str, name: str) -> str:
    """The same server's other database."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()
