"""What the two embedded servers share: their errors, and one child process, from its start to its clean-up."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path

from loguru import logger

from polybot.domain.errors import PolybotError

LAUNCHER = Path(__file__).with_name("embedded_launch.py")
START_SECONDS_MAX = 60.0  # crash recovery of a small database on a slow disk included
POLL_SECONDS = 0.01
STARTS_MAX = 3
"""So often a server is started that is killed each time while its start is waited for."""
LOG_BYTES_MAX = 1_000_000
LOG_TAIL_LINES = 15
REMEDIES = (
    ("No space left on device", "The disk is full: free some space and start again."),
    ("Disk quota exceeded", "The disk quota is used up: free some space and start again."),
    (
        "has no access to",
        "Put PolyBot and its data folder where other accounts may enter (not /root), or run it as an ordinary user.",
    ),
    (
        "Permission denied",
        "The folder or a file in it belongs to another user: run as that user, or chown the data folder.",
    ),
    ("Address already in use", "Another program took the port meanwhile: start again."),
)


class EmbeddedServerError(PolybotError):
    """An embedded server can't be had; the text says what to do."""


class EmbeddedExtraMissingError(EmbeddedServerError):
    """The wheels with the servers are not installed."""


class DataFolderInUseError(EmbeddedServerError):
    """Another PolyBot, or a server that can't be stopped, works on this data folder."""


class DataFolderUnusableError(EmbeddedServerError):
    """The data folder can't be written, or holds something that this version can't open."""


class ServerStartError(EmbeddedServerError):
    """The server ended, or was not ready in time; the text ends with the tail of its log."""


class ServerKilledError(ServerStartError):
    """Somebody killed it while its start was waited for: that says nothing against it, and another start may do."""


class ServerProcess:
    """One server's child process.

    It has a session of its own, so that the terminal's Ctrl-C reaches the service alone, which then stops in order.
    """

    def __init__(self, *, name: str, log_file: Path, remedy: str = "") -> None:
        self._name = name
        self._remedy = remedy  # what to try when the log shows none of the usual troubles
        self._log_file = log_file
        self._log_offset = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self.running and self._process is not None else None

    @property
    def running(self) -> bool:
        """Whether the child was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def launch(self, command: list[str], *, folders: list[Path], death_signal: signal.Signals) -> None:
        """Start `command`, which owns `folders` and gets `death_signal` when the calling thread (the main one) dies."""
        if self._log_file.exists() and self._log_file.stat().st_size > LOG_BYTES_MAX:
            os.replace(self._log_file, self._log_file.with_suffix(".log.old"))
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(int(death_signal))]
        with self._log_file.open("ab") as log:
            self._log_offset = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *launcher,
                *map(str, folders),
                "--",
                *command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment(),
                start_new_session=True,
            )

    async def wait_until(self, ready: Callable[[], Awaitable[bool]], *, seconds_max: float = START_SECONDS_MAX) -> None:
        """Poll until ready; raises ServerStartError when the process ends first or the time is up."""
        try:
            async with asyncio.timeout(seconds_max):
                while not await ready():
                    if not self.running:
                        raise self.failure("ended at its start")
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise self.failure(f"was not ready within {seconds_max:g} s") from None

    async def wait_ended(self) -> str:
        """Wait, for as long as it runs, and say in words how it ended."""
        if self._process is None:
            return "was not started"
        status = await self._process.wait()
        return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"

    async def wait_finished(self, *, seconds_max: float = START_SECONDS_MAX) -> None:
        """Wait for a program that ends by itself; raises ServerStartError unless it succeeds in time."""
        assert self._process is not None, "launch first"
        try:
            async with asyncio.timeout(seconds_max):
                status = await self._process.wait()
        except TimeoutError:
            raise self.failure(f"had not finished within {seconds_max:g} s") from None
        if status != 0:
            raise self.failure(f"ended with status {status}")

    async def stop(self, *steps: tuple[signal.Signals, float]) -> None:
        """Send each step's signal and wait its seconds; SIGKILL after the last, or at once when we are cancelled."""
        if self._process is None:
            return
        try:
            for step_signal, seconds in steps:
                if not self.running:
                    return
                self._process.send_signal(step_signal)
                try:
                    async with asyncio.timeout(seconds):
                        await self._process.wait()
                except TimeoutError:
                    continue
        finally:
            if self.running:
                self._process.kill()
        await self._process.wait()

    def failure(self, what: str) -> ServerStartError:
        """The error for this server: what happened, what to do, where the log is and how it ends."""
        tail = self.log_tail()
        advice = next((remedy for sign, remedy in REMEDIES if sign in tail), self._remedy)
        text = f"the embedded {self._name} {what}. {advice}".rstrip()
        kind = ServerKilledError if self._was_killed else ServerStartError
        return kind(f"{text}\nEnd of {self._log_file}:\n{tail or '(nothing)'}")

    @property
    def _was_killed(self) -> bool:
        return self._process is not None and (self._process.returncode or 0) < 0

    def log_tail(self) -> str:
        """The last lines of what this launch wrote."""
        try:
            with self._log_file.open("rb") as log:
                log.seek(max(self._log_offset, self._log_file.stat().st_size - 100_000))
                text = log.read().decode(errors="replace")
        except OSError as error:
            return f"(unreadable: {error})"
        return "\n".join(text.strip().splitlines()[-LOG_TAIL_LINES:])


