"""One connection to the account's row and its advisory lock: looks, takes over, renews. It decides nothing (lease.py).

The lock is the session's own, so that it frees itself with the connection; the epoch is what the leader's writes are
checked against, so that it holds even where a lock was lost unseen.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg
import msgspec

from polybot.domain.units import Millis
from polybot.storage.lease import STANDBY_KNOWN_S, TRY_SECONDS_MAX
from polybot.storage.postgres import OUTAGES, SERVER_SETTINGS
from polybot.storage.seat import Identity

if TYPE_CHECKING:
    from polybot.storage.postgres import Connection

    LeaderConnection = asyncpg.Connection[asyncpg.Record]
    Prepare = Callable[[Connection], Awaitable[object]]

LOCK_TRIES_MAX = 20
LOCK_RETRY_S = 0.05
SETTINGS = SERVER_SETTINGS | {
    "application_name": "polybot leadership",
    "lock_timeout": "500ms",
    "statement_timeout": f"{TRY_SECONDS_MAX:g}s",
}

LOOK = """
SELECT epoch, beat, holder, seat, process, released, millis(led_since) AS led_since, millis(renewed_at) AS renewed_at
  FROM leadership WHERE account = $1
"""
REGISTER = """
INSERT INTO standbys (account, holder) VALUES ($1, $2)
ON CONFLICT (account, holder) DO UPDATE SET seen_at = clock_timestamp()
RETURNING registered_at > (SELECT renewed_at FROM leadership WHERE account = $1) AS unseen
"""
WITHDRAW = """
DELETE FROM standbys
 WHERE account = $1 AND (holder = $2 OR seen_at < clock_timestamp() - interval '1 hour')
"""
TRY_LOCK = "SELECT pg_try_advisory_lock($1)"
UNLOCK = "SELECT pg_advisory_unlock($1)"
TAKE = """
INSERT INTO leadership AS row (account, epoch, holder, seat, process, backend)
VALUES ($1, $2 + 1, $4, $5, $6, pg_backend_pid())
ON CONFLICT (account) DO UPDATE
   SET epoch = excluded.epoch, beat = 0, holder = excluded.holder, seat = excluded.seat, process = excluded.process,
       backend = excluded.backend, released = false, led_since = clock_timestamp(), renewed_at = clock_timestamp()
 WHERE row.epoch = $2 AND row.beat = $3
RETURNING epoch
"""
RENEW = """
UPDATE leadership SET beat = beat + 1, renewed_at = clock_timestamp(), backend = pg_backend_pid()
 WHERE account = $1 AND epoch = $2
RETURNING EXISTS (SELECT FROM standbys
                   WHERE account = $1 AND holder <> $3 AND seen_at > clock_timestamp() - make_interval(secs => $4))
"""
RESTORE = """
INSERT INTO leadership (account, epoch, holder, seat, process, backend) VALUES ($1, $2, $3, $4, $5, pg_backend_pid())
ON CONFLICT (account) DO NOTHING RETURNING epoch
"""
RELEASE = "UPDATE leadership SET released = true, beat = beat + 1 WHERE account = $1 AND epoch = $2"
HOLD_EPOCH = "SELECT epoch FROM leadership WHERE account = $1 AND epoch = $2 FOR KEY SHARE"
SELECT_EPOCH = "SELECT epoch FROM leadership WHERE account = $1"
# The old leader's session, if it has the lock still, and whoever is within a transaction that holds a row of
# `leadership` (see 0002_leadership.sql). Not another candidate that has just got the lock.
END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_locks
 WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()
   AND (locktype = 'relation' AND relation = 'leadership'::regclass AND mode = 'RowShareLock'
        OR locktype = 'advisory' AND classid::bigint = $1 AND objid::bigint = $2 AND objsubid = 1 AND granted
           AND pid = (SELECT backend FROM leadership WHERE account = $3 AND epoch = $4))
"""


class LeaseRow(msgspec.Struct, frozen=True, kw_only=True):
    """The account's row as it stands. Times are the database's, in UTC milliseconds, and for people only."""

    epoch: int
    beat: int
    holder: str
    seat: str
    process: str
    released: bool
    led_since: Millis
    renewed_at: Millis


