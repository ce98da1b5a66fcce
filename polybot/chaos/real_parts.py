"""The real processes that are struck: the service, a PostgreSQL and a Valkey, each with what brings it back."""

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

from polybot.chaos.real_plan import Target
from polybot.domain.errors import PolybotError
from polybot.storage.embedded import EmbeddedPostgres, EmbeddedValkey, embedded_servers
from polybot.storage.embedded_process import running_on
from polybot.storage.embedded_valkey import is_free

STOP_SECONDS_MAX = 40.0
PROGRAMS = {Target.DATABASE: frozenset({"postgres"}), Target.CACHE: frozenset({"valkey-server"})}
PORTS = range(20_000, 30_000)
"""Valkey's, below those that systems give out: it must be free again after each kill."""
FOLDERS = {Target.DATABASE: "postgres", Target.CACHE: "valkey"}


class ChaosError(PolybotError):
    """The chaos itself cannot go on; it says nothing about the floor."""


class ServiceFault(PolybotError):
    """The service did what it must not: ended by itself, or did not come back. The text says which, with its log."""


class Service:
    """`polybot run` on `data`, a child process; its log and what it prints go to files beside the folder."""

    def __init__(self, data: Path, environment: Mapping[str, str]) -> None:
        self.data, self._environment = data, dict(environment)
        self.log = data.with_name(f"{data.name}.log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """While it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def launch(self, *, speed: float, **settings: str) -> None:
        command = [sys.executable, "-m", "polybot", "run", "--speed", f"{speed:g}", "--port", "0"]
        environment = self._environment | {"POLYBOT_LOG_FORMAT": "json"} | settings
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """SIGKILL, and nothing left of it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def stop(self) -> int:
        """Ask it to stop in order; its exit code. Raises ServiceFault when it does not."""
        if self._process is None:
            raise ChaosError("there is no service to stop")
        self._process.send_signal(signal.SIGINT)
        code = await asyncio.to_thread(self._wait)
        if code is None:
            raise ServiceFault(f"the service did not stop within {STOP_SECONDS_MAX:g} s\n{self.log_tail()}")
        return code

    def _wait(self) -> int | None:
        assert self._process is not None
        try:
            return self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            return None

    def log_tail(self, lines: int = 25) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"end of {self.log}:\n" + "\n".join(text.splitlines()[-lines:])


class Servers(Protocol):
    """Where database and cache come from in one round."""

    name: str

    @property
    def settings(self) -> dict[str, str]:
        """What the service is told of them."""
        ...

    def pids(self, target: Target) -> list[int]:
        """The server's own process first, then its children; empty while it is away."""
        ...

    async def restore(self, target: Target) -> None:
        """Bring back a killed server, where that is not the service's own affair."""
        ...

    def start_seconds(self) -> float:
        """What of the service's newest start went into starting its own servers."""
        ...

    def database(self) -> AbstractAsyncContextManager[str]:
        """The database's URL while the block runs, after the service has stopped."""
        ...


class OutsideServers:
    """Servers that outlive the service, as in a compose file: whoever kills one starts it again."""

    name = "outside servers"

    def __init__(self, folder: Path, chance: random.Random) -> None:
        note = folder / FOLDERS[Target.CACHE] / "port"
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(str(next(port for port in iter(lambda: chance.choice(PORTS), 0) if is_free(port))))
        self._postgres, self._valkey = EmbeddedPostgres(folder), EmbeddedValkey(folder)
        self._started = False

    @property
    def settings(self) -> dict[str, str]:
        return {
            "POLYBOT_DATABASE_URL": self._postgres.url(),
            "POLYBOT_REDIS_URL": self._valkey.url,
            "POLYBOT_EMBEDDED": "never",
        }

    def pids(self, target: Target) -> list[int]:
        server = self._postgres if target is Target.DATABASE else self._valkey
        return with_children(server.pid)

    async def restore(self, target: Target) -> None:
        before = self._valkey.url
        await (self._postgres.start() if target is Target.DATABASE else self._valkey.start())
        if self._started and self._valkey.url != before:
            raise ChaosError("another program took Valkey's port while it was away: try again")
        self._started = self._started or target is Target.CACHE

    def start_seconds(self) -> float:
        return 0.0

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        yield self._postgres.url()

    async def stop(self) -> None:
        await self._postgres.stop()
        await self._valkey.stop()


class OwnServers:
    """The service's embedded ones: killed with it or under it, and its own to bring back."""

    name = "own servers"

    def __init__(self, data: Path) -> None:
        self._folder = data.resolve() / "servers"

    @property
    def settings(self) -> dict[str, str]:
        return {}

    def pids(self, target: Target) -> list[int]:
        found = running_on(self._folder / FOLDERS[target], PROGRAMS[target])
        return with_children(found[0]) if found else []

    async def restore(self, target: Target) -> None:
        return

    def start_seconds(self) -> float:
        """From taking the folder's lock to the note for people, which is written when both are up."""
        try:
            taken, up = ((self._folder / name).stat().st_mtime for name in ("servers.lock", "servers.txt"))
        except FileNotFoundError:
            return 0.0
        return max(0.0, up - taken)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        async with embedded_servers(self._folder, valkey=False) as servers:
            assert servers.database_url is not None, "asked for"
            yield servers.database_url


def with_children(pid: int | None) -> list[int]:
    """A process and its direct children; empty where there is none."""
    if pid is None:
        return []
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [pid, *map(int, text.split())]
