"""Who may lead and who may trade, decided from what was seen: values in, values out (decisions/0004-one-floor.md).

    a standby    looks ─▶ Watch ─▶ decide() ─▶ Lead | Wait
    the leader   tries to renew ─▶ Standing ─▶ footing() ─▶ FIRM | ALONE | PAUSED | ASLEEP | DEPOSED

Every span is in seconds of the asking machine's own clock, which goes on while the machine sleeps: neither the
database's time nor another machine's is believed.
"""

import enum

import msgspec

LEASE_S = 10.0
"""A leader may act so long after the sending of its last renewal that was confirmed."""
MARGIN_S = 1.0
"""What a standby waits on top, for clocks that run at different rates and an order that is on its way."""
RENEW_EVERY_S = 2.0
TRY_SECONDS_MAX = 1.5
"""For one request; a try is one on the connection at hand, then one on a new one. So a leader that is awake has always
ended one that was begun 8 s ago or later."""
STANDBY_KNOWN_S = 60.0
"""A standby that was seen so recently at the last renewal may take over in an outage: the leader reckons with it."""

# -- a standby's side -------------------------------------------------------------------------------------------------


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The account's row: `beat` grows with every renewal. `gone`: it is proven that the holder's process has ended."""

    epoch: int
    beat: int
    holder: str
    released: bool = False
    gone: bool = False


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """What a standby remembers: the last lease it saw (None: no row), and since when nothing has changed in it.

    `epoch_seen` outlives a row that disappears, as when the database is wiped under a leader.
    """

    lease: Lease | None = None
    still_since: float | None = None
    epoch_seen: int = 0


class Lead(msgspec.Struct, frozen=True, kw_only=True):
    """Take over: epoch + 1, if the row is still as it was seen. `why` is for people.

    `waited_out`: the old leader was not heard of for a lease, which is no proof that it does not run any more.
    """

    epoch: int
    beat: int
    why: str
    waited_out: bool = False


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """At least `seconds` more; `why` is for people."""

    seconds: float
    why: str


def look(watch: Watch, lease: Lease | None, now: float) -> Watch:
    """The watch after a look whose answer came at `now`."""
    epoch_seen = max(watch.epoch_seen, lease.epoch if lease else 0)
    same = watch.still_since is not None and _place(watch.lease) == _place(lease)
    return Watch(lease=lease, still_since=watch.still_since if same else now, epoch_seen=epoch_seen)


def look_failed(watch: Watch) -> Watch:
    """The database did not answer us; it may not have answered the leader either, who then gets a whole lease anew."""
    return msgspec.structs.replace(watch, still_since=None)


def decide(watch: Watch, now: float) -> Lead | Wait:
    """After a look. A lease ends when it is released, its holder is proven dead, or it has stood still long enough."""
    lease = watch.lease
    if lease is None and watch.epoch_seen == 0:
        return Lead(epoch=0, beat=-1, why="nobody has led this account yet")
    epoch, beat = (lease.epoch, lease.beat) if lease else (watch.epoch_seen, -1)
    if lease is not None and lease.released:
        return Lead(epoch=epoch, beat=beat, why=f"{lease.holder} ended in order")
    if lease is not None and lease.gone:
        return Lead(epoch=epoch, beat=beat, why=f"{lease.holder} is dead")
    still_s = 0.0 if watch.still_since is None else now - watch.still_since
    left_s = LEASE_S + MARGIN_S - still_s
    holder = lease.holder if lease else f"the leader of epoch {epoch}, whose row is gone,"
    if left_s > 0:
        return Wait(seconds=left_s, why=f"{holder} leads")
    return Lead(epoch=epoch, beat=beat, why=f"{holder} has not renewed for {still_s:.0f} s", waited_out=True)


def _place(lease: Lease | None) -> tuple[int, int]:
    return (lease.epoch, lease.beat) if lease else (0, -1)


# -- the leader's side ------------------------------------------------------------------------------------------------


class Footing(enum.StrEnum):
    """On what ground the leader stands now."""

    FIRM = "firm"
    """Renewed within the lease: nobody else leads."""
    ALONE = "alone"
    """The database is away, and no standby was known: the floor trades on (D6)."""
    PAUSED = "paused"
    """The database is away, and a standby may lead by now: nothing new is bought until a renewal is confirmed."""
    ASLEEP = "asleep"
    """No try has ended within the lease: this process, or its machine, slept. Nothing is done until one has."""
    DEPOSED = "deposed"
    """Another leads: this floor ends."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What the leader knows. Both times are when the request was *sent*; `failed_at` is that of the last failed try.

    `standby`: another may have taken over if the lease has run out. `epoch` 0: it leads by its own word, since the
    database was away at its start.
    """

    epoch: int
    confirmed_at: float | None = None
    failed_at: float | None = None
    standby: bool = False
    deposed: bool = False


def renewed(standing: Standing, sent_at: float, *, epoch: int, standby: bool) -> Standing:
    """The database confirmed the lease; `standby`: one is registered and was seen lately."""
    return msgspec.structs.replace(standing, epoch=epoch, confirmed_at=sent_at, standby=standby)


def failed(standing: Standing, sent_at: float) -> Standing:
    """The database gave no answer: the lease may or may not have been renewed.

    After a sleep that is no D6 outage: another may have come and taken over while nobody here was looking.
    """
    slept = footing(standing, sent_at) is Footing.ASLEEP
    return msgspec.structs.replace(standing, failed_at=sent_at, standby=standing.standby or slept)


def deposed(standing: Standing) -> Standing:
    """Another holds the account. There is no way back from it."""
    return msgspec.structs.replace(standing, deposed=True)


def footing(standing: Standing, now: float) -> Footing:
    """A try counts by when it was begun, so that one which slept half-way proves nothing."""
    if standing.deposed:
        return Footing.DEPOSED
    if _within_lease(standing.confirmed_at, now):
        return Footing.FIRM
    if not _within_lease(standing.failed_at, now):
        return Footing.ASLEEP
    return Footing.PAUSED if standing.standby else Footing.ALONE


def may_trade(standing: Standing, now: float) -> bool:
    """Whether an order may be sent now."""
    return footing(standing, now) in (Footing.FIRM, Footing.ALONE)


def _within_lease(sent_at: float | None, now: float) -> bool:
    return sent_at is not None and 0 <= now - sent_at < LEASE_S
