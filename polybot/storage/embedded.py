"""Servers of our own, for a machine that has none: PostgreSQL and Valkey from wheels, in the data folder.

    postgres.log, valkey.log      what they say           postgres/, valkey/    what they keep
    servers.lock                  who uses the folder     servers.txt           how a person looks in, while they run

They live as long as the service. Ended in order, it stops them. Killed, it takes them along: on Linux the kernel
signals them (embedded_launch.py), and everywhere the next start stops whatever is left before it starts its own.
"""

import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from polybot.storage.embedded_keeper import KeptServer
from polybot.storage.embedded_postgres import EmbeddedPostgres
from polybot.storage.embedded_process import (
    DataFolderInUseError,
    DataFolderUnusableError,
    EmbeddedExtraMissingError,
    EmbeddedServerError,
    ServerStartError,
    start_unless_killed,
    unusable,
)
from polybot.storage.embedded_valkey import EmbeddedValkey

__all__ = [
    "DataFolderInUseError",
    "DataFolderUnusableError",
    "EmbeddedExtraMissingError",
    "EmbeddedPostgres",
    "EmbeddedServerError",
    "EmbeddedServers",
    "EmbeddedValkey",
    "ServerStartError",
    "embedded_servers",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedServers:
    """Where the servers are; None for one that was not asked for."""

    database_url: str | None = None
    redis_url: str | None = None
    psql_command: str | None = None
    redis_cli_command: str | None = None
    running: tuple[KeptServer, ...] = ()
    """What `embedded_keeper` keeps running."""


@asynccontextmanager
async def embedded_servers(
    data_folder: Path, *, postgres: bool = True, valkey: bool = True
) -> AsyncIterator[EmbeddedServers]:
    """Run the servers while the block runs. Call it from the main thread: the kernel ends them with their caller's.

    Raises an EmbeddedServerError, whose text says what to do: DataFolderInUseError, DataFolderUnusableError,
    EmbeddedExtraMissingError, ServerStartError.
    """
    folder = prepared(data_folder)
    with folder_lock(folder):
        async with AsyncExitStack() as stack:
            try:
                servers = await start_servers(folder, stack, postgres=postgres, valkey=valkey)
            except OSError as error:
                raise unusable(folder, error) from error
            yield servers


async def start_servers(folder: Path, stack: AsyncExitStack, *, postgres: bool, valkey: bool) -> EmbeddedServers:
    """Start what is asked for; `stack` stops each of them, the last one first."""
    database_url = redis_url = psql_command = redis_cli_command = None
    running: list[KeptServer] = []
    if valkey:
        bus = EmbeddedValkey(folder)
        redis_url = await start_unless_killed(bus.start)
        stack.push_async_callback(bus.stop)
        running.append(bus)
        redis_cli_command = bus.redis_cli_command
    if postgres:
        database = EmbeddedPostgres(folder)
        database_url = await start_unless_killed(database.start)
        stack.push_async_callback(database.stop)
        running.append(database)
        psql_command = database.psql_command
    note = folder / "servers.txt"
    note.write_text("".join(f"{command}\n" for command in (psql_command, redis_cli_command) if command))
    stack.callback(note.unlink, missing_ok=True)
    return EmbeddedServers(
        database_url=database_url,
        redis_url=redis_url,
        psql_command=psql_command,
        redis_cli_command=redis_cli_command,
        running=tuple(running),
    )


def prepared(data_folder: Path) -> Path:
    """The folder, made where missing, by its one true path: leftovers are recognized by it."""
    try:
        data_folder.mkdir(parents=True, exist_ok=True)
        return data_folder.resolve(strict=True)
    except OSError as error:
        raise unusable(data_folder, error) from error


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; a flock is never stale, as the kernel frees it when its holder dies."""
    try:
        descriptor = os.open(folder / "servers.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(folder, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode().strip() or "unknown"
            raise DataFolderInUseError(
                f"another PolyBot (process {holder}) runs its servers in {folder}: stop it, or choose another folder"
            ) from None
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        except OSError as error:
            raise unusable(folder, error) from error
        yield
    finally:
        os.close(descriptor)