async def start_unless_killed(start: Callable[[], Awaitable[str]]) -> str:
    """Start a server, once more where it was killed meanwhile; its URL. Raises what the last of STARTS_MAX starts did.

    Under the running floor embedded_keeper.py does the same without an end; before there is a floor somebody waits.
    """
    for starts_left in reversed(range(STARTS_MAX)):
        try:
            return await start()
        except ServerKilledError as error:
            if starts_left == 0:
                raise
            logger.bind(action="embedded").warning("{}; it is started again", str(error).partition("\n")[0])
    raise AssertionError("unreachable: the last start returns or raises")


def wheel_folder(package: str) -> Path:
    """Where a wheel lies, without importing it (the helpers it carries do work at import)."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedExtraMissingError(
            f"{package} is not installed: pip install 'polybot[embedded]', "
            "or set POLYBOT_DATABASE_URL and POLYBOT_REDIS_URL to servers of your own"
        )
    return Path(spec.submodule_search_locations[0])


def clean_environment() -> dict[str, str]:
    """Ours, without PG* (PGDATA and PGOPTIONS would redirect the server), and with messages that we can recognize."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C"}


async def end_leftovers(folder: Path, *, programs: frozenset[str], gentle: signal.Signals) -> None:
    """Stop what an earlier, killed service left running on `folder`: gently within ten seconds, then by SIGKILL.

    Looked for in a thread: reading all of /proc takes some 30 ms, and a floor may be trading on this loop.
    """
    for step_signal, seconds in ((gentle, 10.0), (signal.SIGKILL, 5.0)):
        for pid in (leftovers := await asyncio.to_thread(running_on, folder, programs)):
            try:
                os.kill(pid, step_signal)
            except ProcessLookupError:
                continue
            except PermissionError:
                raise DataFolderInUseError(
                    f"process {pid} of another user still works on {folder}: stop it first"
                ) from None
        try:
            async with asyncio.timeout(seconds):
                # not our children: there is nothing to await
                while leftovers and await asyncio.to_thread(running_on, folder, programs):  # noqa: ASYNC110
                    await asyncio.sleep(POLL_SECONDS)
            return
        except TimeoutError:
            continue
    raise DataFolderInUseError(f"process {running_on(folder, programs)} still works on {folder} and can't be stopped")


def running_on(folder: Path, programs: frozenset[str]) -> list[int]:
    """The processes of these programs with `folder` as an argument.

    By command line and not by pid file, whose pid another program may have by now; nor by /proc/PID/cwd, which root
    in a container (no CAP_SYS_PTRACE) can't read of nobody's processes.
    """
    wanted = os.fsencode(folder)
    return [
        pid
        for pid, arguments in command_lines()
        if arguments and os.fsdecode(os.path.basename(arguments[0])) in programs and wanted in arguments
    ]


def command_lines() -> list[tuple[int, list[bytes]]]:
    """Every process with its command line: /proc on Linux, ps elsewhere (where a folder with blanks goes unseen)."""
    if not Path("/proc/self/cmdline").exists():
        listing = subprocess.run(["ps", "-axww", "-o", "pid=,args="], capture_output=True, check=True).stdout
        return [(int(words[0]), words[1:]) for line in listing.splitlines() if (words := line.split())]
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                found.append((int(entry.name), Path(entry.path, "cmdline").read_bytes().split(b"\0")))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it ended meanwhile, or is hidden from us and so not ours
    return found


def unusable(folder: Path, error: OSError) -> DataFolderUnusableError:
    """The named error for a data folder that the operating system keeps from us."""
    remedy = (
        "free some space"
        if error.errno in (errno.ENOSPC, errno.EDQUOT)
        else "choose a data folder that this user may write"
    )
    return DataFolderUnusableError(f"the data folder {folder} can't be used: {error}; {remedy}")
