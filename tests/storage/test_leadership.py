"""One floor per account on a real Postgres: two would-be leaders, sessions that hang or are cut, a clock we turn."""

import asyncio
from contextlib import asynccontextmanager, suppress
from functools import partial

import asyncpg
import pytest

from polybot.clock import SystemClock
from polybot.domain.events import Severity
from polybot.domain.units import Millis
from polybot.paths import migrations_dir
from polybot.storage import seat
from polybot.storage.candidate import Candidate
from polybot.storage.checkpoint import Checkpoint, save_to_database
from polybot.storage.fenced_journal import FencedJournal
from polybot.storage.journal import Journal
from polybot.storage.leader_session import LeaderSession, lock_key
from polybot.storage.leadership import Deposed, Leadership, UnclaimedError
from polybot.storage.lease import LEASE_S, MARGIN_S, Footing
from polybot.storage.migrate import migrate
from polybot.storage.postgres import OUTAGES, open_pool
from polybot.storage.seat import take_seat
from tests.storage import facts
from tests.storage.conftest import administer, of_database
from tests.storage.projecting import projector_of

ACCOUNT = "paper"
CHECKPOINT = Checkpoint(version=1, seq=1, position=1, at=Millis(1), journal_hash=b"h" * 32, state=b"{}")


class Hands:
    """A clock that we turn."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Floor:
    """A would-be leader in a data folder of its own. `others`: what it wrote down for a start without a database."""

    def __init__(self, folder, url, *, alone=False, led_as=""):
        self.hands = Hands()
        self.others: list[bool] = []
        self.seat = take_seat(folder)
        self.session = LeaderSession(url, ACCOUNT, self.seat.identity, partial(migrate, folder=migrations_dir()))
        self.candidate = Candidate(
            self.session, self.seat, SystemClock(), self.hands, self.others.append, alone=alone, led_as=led_as
        )

    async def lead(self) -> Leadership:
        leadership = await self.candidate.once()
        assert leadership is not None
        return leadership

    async def close(self) -> None:
        await self.session.close()
        self.seat.close()


@pytest.fixture
async def floors(tmp_path, empty_url):
    made = [Floor(tmp_path / "first", empty_url), Floor(tmp_path / "second", empty_url)]
    yield made
    for floor in made:
        await floor.close()


@pytest.fixture
async def watcher(empty_url):
    connection = await asyncpg.connect(empty_url)
    yield connection
    await connection.close()


@asynccontextmanager
async def guarded(url, leadership):
    """A writing transaction of the leader's."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await leadership.guard(connection)
            yield connection
    finally:
        connection.terminate()


async def lock_holders(watcher) -> int:
    key = lock_key(ACCOUNT) % 2**64
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid::bigint = $1 AND objid::bigint = $2"
    return int(await watcher.fetchval(query, key >> 32, key & 0xFFFFFFFF))


async def test_the_first_leads_an_empty_database_under_epoch_1_and_holds_the_lock(floors, watcher):
    leadership = await floors[0].lead()
    assert leadership.status().epoch == 1
    assert leadership.may_trade()
    assert await lock_holders(watcher) == 1
    assert await watcher.fetchval("SELECT holder FROM leadership") == floors[0].seat.identity.holder


async def test_the_second_waits_says_for_whom_and_is_known_to_the_first_at_its_next_renewal(floors):
    first, second = floors
    leadership = await first.lead()
    assert await second.candidate.once() is None
    status = second.candidate.status()
    assert (status.leader, status.epoch) == (first.seat.identity.holder, 1)
    await leadership.try_once()
    assert leadership.status().standby
    assert first.others == [False, True]


async def test_of_many_that_start_at_once_one_leads(tmp_path, database_url):
    many = [Floor(tmp_path / str(number), database_url) for number in range(8)]
    led = await asyncio.gather(*(floor.candidate.once() for floor in many))
    assert [leadership.status().epoch for leadership in led if leadership] == [1]
    for floor in many:
        await floor.close()


async def test_after_an_orderly_end_the_second_leads_at_once(floors):
    first, second = floors
    leadership = await first.lead()
    assert await second.candidate.once() is None
    await leadership.release()
    assert (await second.lead()).status().epoch == 2


async def test_a_leader_whose_connection_is_gone_may_be_alive_so_its_lease_is_waited_out(floors):
    first, second = floors
    await first.lead()
    assert await second.candidate.once() is None
    await first.session.close()
    second.hands.now += LEASE_S
    assert await second.candidate.once() is None
    second.hands.now += MARGIN_S
    assert (await second.lead()).status().epoch == 2


async def test_the_next_floor_on_the_dead_one_s_folder_leads_at_once_though_its_session_still_hangs(
    floors, empty_url, tmp_path
):
    first = floors[0]
    await first.lead()
    first.seat.close()  # as its death does
    heir = Floor(tmp_path / "first", empty_url)
    leadership = await heir.lead()
    assert leadership.status().epoch == 2
    assert leadership.is_heir
    await heir.close()
    first.seat = take_seat(tmp_path / "first")


