"""What befalls disk and database, from the plan of a seed: slow and failing syncs, torn writes, damage, loss.

Damage and loss come between two lives, where the next start must find them. What only a copy can mend is done only when
there is one: losing both is not survived, and not promised.
"""

from collections.abc import Callable

import msgspec

from polybot.chaos.disk import SimDisk, Sync
from polybot.chaos.faults import Faults
from polybot.chaos.loop import NEVER
from polybot.chaos.stores import SimDatabase
from polybot.domain.units import Millis
from polybot.storage.checkpoint import CheckpointError, decode_file, encode_file

FULL = "database or disk is full (SQLITE_FULL); the disk is full: free some space and start again"
READ_ONLY = "attempt to write a readonly database (SQLITE_READONLY); the file or disk is read-only: make it writable"


class DiskFaults:
    """`plant` it once in a world, and call `between_lives` after each end of a process."""

    def __init__(self, faults: Faults, true_ms: Callable[[], Millis]) -> None:
        self._faults, self._true_ms = faults, true_ms
        self._syncs = 0
        self._dealt_with: dict[str, int] = {}

    def plant(self, disk: SimDisk, database: SimDatabase) -> None:
        self._disk, self._database = disk, database
        self._usual_sync, self._usual_kept_share = disk.next_sync, disk.kept_share
        disk.next_sync, disk.kept_share = self._next_sync, self._kept_share

    def _next_sync(self) -> Sync:
        self._syncs += 1
        now, subject = self._true_ms(), f"sync {self._syncs}"
        if self._faults.episode("disk_full", now) is not None:
            self._faults.note("disk_full", subject)
            return Sync(error=FULL)
        if self._faults.episode("disk_readonly", now) is not None:
            self._faults.note("disk_readonly", subject)
            return Sync(error=READ_ONLY)
        if self._faults.strikes("disk_hang", now, subject):
            return Sync(seconds=NEVER)
        slow_s = self._faults.intensity("disk_slow", now)
        if slow_s is None:
            return self._usual_sync()
        self._faults.note("disk_slow", subject)
        return Sync(seconds=slow_s * (0.5 + self._faults.draw("disk_slow", subject)))

    def _kept_share(self) -> float:
        intensity = self._due("disk_torn_write")
        if intensity is None:
            return self._usual_kept_share()
        self._faults.note("disk_torn_write", f"{intensity:.2f} kept")
        return intensity

    def between_lives(self) -> None:
        """Nobody has the files open: what was planned until now happens to them."""
        self._harm_checkpoints()
        if self._due("store_postgres_wiped") is not None:
            self._faults.note("store_postgres_wiped")
            self._database.wipe()
        intensity = self._due("disk_damage")
        copied = min(len(self._database.rows), len(self._disk.rows))
        if intensity is not None and copied and self._is_one_history():
            seq = 1 + int(intensity * (copied - 1))
            self._faults.note("disk_damage", f"row {seq}")
            self._disk.flip_bit(seq)
        if self._due("disk_lost") is not None and self._database_has_all():
            self._faults.note("disk_lost")
            self._disk.lose_folder()

    def _harm_checkpoints(self) -> None:
        for name, harm in HARMS.items():
            intensity = self._due(name)
            newest = max(self._disk.files, default=None)
            if intensity is None or newest is None:
                continue
            self._faults.note(name, newest)
            content = harm(self._disk.files.pop(newest), intensity)
            if content:
                self._disk.files[newest] = content

    def _is_one_history(self) -> bool:
        return self._database.genesis == self._disk.genesis

    def _database_has_all(self) -> bool:
        """Also of what is in the log: it may be a whole transaction."""
        return self._is_one_history() and len(self._database.rows) == len(self._disk.rows) and not self._disk.log

    def _due(self, name: str) -> float | None:
        """The intensity of the next episode that has begun and was not dealt with; each comes once."""
        done = self._dealt_with.get(name, 0)
        episodes = self._faults.of(name)
        if done >= len(episodes) or episodes[done].start_ms > self._true_ms():
            return None
        self._dealt_with[name] = done + 1
        return episodes[done].intensity


def torn(content: bytes, share: float) -> bytes:
    """The end of the file is missing."""
    return content[: int(share * (len(content) - 1))]


def flipped(content: bytes, place: float) -> bytes:
    """One bit is wrong."""
    harmed = bytearray(content)
    harmed[int(place * (len(content) - 1))] ^= 1 << int(place * 7)
    return bytes(harmed)


def of_a_newer_version(content: bytes, _: float) -> bytes:
    """Whole, and written by a later PolyBot: somebody went back to an older one."""
    try:
        one = decode_file(content)
    except CheckpointError:
        return content
    return encode_file(msgspec.structs.replace(one, version=one.version + 1))


def gone(_content: bytes, _: float) -> bytes:
    """Nothing is left of it."""
    return b""


HARMS: dict[str, Callable[[bytes, float], bytes]] = {
    "checkpoint_torn": torn,
    "checkpoint_damaged": flipped,
    "checkpoint_newer": of_a_newer_version,
    "checkpoint_gone": gone,
}
