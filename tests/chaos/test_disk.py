"""The simulated journal and the real one are the same: rows, hashes, answers; and what a kill leaves of both."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.chaos.disk import SimDisk, Sync, group_bytes, read_group
from polybot.chaos.journal import SimJournal
from polybot.chaos.life import ProcessIsDead
from polybot.chaos.loop import NEVER, VirtualLoop
from polybot.domain.events import AnyFact, Journaled, MetricsRecorded, Severity, SystemNoted
from polybot.domain.units import Millis, Money
from polybot.storage.journal import Journal
from polybot.storage.journal_file import JournalDamagedError, JournalError, JournalRow
from polybot.storage.journal_place import JournalMissingError
from polybot.storage.journal_queue import (
    FactUnwritableError,
    JournalClosedError,
    JournalFailedError,
    JournalOverloadedError,
)
from tests.storage.facts import one_of_each

GENESIS = bytes(range(32))
EITHER = Journal | SimJournal


def words(number: int) -> AnyFact:
    return SystemNoted(at=Millis(1_000 + number), severity=Severity.INFO, component="test", text=f"{number}")


class Written:
    """What both journals say after the same calls."""

    def __init__(self) -> None:
        self.answers: list[object] = []

    async def by(self, journal: EITHER) -> None:
        answers = self.answers
        answers.append((journal.genesis, journal.last_seq, journal.last_hash, journal.hash_at(0), journal.hash_at(1)))
        answers.append(await journal.append(one_of_each(), position=7))
        answers.append(await journal.append([], position=8))
        answers.append(await asyncio.gather(*(journal.append([words(n)], n) for n in range(20))))
        answers.append(await journal.wait_beyond(3, 10.0) > 3)
        answers.append(await journal.wait_beyond(10_000, 0.01) == journal.last_seq)
        answers.append((journal.last_seq, journal.last_hash, journal.pending_facts, journal.failure))
        answers.append(list(journal.read()))
        answers.append(list(journal.read_rows(5)))
        answers.append([journal.hash_at(seq) for seq in range(journal.last_seq + 2)])
        answers.append(list(journal.read(journal.last_seq)))
        await self._refusals(journal)
        journal.close()
        await self._refusals(journal)

    async def _refusals(self, journal: EITHER) -> None:
        for facts in ([words(1)] * 1_001, [unwritable()], [words(1)]):
            try:
                self.answers.append(await journal.append(facts, 9))
            except JournalError as error:
                self.answers.append(type(error))
            except FactUnwritableError as error:
                self.answers.append(str(error))
        try:
            self.answers.append(list(journal.read_rows(10_000)))
        except JournalDamagedError as error:
            self.answers.append(error.seq)


def unwritable() -> AnyFact:
    """A NaN is not the same when it is read back."""
    return MetricsRecorded(
        at=Millis(1), agent=None, trades=0, wins=0, pnl=Money(0), fees=Money(0), equity=Money(0), exposure=Money(0),
        win_rate=None, sharpe=None, drawdown=float("nan"), uptime=1.0,
    )  # fmt: skip


def test_the_same_calls_get_the_same_answers_rows_and_hashes(tmp_path: Path) -> None:
    real, simulated = Written(), Written()

    async def on_the_real_one() -> None:
        await real.by(Journal.open(tmp_path / "journal.sqlite", genesis=GENESIS))

    asyncio.run(on_the_real_one())
    with VirtualLoop() as loop:
        alive = loop.begin_life()
        disk = SimDisk(Random(1), GENESIS)
        task = loop.start(alive, simulated.by(SimJournal.open(disk, alive, loop)))
        loop.run(until=task)
        task.result()
        loop.kill(alive)
    assert len(real.answers) > 15
    for mine, theirs in zip(simulated.answers, real.answers, strict=True):
        assert mine == theirs


# -- lives on one disk -------------------------------------------------------------------------------------------------


class Lives:
    """Processes one after the other that append numbered words and remember what was acknowledged."""

    def __init__(self, seed: int) -> None:
        self.loop = VirtualLoop()
        self.disk = SimDisk(Random(seed), GENESIS)
        self.acknowledged: list[str] = []
        self.made = 0

    def live(self, steps: int, burst: int) -> list[str]:
        """One life, killed after `steps`; what it found in the journal."""
        alive = self.loop.begin_life()
        journal = SimJournal.open(self.disk, alive, self.loop)
        found = texts(journal)
        task = self.loop.start(alive, self._writes(journal, burst))
        self.loop.run(until=task, until_step=self.loop.steps + steps)
        self.loop.kill(alive)
        with pytest.raises(ProcessIsDead):
            journal.submit([words(0)], 0)
        return found

    async def _writes(self, journal: SimJournal, burst: int) -> None:
        for _ in range(20):
            await asyncio.gather(*(self._write(journal) for _ in range(burst)))

    async def _write(self, journal: SimJournal) -> None:
        self.made += 1
        for entry in await journal.append([words(self.made), words(-self.made)], self.made):
            assert isinstance(entry.fact, SystemNoted)
            self.acknowledged.append(entry.fact.text)


def texts(journal: EITHER) -> list[str]:
    return [entry.fact.text for entry in journal.read() if isinstance(entry.fact, SystemNoted)]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1_000_000),
    lives=st.lists(st.tuples(st.integers(0, 120), st.integers(1, 6)), min_size=1, max_size=8),
)
def test_an_acknowledged_fact_survives_every_kill_and_no_append_survives_in_part(
    seed: int, lives: list[tuple[int, int]]
) -> None:
    world = Lives(seed)
    with world.loop:
        for steps, burst in [*lives, (0, 1)]:
            found = world.live(steps, burst)
            assert set(world.acknowledged) <= {*found, *texts_of(world.disk)}
            assert len(found) == len(set(found)), "a fact is there twice"
            for first, second in zip(found[::2], found[1::2], strict=True):
                assert int(second) == -int(first), "half an append"
            world.disk.proven = 0
            world.disk.prove()


def texts_of(disk: SimDisk) -> list[str]:
    return [entry.fact.text for entry in disk.read_facts(0) if isinstance(entry.fact, SystemNoted)]


def test_a_group_under_way_sometimes_survives_and_sometimes_does_not() -> None:
    fates = {survivors(seed) for seed in range(40)}
    assert fates == {0, 2}


def survivors(seed: int) -> int:
    """Rows of one unacknowledged append of two that the next life finds."""
    with VirtualLoop() as loop:
        disk = SimDisk(Random(seed), GENESIS)
        first = loop.begin_life()
        journal = SimJournal.open(disk, first, loop)
        loop.start(first, journal.append([words(1), words(2)], 1))
        loop.run(until_time=0.0001)
        loop.kill(first)
        return SimJournal.open(disk, loop.begin_life(), loop).last_seq


@given(rows=st.integers(1, 30), cut=st.floats(0, 1))
def test_a_torn_group_is_no_group(rows: int, cut: float) -> None:
    written = [
        JournalRow(seq=n, position=n, payload=b"{}" * n, prev_hash=GENESIS, hash=GENESIS) for n in range(1, rows + 1)
    ]
    whole = group_bytes(written)
    torn = whole[: int(cut * len(whole))]
    assert read_group(whole) == written
    assert read_group(torn) == ([] if len(torn) < len(whole) else written)


# -- trouble -----------------------------------------------------------------------------------------------------------


def in_one_life(program: Callable[[SimJournal, SimDisk], Coroutine[object, object, None]], disk: SimDisk) -> None:
    with VirtualLoop() as loop:
        alive = loop.begin_life()
        task = loop.start(alive, program(SimJournal.open(disk, alive, loop), disk))
        loop.run(until=task)
        loop.kill(alive)
        task.result()


def test_a_failed_write_ends_the_journal_for_all_who_wait_and_the_next_life_goes_on() -> None:
    async def fails(journal: SimJournal, disk: SimDisk) -> None:
        await journal.append([words(1)], 1)
        disk.next_sync = lambda: Sync(error="disk is full (SQLITE_FULL)")
        waiting = [journal.submit([words(n)], n) for n in (2, 3)]
        await asyncio.wait(waiting)
        assert all(isinstance(one.exception(), JournalFailedError) for one in waiting)
        assert isinstance(journal.failure, JournalFailedError)
        with pytest.raises(JournalFailedError, match="SQLITE_FULL"):
            await journal.append([words(4)], 4)
        journal.close()

    async def goes_on(journal: SimJournal, _: SimDisk) -> None:
        assert texts(journal) in (["1"], ["1", "2", "3"])
        await journal.append([words(5)], 5)
        assert texts(journal)[-1] == "5"

    disk = SimDisk(Random(3), GENESIS)
    usual = disk.next_sync
    in_one_life(fails, disk)
    disk.next_sync = usual
    in_one_life(goes_on, disk)


def test_a_disk_that_never_answers_shows_in_the_age_of_the_oldest_append() -> None:
    async def hangs(journal: SimJournal, disk: SimDisk) -> None:
        loop = asyncio.get_running_loop()
        disk.next_sync = lambda: Sync(seconds=NEVER)
        future = journal.submit([words(1)], 1)
        assert journal.oldest_pending_s(loop.time()) == 0.0
        await asyncio.sleep(31)
        assert journal.oldest_pending_s(loop.time()) == 31.0
        with pytest.raises(JournalFailedError, match="still writes"):
            journal.close()
        future.cancel()

    in_one_life(hangs, SimDisk(Random(1), GENESIS))


def test_closing_writes_what_waits_and_takes_no_more() -> None:
    async def closes(journal: SimJournal, disk: SimDisk) -> None:
        futures = [journal.submit([words(n)], n) for n in range(3)]
        journal.close()
        assert [entry.seq for future in futures for entry in await future] == [1, 2, 3]
        with pytest.raises(JournalClosedError):
            journal.submit([words(9)], 9)

    disk = SimDisk(Random(1), GENESIS)
    in_one_life(closes, disk)
    assert len(disk.rows) == 3


def test_too_many_waiting_facts_are_refused_and_the_journal_goes_on() -> None:
    async def overloads(journal: SimJournal, disk: SimDisk) -> None:
        disk.next_sync = lambda: Sync(seconds=1.0)
        futures = [journal.submit([words(n)] * 1_000, n) for n in range(50)]
        with pytest.raises(JournalOverloadedError):
            journal.submit([words(0)], 0)
        await asyncio.gather(*futures)
        await journal.append([words(0)], 0)

    in_one_life(overloads, SimDisk(Random(1), GENESIS))


# -- damage ------------------------------------------------------------------------------------------------------------


def written_disk(seed: int = 1) -> SimDisk:
    async def writes(journal: SimJournal, _: SimDisk) -> None:
        for fact in one_of_each():
            await journal.append([fact], 1)

    disk = SimDisk(Random(seed), GENESIS)
    in_one_life(writes, disk)
    return disk


@given(seed=st.integers(0, 1_000), share=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_a_flipped_bit_is_found_where_it_is_and_mended_from_the_copy(seed: int, share: float) -> None:
    disk = written_disk(seed)
    copy = list(disk.rows)
    facts = list(disk.read_facts(0))
    seq = 1 + int(share * (len(copy) - 1))
    disk.flip_bit(seq)
    with VirtualLoop() as loop:
        with pytest.raises(JournalDamagedError) as found:
            SimJournal.open(disk, loop.begin_life(), loop)
        assert found.value.seq == seq
        assert disk.repair(GENESIS, copy[:seq]) == 0, "our own rows after the damaged one are as good as the copy's"
        again = SimJournal.open(disk, loop.begin_life(), loop)
        assert list(again.read()) == facts
        assert list(again.read_rows()) == copy


def test_damage_that_comes_while_it_is_open_is_found_by_who_reads() -> None:
    async def reads(journal: SimJournal, disk: SimDisk) -> None:
        assert len(list(journal.read())) == len(disk.rows)
        disk.flip_bit(3)
        with pytest.raises(JournalDamagedError) as found:
            list(journal.read())
        assert found.value.seq == 3
        assert len(list(journal.read_rows(3))) == len(disk.rows) - 3

    in_one_life(reads, written_disk())


def test_a_damaged_row_without_a_copy_costs_all_that_follow_it_and_says_how_many() -> None:
    disk = written_disk()
    rows = len(disk.rows)
    disk.files["checkpoint-000000000000002.polybot"] = b"kept"
    disk.files[f"checkpoint-{rows:015d}.polybot"] = b"of rows that are no more"
    disk.flip_bit(4)
    assert disk.repair(GENESIS, []) == rows - 3
    assert [len(disk.rows), *disk.files] == [3, "checkpoint-000000000000002.polybot"]


def test_a_lost_folder_comes_back_from_the_copy() -> None:
    disk = written_disk()
    copy, facts = list(disk.rows), list(disk.read_facts(0))
    disk.lose_folder()
    disk.repair(GENESIS, copy)
    assert list(disk.read_facts(0)) == facts
    with VirtualLoop() as loop:
        assert SimJournal.open(disk, loop.begin_life(), loop).last_seq == len(copy)


def test_a_journal_that_is_missing_beside_its_checkpoints_is_no_first_start() -> None:
    disk = SimDisk(Random(1), GENESIS)
    disk.files["checkpoint-000000000000002.polybot"] = b"left"
    with VirtualLoop() as loop, pytest.raises(JournalMissingError):
        SimJournal.open(disk, loop.begin_life(), loop)


def test_a_journal_behind_its_checkpoint_has_lost_rows() -> None:
    disk = written_disk()
    disk.files[f"checkpoint-{len(disk.rows) + 1:015d}.polybot"] = b"ahead"
    with VirtualLoop() as loop, pytest.raises(JournalDamagedError, match="it ends there"):
        SimJournal.open(disk, loop.begin_life(), loop)


def test_facts_are_decoded_once_and_again_only_when_their_bytes_change() -> None:
    disk = written_disk()
    first: list[Journaled] = list(disk.read_facts(0))
    assert all(a is b for a, b in zip(first, disk.read_facts(0), strict=True))
    assert [row.journaled() for row in disk.rows] == first
