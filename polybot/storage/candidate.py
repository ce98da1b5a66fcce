"""A floor that wants to lead: takes the lease where it is free, and else waits as a hot standby (0004-one-floor.md)."""

from collections.abc import Callable

import msgspec
from loguru import logger

from polybot.clock import Clock
from polybot.domain.units import Millis
from polybot.storage import lease
from polybot.storage.leader_session import LeaderSession, LeaseRow
from polybot.storage.leadership import AWAY, Leadership, seen
from polybot.storage.lease import Lead, Standing, Wait, Watch
from polybot.storage.seat import Seat

POLL_EVERY_S = 0.5
ALONE_AFTER_S = 1.0
"""A database that has not answered for so long at the start is away: the floor may start without it (D6)."""


class StandbyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a standby says about itself. Times are UTC milliseconds; `leader` and what follows None where unknown."""

    since: Millis
    why: str
    leader: str | None = None
    epoch: int | None = None
    led_since: Millis | None = None
    renewed_at: Millis | None = None


class Candidate:
    """Campaigns for one account until it leads."""

    def __init__(
        self,
        session: LeaderSession,
        seat: Seat,
        clock: Clock,
        elapsed: Callable[[], float],
        remember: Callable[[bool], None],
        *,
        alone: bool,
        led_as: str = "",
    ) -> None:
        """`alone`: it may lead without a database's word where that is away, since it knows of no other floor.

        `led_as`: the holder that this folder's last floor was; unlike a seat, it outlives a reboot.
        """
        self._led_as = led_as
        self._session, self._seat, self._clock, self._elapsed = session, seat, clock, elapsed
        self._remember, self._alone = remember, alone
        self._watch = Watch()
        self._tried_first: float | None = None
        self._unseen = False
        self._status: StandbyStatus | None = None

    def status(self) -> StandbyStatus | None:
        """None until the first look: whether it has to wait is not known yet."""
        return self._status

    async def once(self) -> Leadership | None:
        """Look, and lead if that is possible. None: wait for POLL_EVERY_S and ask again."""
        began = self._elapsed()
        self._tried_first = began if self._tried_first is None else self._tried_first
        try:
            return await self._campaign()
        except AWAY as error:
            self._session.drop()
            self._watch = lease.look_failed(self._watch)
            away_s = self._elapsed() - self._tried_first
            if self._alone and not self._watch.epoch_seen and away_s >= ALONE_AFTER_S:
                logger.bind(action="leadership").warning("the database is away ({!r}): this floor starts alone", error)
                return self._led(Standing(epoch=0, failed_at=began), is_heir=True)
            self._say(f"the database does not answer ({error!r}): whether another floor leads is not known", None)
            return None

    async def _campaign(self) -> Leadership | None:
        row = await self._session.look()
        now = self._elapsed()
        self._watch = lease.look(self._watch, seen(row, self._seat), now)
        decision = lease.decide(self._watch, now)
        if isinstance(decision, Wait):
            self._unseen = await self._session.register()
            self._say(decision.why, row)
            return None
        sent_at = self._elapsed()
        epoch = await self._session.take(decision.epoch, decision.beat)
        if epoch is None:
            self._say("somebody else was faster", row)
            return None
        self._tell(decision, epoch)
        self._remember(False)
        is_heir = row is None or row.seat == self._seat.identity.seat or row.holder == self._led_as
        return self._led(Standing(epoch=epoch, confirmed_at=sent_at), is_heir=is_heir)

    def _tell(self, decision: Lead, epoch: int) -> None:
        say = logger.bind(action="leadership")
        say.info("this floor leads the account {} (epoch {}): {}", self._session.account, epoch, decision.why)
        if self._unseen and decision.waited_out:
            say.warning("the last leader never knew of this standby: make sure that it is not trading on by itself")

    def _led(self, standing: Standing, *, is_heir: bool) -> Leadership:
        return Leadership(self._session, self._seat, self._elapsed, standing, self._remember, is_heir=is_heir)

    def _say(self, why: str, row: LeaseRow | None) -> None:
        was, since = self._status, self._clock.now_ms()
        self._status = StandbyStatus(
            since=was.since if was else since,
            why=why,
            leader=row.holder if row else None,
            epoch=row.epoch if row else None,
            led_since=row.led_since if row else None,
            renewed_at=row.renewed_at if row else None,
        )

    async def close(self) -> None:
        """Stop waiting: the leader need not reckon with us any more."""
        try:
            await self._session.withdraw()
        except AWAY as error:
            logger.bind(action="standby").debug("could not withdraw: {!r}", error)
        await self._session.close()