class LeaderSession:
    """Connects when first asked. Every method but the closing ones raises one of OUTAGES while Postgres is away."""

    def __init__(self, url: str, account: str, me: Identity, prepare: "Prepare") -> None:
        """`prepare` makes the tables where there are none (migrate)."""
        self._url, self.account, self.me, self._prepare = url, account, me, prepare
        self._key = lock_key(account)
        self._connection: LeaderConnection | None = None
        self._locked = False

    @property
    def is_open(self) -> bool:
        """Whether there is a connection from before, as far as we know."""
        return self._connection is not None and not self._connection.is_closed()

    async def look(self) -> LeaseRow | None:
        """The account's row, None where nobody has led it."""
        connection = await self._connected()
        try:
            row = await connection.fetchrow(LOOK, self.account)
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError):
            await self._prepare(connection)
            row = await connection.fetchrow(LOOK, self.account)
        return None if row is None else LeaseRow(**dict(row))

    async def register(self) -> bool:
        """Be known as a standby. True while the leader has not renewed since: it does not know of us yet."""
        connection = await self._connected()
        return bool(await connection.fetchval(REGISTER, self.account, self.me.holder))

    async def withdraw(self) -> None:
        """Be no standby any more."""
        connection = await self._connected()
        await connection.execute(WITHDRAW, self.account, self.me.holder)

    async def take(self, epoch: int, beat: int) -> int | None:
        """Raise the epoch if the row is as it was seen. The new epoch; None when somebody was faster.

        Ends the old leader's sessions where they stand in the way: whoever asks has made sure that its lease is over.
        """
        connection = await self._connected()
        if not await self._lock(connection):
            await self._end_sessions(connection, epoch)
            if not await self._lock(connection, tries=LOCK_TRIES_MAX):
                return None
        me = self.me
        values = (self.account, epoch, beat, me.holder, me.seat, me.process)
        try:
            taken = await connection.fetchval(TAKE, *values)
        except asyncpg.LockNotAvailableError:  # a transaction of the old leader's still holds the row
            await self._end_sessions(connection, epoch)
            taken = await connection.fetchval(TAKE, *values)
        if taken is None:
            await connection.execute(UNLOCK, self._key)
            self._locked = False
            return None
        await connection.execute(WITHDRAW, self.account, me.holder)
        return int(taken)

    async def renew(self, epoch: int) -> bool | None:
        """Renew the lease and keep the lock. Whether a standby is known; None when the epoch is not ours any more."""
        connection = await self._connected()
        if not self._locked:
            await self._lock(connection)  # after a reconnection; that it is ours is told by the epoch, not by this
        row = await connection.fetchrow(RENEW, self.account, epoch, self.me.holder, STANDBY_KNOWN_S)
        return None if row is None else bool(row[0])

    async def restore(self, epoch: int) -> bool:
        """Write the row anew where there is none: the database was emptied under us. False where there is one."""
        connection = await self._connected()
        me = self.me
        return await connection.fetchval(RESTORE, self.account, epoch, me.holder, me.seat, me.process) is not None

    async def release(self, epoch: int) -> None:
        """Say that the lease is over: whoever waits may lead at once."""
        connection = await self._connected()
        await connection.execute(RELEASE, self.account, epoch)

    async def close(self) -> None:
        """End the session and with it the lock; in any case, and soon."""
        connection, self._connection, self._locked = self._connection, None, False
        if connection is None:
            return
        try:
            with suppress(*OUTAGES):
                await connection.close(timeout=TRY_SECONDS_MAX)
        finally:
            connection.terminate()

    def drop(self) -> None:
        """Throw the connection away, after trouble: what it still does is unknown. The next call connects anew."""
        if self._connection is not None:
            self._connection.terminate()
        self._connection, self._locked = None, False

    # -- leaves -------------------------------------------------------------------------------------------------------

    async def _connected(self) -> "LeaderConnection":
        if self._connection is None or self._connection.is_closed():
            self._locked = False
            self._connection = await asyncpg.connect(
                self._url, timeout=TRY_SECONDS_MAX, command_timeout=TRY_SECONDS_MAX, server_settings=SETTINGS
            )
        return self._connection

    async def _lock(self, connection: "LeaderConnection", tries: int = 1) -> bool:
        for attempt in range(tries):
            if attempt:
                await asyncio.sleep(LOCK_RETRY_S)  # a session that was ended is gone within moments
            self._locked = self._locked or await connection.fetchval(TRY_LOCK, self._key)
            if self._locked:
                return True
        return False

    async def _end_sessions(self, connection: "LeaderConnection", epoch: int) -> None:
        unsigned = self._key % 2**64
        await connection.execute(END_SESSIONS, unsigned >> 32, unsigned & 0xFFFFFFFF, self.account, epoch)


def lock_key(account: str) -> int:
    """The account's advisory lock: a signed 64-bit number."""
    digest = hashlib.sha256(f"polybot leads {account}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
