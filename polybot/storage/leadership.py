"""The leader's side of one floor per account: it keeps its lease, and fences what it writes and trades (0004).

`keep` renews. `guard` goes into every transaction that writes to the database, `hold` before everything journaled,
`may_trade` before every order: a floor that slept while another took over does nothing more when it wakes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import asyncpg
import msgspec
from loguru import logger

from polybot.domain.errors import PolybotError
from polybot.domain.events import Severity
from polybot.storage import lease
from polybot.storage.leader_session import HOLD_EPOCH, SELECT_EPOCH, LeaderSession, LeaseRow
from polybot.storage.lease import Footing, Standing
from polybot.storage.postgres import OUTAGES
from polybot.storage.seat import Seat

if TYPE_CHECKING:
    from polybot.storage.postgres import Connection

AWAY: tuple[type[Exception], ...] = (*OUTAGES, asyncpg.UndefinedTableError)
"""No answer that counts. Tables that are gone are made anew by the projector, which projects into them again."""
LOOK_EVERY_S = 0.5
HOLD_SECONDS_MAX = 6 * lease.TRY_SECONDS_MAX
"""Longer than the rest of one try and the whole of the next."""
SEVERITY = {Footing.FIRM: Severity.INFO, Footing.ALONE: Severity.WARNING, Footing.PAUSED: Severity.ERROR}
WORDS = {
    Footing.FIRM: "the lease is renewed: this floor leads, and trades",
    Footing.ALONE: "the database is away and no standby was known: this floor trades on without a lease",
    Footing.PAUSED: "the database is away and a standby may lead by now: nothing is bought until the lease is renewed",
}


class Deposed(PolybotError):
    """Another floor leads this account: this one must end. Started again, it waits as a standby."""


class UnclaimedError(PolybotError, ConnectionError):
    """The database is there, but our lease is not in it (yet): an outage like others, over with the next renewal."""


class LeaderStatus(msgspec.Struct, frozen=True, kw_only=True):
    """For those who look. `epoch` 0: it has not been confirmed yet. `standby`: another is ready to take over."""

    footing: Footing
    epoch: int
    holder: str
    standby: bool


class Leadership:
    """One floor's lease. `start` it at once, `release` it after an orderly end, `close` it last."""

    def __init__(
        self,
        session: LeaderSession,
        seat: Seat,
        elapsed: Callable[[], float],
        standing: Standing,
        remember: Callable[[bool], None],
        *,
        is_heir: bool,
    ) -> None:
        """`elapsed`: seconds that go on while the machine sleeps. `remember` keeps whether others may lead."""
        self._session, self._seat, self._elapsed, self._remember = session, seat, elapsed, remember
        self._standing = standing
        self.is_heir = is_heir
        """Nobody else has led since this folder's floor did: its journal is the account's own."""
        self._first_seen: tuple[int, int] | None = None
        self._watch = lease.Watch()
        self._nudge = asyncio.Event()
        self._tried = asyncio.Event()
        self._why_deposed = "another floor leads this account"
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self.keep(), name="leadership")

    @property
    def task(self) -> asyncio.Task[None]:
        """Ends with Deposed, or with a bug: either ends the floor. There is one once it was started."""
        assert self._task is not None, "start it first"
        return self._task

    def status(self) -> LeaderStatus:
        now = lease.footing(self._standing, self._elapsed())
        standing, holder = self._standing, self._seat.identity.holder
        return LeaderStatus(footing=now, epoch=standing.epoch, holder=holder, standby=standing.standby)

    # -- fences -------------------------------------------------------------------------------------------------------

    def may_trade(self) -> bool:
        """Whether an order may leave now. Cheap: asked for each."""
        return lease.may_trade(self._standing, self._elapsed())

    async def hold(self) -> None:
        """Before anything is journaled: returns at once while awake; after a sleep, once it is sure. Raises Deposed."""
        while True:
            now = lease.footing(self._standing, self._elapsed())
            if now is Footing.DEPOSED:
                raise Deposed(self._why_deposed)
            if now is not Footing.ASLEEP:
                return
            self._nudge.set()
            try:
                async with asyncio.timeout(HOLD_SECONDS_MAX):
                    await self._tried.wait()
            except TimeoutError:
                raise Deposed("the lease is not being renewed any more: this floor cannot know that it leads") from None

    async def guard(self, connection: "Connection") -> None:
        """First in every writing transaction: holds our epoch until its end. Raises Deposed, or one of OUTAGES."""
        standing = self._standing
        if standing.deposed:
            raise Deposed(self._why_deposed)
        held = standing.epoch and await connection.fetchval(HOLD_EPOCH, self._session.account, standing.epoch)
        if held:
            return
        found = await connection.fetchval(SELECT_EPOCH, self._session.account) if standing.epoch else None
        if found is None:
            self._nudge.set()
            raise UnclaimedError("the database does not hold this floor's lease yet")
        raise self._deposed(f"the floor of epoch {found} leads this account; ours was epoch {standing.epoch}")

    # -- keeping it ---------------------------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Renew for ever. Raises Deposed when another leads."""
        while True:
            self._nudge.clear()
            await self.try_once()
            try:
                async with asyncio.timeout(lease.RENEW_EVERY_S):
                    await self._nudge.wait()
            except TimeoutError:
                continue

    async def watch(self, note: Callable[[Severity, str, str], Awaitable[None]]) -> None:
        """Beside the floor: a system event whenever the footing changes. Never returns; raises Deposed."""
        was = Footing.FIRM
        while True:
            await asyncio.wait([self.task], timeout=LOOK_EVERY_S)
            if self.task.done():
                self.task.result()
            now = lease.footing(self._standing, self._elapsed())
            if now is Footing.DEPOSED:
                raise Deposed(self._why_deposed)
            if now is not was and now in WORDS:
                was = now
                await note(SEVERITY[now], "leadership", WORDS[now])

    async def try_once(self) -> None:
        """One renewal, or one that failed; `keep` does it every RENEW_EVERY_S. Raises Deposed."""
        try:
            # A connection from before may be one that whoever took over has ended: that is no outage, so ask again.
            if not (self._session.is_open and await self._ask(last=False)):
                await self._ask(last=True)
        finally:
            self._tried.set()
            self._tried = asyncio.Event()

    async def _ask(self, *, last: bool) -> bool:
        sent_at = self._elapsed()
        try:
            async with asyncio.timeout(lease.TRY_SECONDS_MAX):
                epoch, standby = await (self._renew() if self._standing.epoch else self._claim())
        except AWAY as error:
            self._session.drop()
            self._watch = lease.look_failed(self._watch)
            if last:
                logger.bind(action="leadership").debug("no renewal: {!r}", error)
                self._standing = lease.failed(self._standing, sent_at)
            return False
        self._confirmed(sent_at, epoch, standby=standby)
        return True

    def _confirmed(self, sent_at: float, epoch: int, *, standby: bool) -> None:
        if standby is not self._standing.standby or epoch != self._standing.epoch:
            self._remember(standby)
        if not epoch:  # the database answers, but who leads is not settled
            self._standing = lease.failed(msgspec.structs.replace(self._standing, standby=standby), sent_at)
            return
        self._standing = lease.renewed(self._standing, sent_at, epoch=epoch, standby=standby)

    async def _renew(self) -> tuple[int, bool]:
        epoch = self._standing.epoch
        standby = await self._session.renew(epoch)
        if standby is not None:
            return epoch, standby
        row = await self._session.look()
        if row is None and await self._session.restore(epoch):
            logger.bind(action="leadership").warning("the database was emptied: the lease is written anew")
            return epoch, False
        raise self._deposed(_who_leads(row))

    async def _claim(self) -> tuple[int, bool]:
        """The database was away at our start: take the lease where it is free; make way for whoever renews it."""
        row = await self._session.look()
        now = self._elapsed()
        self._watch = lease.look(self._watch, seen(row, self._seat), now)
        place = (row.epoch, row.beat) if row else (0, -1)
        self._first_seen = self._first_seen or place
        decision = lease.decide(self._watch, now)
        if isinstance(decision, lease.Lead):
            taken = await self._session.take(decision.epoch, decision.beat)
            return taken or 0, taken is None
        if place != self._first_seen:
            raise self._deposed(_who_leads(row))
        return 0, True

    def _deposed(self, why: str) -> Deposed:
        self._standing, self._why_deposed = lease.deposed(self._standing), why
        self._remember(True)
        self._nudge.set()
        return Deposed(why)

    # -- the end ------------------------------------------------------------------------------------------------------

    async def release(self) -> None:
        """At an orderly end, when the database has all facts: whoever waits may lead at once."""
        try:
            if self._standing.epoch and not self._standing.deposed:
                async with asyncio.timeout(lease.TRY_SECONDS_MAX):
                    await self._session.release(self._standing.epoch)
        except AWAY as error:
            logger.bind(action="leadership").warning("the lease could not be released, it runs out: {!r}", error)

    async def close(self) -> None:
        """Renew no more. What was not released runs out; meanwhile this folder's next floor may have it back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._session.close()


def seen(row: LeaseRow | None, seat: Seat) -> lease.Lease | None:
    """The row as the deciding part takes it, with the proof of its holder's death where there is one."""
    if row is None:
        return None
    gone = not row.released and seat.proves_dead(row.seat, row.process)
    return lease.Lease(epoch=row.epoch, beat=row.beat, holder=row.holder, released=row.released, gone=gone)


def _who_leads(row: LeaseRow | None) -> str:
    return f"{row.holder} leads this account (epoch {row.epoch})" if row else "another floor leads this account"
