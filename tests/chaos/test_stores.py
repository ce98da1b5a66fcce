"""The simulated stores fail in every way and still end up with everything once: real projector and bus see to it."""

import asyncio
from collections.abc import Callable
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polybot.chaos.clock import VirtualClock
from polybot.chaos.disk import SimDisk
from polybot.chaos.disk_faults import HARMS, DiskFaults
from polybot.chaos.faults import Episode, Faults
from polybot.chaos.journal import SimJournal
from polybot.chaos.life import Life
from polybot.chaos.loop import VirtualLoop
from polybot.chaos.stores import SimCheckpoints, SimDatabase, SimLine
from polybot.circuit import Circuit
from polybot.domain.events import AnyFact, Severity, SystemNoted
from polybot.domain.units import Millis
from polybot.storage.bus import REDIS_CIRCUIT, Bus
from polybot.storage.checkpoint import FILES_KEPT
from polybot.storage.journal_file import JournalDamagedError
from polybot.storage.projector import DATABASE_CIRCUIT, Projector

START = 1_790_586_000_000
GENESIS = bytes(range(32))
STORE_FAULTS = ["store_postgres_down", "store_postgres_slow", "store_postgres_fails", "store_postgres_answer_lost"]


def episode(name: str, start_s: float, end_s: float, intensity: float = 1.0) -> Episode:
    start, end = Millis(START + int(start_s * 1000)), Millis(START + int(end_s * 1000))
    return Episode(name=name, start_ms=start, end_ms=end, intensity=intensity)


class World:
    """One disk, one database, and processes that write four facts a second and project."""

    def __init__(self, *episodes: Episode, seed: int = 1) -> None:
        self.loop = VirtualLoop()
        self.clock = VirtualClock(self.loop, Millis(START))
        self.faults = Faults(seed, START, 3_600_000, episodes=list(episodes))
        self.disk = SimDisk(Random(seed), GENESIS)
        self.database = SimDatabase(self.faults, self.clock.true_ms)
        self.disk_faults = DiskFaults(self.faults, self.clock.true_ms)
        self.disk_faults.plant(self.disk, self.database)
        self.checkpoints = SimCheckpoints(self.disk, self.database, version=2)
        self.written = 0

    def live(self, seconds: float) -> None:
        """One process, killed after so long."""
        self.database.catch_up(self.disk)
        life = self.loop.begin_life()
        journal = SimJournal.open(self.disk, life, self.loop)
        projector = self.projector(journal, life)
        self.loop.start(life, projector.run(), name="projector")
        self.loop.start(life, self._write(journal), name="writer")
        self.loop.run(until_time=self.loop.time() + seconds)
        self.loop.kill(life)
        self.disk_faults.between_lives()

    def projector(self, journal: SimJournal, life: Life) -> Projector:
        circuit = Circuit("database", DATABASE_CIRCUIT, Random(1), self.clock.now_ms())
        return Projector(journal, self.database.door(life), self.clock, circuit, Random(2), batch_rows=7)

    async def _write(self, journal: SimJournal) -> None:
        while True:
            self.written += 1
            await journal.append([note(self.written)], self.written)
            await asyncio.sleep(0.25)

    def settle(self) -> None:
        """A last process that only projects, after all faults."""
        self.loop.run(until_time=max(self.loop.time(), 3_600))
        life = self.loop.begin_life()
        journal = SimJournal.open(self.disk, life, self.loop)
        task = self.loop.start(life, self.projector(journal, life).drain(600))
        self.loop.run(until=task)
        assert task.result() == 0
        self.loop.kill(life)


def note(number: int) -> AnyFact:
    return SystemNoted(at=Millis(START + number), severity=Severity.INFO, component="test", text=f"{number}")


faults = st.builds(
    episode,
    st.sampled_from([*STORE_FAULTS, "store_postgres_wiped", "disk_torn_write"]),
    st.floats(0, 20),
    st.floats(20, 40),
    st.floats(0, 0.9),
)


@settings(max_examples=25, deadline=None)
@given(plan=st.lists(faults, max_size=6), lives=st.lists(st.floats(0.001, 8), min_size=1, max_size=6))
def test_the_database_ends_equal_to_the_journal_whatever_fails(plan: list[Episode], lives: list[float]) -> None:
    world = World(*plan)
    with world.loop:
        for seconds in lives:
            world.live(seconds)
        world.settle()
        assert world.database.rows == world.disk.rows


