"""Who may lead and who may trade, as values: no database, no clock, no second process."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.storage import lease
from polybot.storage.lease import LEASE_S, MARGIN_S, Footing, Lead, Lease, Standing, Wait, Watch

OLD = Lease(epoch=3, beat=7, holder="first")
OVER_S = LEASE_S + MARGIN_S


def seen(row: Lease | None, at: float, watch: Watch | None = None) -> Watch:
    return lease.look(watch or Watch(), row, at)


# -- a standby --------------------------------------------------------------------------------------------------------


def test_an_account_that_nobody_led_is_led_at_once():
    assert lease.decide(seen(None, 0.0), 0.0) == Lead(epoch=0, beat=-1, why="nobody has led this account yet")


def test_a_standby_waits_for_a_whole_lease_and_a_margin_from_its_first_look():
    decision = lease.decide(seen(OLD, 100.0), 104.0)
    assert decision == Wait(seconds=OVER_S - 4.0, why="first leads")


def test_a_lease_that_stood_still_for_so_long_is_over():
    watch = seen(OLD, 100.0 + OVER_S, seen(OLD, 100.0))
    why = "first has not renewed for 11 s"
    assert lease.decide(watch, 100.0 + OVER_S) == Lead(epoch=3, beat=7, why=why, waited_out=True)


def test_a_renewal_in_between_starts_the_wait_anew():
    watch = seen(Lease(epoch=3, beat=8, holder="first"), 110.0, seen(OLD, 100.0))
    assert lease.decide(watch, 111.0) == Wait(seconds=OVER_S - 1.0, why="first leads")


def test_another_leader_in_between_starts_the_wait_anew():
    watch = seen(Lease(epoch=4, beat=7, holder="third"), 110.0, seen(OLD, 100.0))
    assert isinstance(lease.decide(watch, 112.0), Wait)


def test_after_an_outage_of_the_database_the_leader_gets_a_whole_lease_anew():
    watch = seen(OLD, 160.0, lease.look_failed(seen(OLD, 100.0)))
    assert lease.decide(watch, 160.0) == Wait(seconds=OVER_S, why="first leads")


def test_a_released_lease_is_over_at_once():
    row = Lease(epoch=3, beat=7, holder="first", released=True)
    assert lease.decide(seen(row, 0.0), 0.0) == Lead(epoch=3, beat=7, why="first ended in order")


def test_a_lease_whose_holder_is_proven_dead_is_over_at_once():
    row = Lease(epoch=3, beat=7, holder="first", gone=True)
    assert lease.decide(seen(row, 0.0), 0.0) == Lead(epoch=3, beat=7, why="first is dead")


def test_a_row_that_disappears_is_no_free_account_until_its_lease_would_be_over():
    wiped = seen(None, 101.0, seen(OLD, 100.0))
    assert isinstance(lease.decide(wiped, 105.0), Wait)
    decision = lease.decide(seen(None, 101.0 + OVER_S, wiped), 101.0 + OVER_S)
    assert isinstance(decision, Lead)
    assert (decision.epoch, decision.beat) == (3, -1)


# -- the leader -------------------------------------------------------------------------------------------------------


def test_a_leader_stands_firm_for_a_lease_from_the_sending_of_its_renewal():
    standing = lease.renewed(Standing(epoch=1), 100.0, epoch=1, standby=True)
    assert lease.footing(standing, 100.0 + LEASE_S - 0.1) is Footing.FIRM
    assert lease.may_trade(standing, 100.0 + LEASE_S - 0.1)
    assert not lease.may_trade(standing, 100.0 + LEASE_S)


def test_a_leader_without_a_standby_trades_on_while_the_database_is_away():
    standing = Standing(epoch=1, confirmed_at=100.0)
    for sent_at in (104.0, 110.0, 117.0):
        standing = lease.failed(standing, sent_at)
    assert lease.footing(standing, 121.0) is Footing.ALONE
    assert lease.may_trade(standing, 121.0)


def test_a_leader_with_a_standby_pauses_when_its_lease_has_run_out_and_resumes_when_it_is_renewed():
    standing = lease.failed(Standing(epoch=1, confirmed_at=100.0, standby=True), 109.0)
    assert lease.may_trade(standing, 109.5)
    assert lease.footing(standing, 110.5) is Footing.PAUSED
    assert not lease.may_trade(standing, 110.5)
    assert lease.may_trade(lease.renewed(standing, 112.0, epoch=1, standby=True), 112.1)


def test_a_leader_that_slept_may_do_nothing_until_a_try_begun_after_it_woke_has_ended():
    standing = lease.failed(Standing(epoch=1, confirmed_at=100.0), 102.0)
    woken_at = 200.0
    assert lease.footing(standing, woken_at) is Footing.ASLEEP
    slept_through = lease.failed(standing, 104.0)  # begun before the sleep, ended after it: proves nothing
    assert lease.footing(slept_through, woken_at) is Footing.ASLEEP


def test_a_leader_that_slept_and_finds_no_database_may_have_been_replaced_meanwhile():
    standing = lease.failed(Standing(epoch=1, confirmed_at=100.0), 200.5)
    assert lease.footing(standing, 201.0) is Footing.PAUSED
    assert lease.may_trade(lease.renewed(standing, 202.0, epoch=1, standby=False), 202.1)


def test_the_deposed_stays_deposed_whatever_comes():
    standing = lease.deposed(Standing(epoch=1, confirmed_at=100.0))
    assert lease.footing(lease.renewed(standing, 101.0, epoch=1, standby=False), 101.0) is Footing.DEPOSED
    assert not lease.may_trade(standing, 100.1)


# -- both, with the database between them, in every order -------------------------------------------------------------


@dataclass
class World:
    """A leader that knows of the standby, a standby, and a row; every message may be slow or lost, anyone may sleep."""

    now: float = 0.0
    row: Lease = field(default_factory=lambda: Lease(epoch=1, beat=0, holder="leader"))
    leader: Standing = field(default_factory=lambda: Standing(epoch=1, confirmed_at=0.0, standby=True))
    sent_at: float | None = None
    applied: bool | None = None
    watch: Watch = field(default_factory=Watch)
    answer: Lease | None = None
    led_at: float | None = None

    def send(self) -> None:
        self.sent_at, self.applied = self.now, None

    def apply(self) -> None:
        """The renewal reaches the database."""
        if self.sent_at is not None and self.applied is None:
            self.applied = self.row.epoch == 1
            if self.applied:
                self.row = Lease(epoch=1, beat=self.row.beat + 1, holder="leader")

    def confirm(self) -> None:
        if self.sent_at is not None and self.applied is not None:
            done = lease.renewed(self.leader, self.sent_at, epoch=1, standby=True)
            self.leader, self.sent_at = (done if self.applied else lease.deposed(self.leader)), None

    def lose(self) -> None:
        if self.sent_at is not None:
            self.leader, self.sent_at = lease.failed(self.leader, self.sent_at), None

    def read(self) -> None:
        self.answer = self.row

    def look(self) -> None:
        if self.answer is not None:
            self.watch, self.answer = lease.look(self.watch, self.answer, self.now), None

    def look_lost(self) -> None:
        self.watch, self.answer = lease.look_failed(self.watch), None

    def take(self) -> None:
        decision = lease.decide(self.watch, self.now) if self.watch.lease else None
        if isinstance(decision, Lead) and (decision.epoch, decision.beat) == (self.row.epoch, self.row.beat):
            self.row = Lease(epoch=self.row.epoch + 1, beat=0, holder="standby")
            self.led_at = self.now if self.led_at is None else self.led_at

    def poll(self) -> None:
        self.read()
        self.look()
        self.take()

    def renew(self) -> None:
        self.send()
        self.apply()
        self.confirm()


STEPS = [*["poll"] * 9, "renew", "send", "apply", "confirm", "lose", "read", "look", "look_lost", "take"]
STEP = st.tuples(st.sampled_from(STEPS), st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0, 4.0]))


@settings(max_examples=500, deadline=None)
@given(st.lists(STEP, min_size=30, max_size=60))
def test_when_the_standby_leads_the_old_leader_may_trade_no_more(steps):
    world = World()
    for step, seconds in steps:
        getattr(world, step)()
        assert world.led_at is None or not lease.may_trade(world.leader, world.now)
        world.now += seconds


def test_that_hunt_reaches_takeovers():
    world = World()
    for step, seconds in [("read", 0.1), ("look", 11.0), ("read", 0.1), ("look", 0.0), ("take", 0.0)]:
        getattr(world, step)()
        world.now += seconds
    assert world.led_at is not None
    assert world.row.epoch == 2
