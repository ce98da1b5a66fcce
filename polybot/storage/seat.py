"""A data folder held by one process, and how to tell that the process which held a lease has ended (0004-one-floor.md).

Two proofs of death, both of which hold only on the same running kernel, whose boot id is therefore part of them:
* we hold the folder's lock, and the dead one held the same lock (device and inode) for as long as it lived;
* we see all processes that it saw (the same pid namespace), and its pid is free or was given to one started later.
"""

import fcntl
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from polybot.domain.errors import PolybotError

LOCK_NAME = "floor.lock"
PID_BYTES_MAX = 20
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
START_FIELD = 22  # of /proc/PID/stat, in clock ticks since the boot; proc_pid_stat(5)
STATE_FIELD = 3
ENDED_STATES = ("Z", "X")  # a zombie runs no more
SUSPENDED_STATES = ("T", "t")


class SeatTakenError(PolybotError):
    """Another process runs its floor on this data folder; `holder` is its pid as far as it is known."""

    def __init__(self, data_dir: Path, holder: str) -> None:
        text = f"a floor is running on {data_dir} (process {holder})"
        if holder.isdecimal() and state_of(int(holder)) in SUSPENDED_STATES:
            text += f", but it is suspended and does nothing: `kill -9 {holder}` is safe, and frees the folder"
        super().__init__(text)
        self.holder = holder


class SeatUnusableError(PolybotError):
    """The data folder cannot be used; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who holds a lease: `holder` for people and unlike any other, `seat` and `process` for the proofs of death."""

    holder: str
    seat: str
    process: str


class Seat:
    """The folder's lock, held until `close` or our end, however that comes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        found = os.fstat(descriptor)
        self.identity = Identity(
            holder=f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}",
            seat=f"{boot_id()}/{found.st_dev}:{found.st_ino}",
            process=f"{boot_id()}/{pid_namespace()}/{os.getpid()}:{started_ticks(os.getpid())}",
        )

    def close(self) -> None:
        os.close(self._descriptor)

    def proves_dead(self, seat: str, process: str) -> bool:
        """Whether the holder of `seat`, which ran as `process`, cannot be running any more."""
        return seat == self.identity.seat or has_ended(process)


def take_seat(data_dir: Path) -> Seat:
    """Take the folder for this process. Raises SeatTakenError while another holds it, SeatUnusableError."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SeatUnusableError(f"the data folder {data_dir} can't be used: {error}; choose another folder") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except BlockingIOError:
        holder = os.pread(descriptor, PID_BYTES_MAX, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise SeatTakenError(data_dir, holder) from None
    except OSError as error:
        os.close(descriptor)
        raise SeatUnusableError(f"the data folder {data_dir} can't be used: {error}; check the disk") from error
    return Seat(descriptor)


def has_ended(process: str) -> bool:
    """Whether a process named as in `Identity.process` has ended; False wherever that cannot be proven from here."""
    where, _, name = process.rpartition("/")
    pid, _, started = name.partition(":")
    if where != f"{boot_id()}/{pid_namespace()}" or not pid.isdecimal() or not started.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)  # asks only; /proc may hide other users' processes, this does not
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it runs, as another user
    except OverflowError:
        return False
    return started_ticks(int(pid)) not in (int(started), None)


def started_ticks(pid: int) -> int | None:
    """When the process was started, in ticks since the boot; 0 for a zombie, None where that cannot be read."""
    fields = _stat(pid)
    if fields is None:
        return None
    return 0 if fields[STATE_FIELD - 3] in ENDED_STATES else int(fields[START_FIELD - 3])


def state_of(pid: int) -> str | None:
    """The kernel's letter for what the process does; None where that cannot be read."""
    fields = _stat(pid)
    return None if fields is None else fields[STATE_FIELD - 3]


def _stat(pid: int) -> list[str] | None:
    """/proc/PID/stat from its third field on: the second is the program's name, which may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def boot_id() -> str:
    """This boot of this kernel; where none is to be had, drawn anew each time: then nothing is ever proven."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return os.urandom(8).hex()


def pid_namespace() -> str:
    """Where our pids mean what they say; drawn anew each time where that is not to be had."""
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return os.urandom(8).hex()