async def test_after_a_reboot_a_folder_s_floor_is_heir_if_nobody_led_since(floors, empty_url, tmp_path, monkeypatch):
    first, second = floors
    me = first.seat.identity.holder
    await (await first.lead()).release()
    await first.close()
    monkeypatch.setattr(seat, "boot_id", lambda: "another boot")
    again = Floor(tmp_path / "first", empty_url, led_as=me)
    leadership = await again.lead()
    assert leadership.is_heir
    await leadership.release()
    await again.close()
    await (await second.lead()).release()
    first = floors[0] = Floor(tmp_path / "first", empty_url, led_as=again.seat.identity.holder)
    assert not (await first.lead()).is_heir


async def test_who_takes_over_on_another_folder_is_no_heir_and_has_to_take_the_journal_over(floors):
    first, second = floors
    leadership = await first.lead()
    assert leadership.is_heir  # nobody led before
    await leadership.release()
    assert not (await second.lead()).is_heir


async def test_a_leader_that_renews_is_never_replaced(floors):
    first, second = floors
    leadership = await first.lead()
    for _ in range(3):
        assert await second.candidate.once() is None
        second.hands.now += LEASE_S
        await leadership.try_once()


async def test_the_second_ends_the_sessions_of_a_frozen_leader_even_within_a_transaction(floors, empty_url, watcher):
    first, second = floors
    leadership = await first.lead()
    assert await second.candidate.once() is None
    second.hands.now += LEASE_S + MARGIN_S
    with suppress(*OUTAGES):
        async with guarded(empty_url, leadership) as connection:
            await connection.execute("INSERT INTO system_events VALUES (1, now(), 'INFO', 'x', 'x')")
            assert (await second.lead()).status().epoch == 2
    assert await watcher.fetchval("SELECT count(*) FROM system_events") == 0
    assert await lock_holders(watcher) == 1


async def deposed(floors) -> Leadership:
    """The first floor's leadership, after the second took over without its knowing."""
    first, second = floors
    leadership: Leadership = await first.lead()
    assert await second.candidate.once() is None
    second.hands.now += LEASE_S + MARGIN_S
    await second.lead()
    return leadership


async def test_an_old_leader_s_write_fails_and_from_then_on_it_may_not_trade(floors, empty_url):
    leadership = await deposed(floors)
    with pytest.raises(Deposed, match="epoch 2 leads this account; ours was epoch 1"):
        async with guarded(empty_url, leadership):
            pass
    assert not leadership.may_trade()
    assert floors[0].others[-1] is True


async def test_an_old_leader_s_batch_and_checkpoint_do_not_get_into_the_database(floors, empty_url, tmp_path):
    leadership = await deposed(floors)
    pool = await open_pool(empty_url)
    with Journal.open(tmp_path / "journal.sqlite") as journal:
        projector = projector_of(journal, pool, guard=leadership.guard)
        await journal.append([facts.note(1)], position=1)
        with pytest.raises(Deposed):
            await projector.project_batch()
        with pytest.raises(Deposed):
            await save_to_database(pool, CHECKPOINT, leadership.guard)
    assert await pool.fetchval("SELECT count(*) FROM facts") == 0
    assert await pool.fetchval("SELECT count(*) FROM checkpoints") == 0
    await pool.close()


async def test_an_old_leader_journals_nothing_more(floors, tmp_path):
    leadership = await deposed(floors)
    with Journal.open(tmp_path / "journal.sqlite") as journal:
        fenced = FencedJournal(journal, leadership.hold)
        assert await fenced.append([facts.note(1)], position=1)  # it does not know yet, and is within its lease
        with pytest.raises(Deposed):
            await leadership.try_once()
        written = journal.last_seq
        with pytest.raises(Deposed):
            await fenced.append([facts.note(1)], position=1)
        assert journal.last_seq == written


async def test_an_old_leader_s_renewal_fails_with_who_leads_now(floors):
    leadership = await deposed(floors)
    with pytest.raises(Deposed, match=floors[1].seat.identity.holder):
        await leadership.keep()
    with pytest.raises(Deposed):
        await leadership.hold()


async def test_what_an_old_leader_wants_to_journal_after_a_sleep_waits_for_the_truth(floors):
    leadership = await deposed(floors)
    floors[0].hands.now += 3600
    leadership.start()
    with pytest.raises(Deposed):
        await leadership.hold()
    await leadership.release()


async def test_a_leader_that_slept_and_was_not_replaced_goes_on(floors):
    leadership = await floors[0].lead()
    floors[0].hands.now += 3600
    assert leadership.status().footing is Footing.ASLEEP
    assert not leadership.may_trade()
    leadership.start()
    await leadership.hold()
    assert leadership.may_trade()
    await leadership.release()