@pytest.mark.parametrize("name", STORE_FAULTS)
def test_each_trouble_is_met_and_counted(name: str) -> None:
    world = World(episode(name, 0, 10, 0.5))
    with world.loop:
        world.live(10)
        assert world.faults.counts[name] > 0
        world.settle()
        assert world.database.rows == world.disk.rows


def test_a_commit_that_is_on_its_way_when_the_process_dies_may_still_be_done() -> None:
    outcomes = set()
    for number in range(1, 60):
        world = World(episode("store_postgres_slow", 0, 10, 0.1))
        with world.loop:
            world.live(number / 30)
            before = len(world.database.rows)
            world.loop.run(until_time=10)
            outcomes.add(len(world.database.rows) > before)
    assert outcomes == {True, False}


def test_a_folder_that_is_lost_comes_back_from_the_database() -> None:
    world = World()
    with world.loop:
        world.live(5)
        world.settle()
        rows = list(world.disk.rows)
        world.disk.lose_folder()
        world.live(1)
        assert world.disk.rows[: len(rows)] == rows
        assert world.disk.genesis == GENESIS


def test_planned_damage_is_found_by_the_next_start_and_repaired() -> None:
    world = World(episode("disk_damage", 1, 1.1, 0.5))
    with world.loop:
        world.live(5)
        assert world.faults.counts["disk_damage"] == 1
        with pytest.raises(JournalDamagedError):
            world.live(1)
        assert world.database.repair(world.disk) == 0
        world.live(1)
        world.settle()
        assert world.database.rows == world.disk.rows


def test_a_lost_folder_is_lost_only_when_the_database_has_it_all() -> None:
    world = World(episode("disk_lost", 0, 1), episode("store_postgres_down", 0, 100))
    with world.loop:
        world.live(5)
        assert world.disk.genesis == GENESIS
        assert "disk_lost" not in world.faults.counts


# -- checkpoints -------------------------------------------------------------------------------------------------------


class OnlyHashes:
    """As much of a journal as a checkpoint asks."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def hash_at(self, seq: int) -> bytes | None:
        return bytes([seq]) * 32 if seq <= self.rows else None


def checkpointed(*, database: bool) -> tuple[SimCheckpoints, SimDisk]:
    world = World()
    world.loop.close()
    checkpoints = SimCheckpoints(world.disk, world.database if database else None, version=2)
    for seq in range(1, 6):
        checkpoints.save(OnlyHashes(10), seq, seq, Millis(START), b"state %d" % seq)
    return checkpoints, world.disk


def test_the_newest_checkpoint_is_found_and_only_the_newest_are_kept() -> None:
    checkpoints, disk = checkpointed(database=False)
    assert checkpoints.newest(OnlyHashes(10)) == b"state 5"
    assert len(disk.files) == FILES_KEPT


@pytest.mark.parametrize("harm", HARMS.values(), ids=list(HARMS))
@pytest.mark.parametrize(("database", "found"), [(False, b"state 4"), (True, b"state 5")])
def test_a_harmed_checkpoint_is_passed_over(
    harm: Callable[[bytes, float], bytes], database: bool, found: bytes
) -> None:
    checkpoints, disk = checkpointed(database=database)
    newest = max(disk.files)
    content = harm(disk.files.pop(newest), 0.7)
    if content:
        disk.files[newest] = content
    assert checkpoints.newest(OnlyHashes(10)) == found
    assert len(checkpoints.warnings) == (1 if content else 0)


def test_a_checkpoint_ahead_of_the_journal_or_of_another_history_is_passed_over() -> None:
    checkpoints, _ = checkpointed(database=True)
    assert checkpoints.newest(OnlyHashes(3)) == b"state 3"
    other = OnlyHashes(10)
    other.hash_at = lambda seq: bytes(32)  # type: ignore[method-assign]
    assert checkpoints.newest(other) is None


# -- Redis -------------------------------------------------------------------------------------------------------------


def test_states_arrive_once_redis_is_back() -> None:
    world = World(episode("store_redis_down", 0, 5))
    with world.loop as loop:
        life = loop.begin_life()
        line = SimLine(world.faults, world.clock.true_ms, life)
        bus = Bus(line, world.clock, Circuit("redis", REDIS_CIRCUIT, Random(1), Millis(START)), Random(2))
        loop.start(life, bus.run())
        bus.offer("market:BTC-15m", msgspec.json.encode({"price": 1}))
        loop.run(until_time=4.9)
        assert (line.values, bus.status().connected) == ({}, False)
        loop.run(until_time=15)
        assert (list(line.values), bus.status().connected) == (["market:BTC-15m"], True)
        loop.kill(life)