async def test_when_nobody_renews_any_more_journaling_does_not_wait_for_ever(floors, monkeypatch):
    monkeypatch.setattr("polybot.storage.leadership.HOLD_SECONDS_MAX", 0.05)
    leadership = await floors[0].lead()
    floors[0].hands.now += 3600
    with pytest.raises(Deposed, match="not being renewed"):
        await leadership.hold()


async def test_a_writing_transaction_keeps_no_renewal_waiting(floors, empty_url):
    leadership = await floors[0].lead()
    async with guarded(empty_url, leadership):
        floors[0].hands.now += LEASE_S
        await leadership.try_once()
        assert leadership.status().footing is Footing.FIRM


async def test_a_leader_whose_session_was_ended_keeps_its_epoch_and_gets_its_lock_back(floors, watcher):
    leadership = await floors[0].lead()
    await watcher.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
    await leadership.try_once()  # finds out
    await leadership.try_once()
    assert leadership.status().epoch == 1
    assert leadership.status().footing is Footing.FIRM
    assert await lock_holders(watcher) == 1


async def test_a_database_emptied_under_the_leader_gets_its_lease_anew(floors, watcher, empty_url):
    leadership = await floors[0].lead()
    await leadership.try_once()
    await watcher.execute("DELETE FROM leadership")
    with pytest.raises(UnclaimedError):
        async with guarded(empty_url, leadership):
            pass
    await leadership.try_once()
    assert await watcher.fetchval("SELECT epoch FROM leadership") == 1
    async with guarded(empty_url, leadership):
        pass


def test_a_lease_not_yet_in_the_database_is_an_outage_like_any_other():
    assert issubclass(UnclaimedError, OUTAGES)


async def test_without_a_database_a_floor_that_knows_of_no_other_starts_alone_and_claims_its_lease_later(
    tmp_path, empty_url, admin_url
):
    url = of_database(empty_url, "comes_later")
    floor = Floor(tmp_path / "alone", url, alone=True)
    assert await floor.candidate.once() is None
    floor.hands.now += 2
    leadership = await floor.lead()
    assert leadership.status().footing is Footing.ALONE
    await administer(admin_url, "CREATE DATABASE comes_later OWNER polybot")
    try:
        connection = await asyncpg.connect(url)
        with pytest.raises(UnclaimedError):
            await leadership.guard(connection)
        await migrate(connection, migrations_dir())
        await connection.close()
        await leadership.try_once()
        assert (leadership.status().epoch, leadership.status().footing) == (1, Footing.FIRM)
    finally:
        await floor.close()
        await administer(admin_url, "DROP DATABASE comes_later WITH (FORCE)")


async def test_without_a_database_a_floor_that_knows_of_another_waits(tmp_path, empty_url):
    floor = Floor(tmp_path / "waits", of_database(empty_url, "nowhere"), alone=False)
    for _ in range(3):
        assert await floor.candidate.once() is None
        floor.hands.now += 60
    status = floor.candidate.status()
    assert status is not None
    assert "the database does not answer" in status.why
    await floor.close()


async def test_a_floor_that_started_alone_makes_way_for_one_that_leads(tmp_path, floors, empty_url):
    first, alone = floors[0], Floor(tmp_path / "alone", of_database(empty_url, "nowhere"), alone=True)
    assert await alone.candidate.once() is None
    alone.hands.now += 2
    leadership = await alone.lead()
    alone.session._url = empty_url  # its database is back, and somebody leads in it
    leading = await first.lead()
    await leadership.try_once()
    assert leadership.status().footing is Footing.PAUSED
    await leading.try_once()
    with pytest.raises(Deposed, match=first.seat.identity.holder):
        await leadership.keep()
    await alone.close()


async def test_a_standby_that_stops_waiting_is_forgotten(floors, watcher):
    first, second = floors
    leadership = await first.lead()
    assert await second.candidate.once() is None
    await second.candidate.close()
    await leadership.try_once()
    assert not leadership.status().standby
    assert await watcher.fetchval("SELECT count(*) FROM standbys") == 0


async def test_what_changes_about_the_lease_becomes_a_system_event(floors, empty_url):
    first, second = floors
    leadership = await first.lead()
    await second.candidate.once()
    await leadership.try_once()
    notes = []

    async def note(severity, component, text):
        notes.append((severity, component))

    leadership.start()
    reporting = asyncio.create_task(leadership.watch(note))
    first.session._url = of_database(empty_url, "nowhere")
    first.session.drop()
    first.hands.now += LEASE_S
    await leadership.try_once()
    await asyncio.sleep(0.6)
    first.session._url = empty_url
    first.session.drop()
    await leadership.try_once()
    await asyncio.sleep(0.6)
    reporting.cancel()
    assert notes == [(Severity.ERROR, "leadership"), (Severity.INFO, "leadership")]
