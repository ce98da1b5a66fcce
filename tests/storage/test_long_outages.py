"""A second, a minute and an hour without the database, in virtual time: how often it is asked, how soon it has all."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from polybot.chaos.clock import VirtualClock
from polybot.chaos.loop import VirtualLoop
from polybot.circuit import Circuit, CircuitState
from polybot.domain.units import Millis
from polybot.floor.status import StoreState
from polybot.storage.journal_file import JournalRow, row_hash
from polybot.storage.projection_store import Choose, Place, ProjectionAwayError
from polybot.storage.projector import BATCH_SECONDS_MAX, DATABASE_CIRCUIT, Projector
from polybot.store_watch import StoreWatch
from polybot.stores import database_status
from tests.storage import facts

GENESIS = b"g" * 32
ANSWER_S = 0.01


class GrowingJournal:
    """Four rows a second, for ever."""

    path, genesis = Path("journal"), GENESIS

    def __init__(self) -> None:
        self.rows: list[JournalRow] = []

    @property
    def last_seq(self) -> int:
        return len(self.rows)

    async def grow(self) -> None:
        while True:
            seq, before = self.last_seq + 1, self.hash_at(self.last_seq)
            payload = msgspec.json.encode(facts.note(seq))
            own = row_hash(before, seq, 0, payload)
            self.rows.append(JournalRow(seq=seq, position=0, payload=payload, prev_hash=before, hash=own))
            await asyncio.sleep(0.25)

    async def wait_beyond(self, seq: int, seconds_max: float) -> int:
        if self.last_seq <= seq:
            await asyncio.sleep(min(seconds_max, 0.25))
        return self.last_seq

    def read_rows(self, after_seq: int = 0) -> Iterator[JournalRow]:
        return iter(self.rows[after_seq:])

    def hash_at(self, seq: int) -> bytes:
        return self.rows[seq - 1].hash if seq else GENESIS


class AbsentDatabase:
    """Refuses while it is away, at once or after `hangs_s`; keeps what it was given while it was not."""

    def __init__(self, hangs_s: float) -> None:
        self.hangs_s = hangs_s
        self.away = False
        self.asked = 0
        self.rows: list[JournalRow] = []

    async def carry(self, genesis: bytes, choose: Choose) -> int:
        self.asked += 1
        if self.away:
            await asyncio.sleep(self.hangs_s)
            raise ProjectionAwayError("connection refused")
        await asyncio.sleep(ANSWER_S)
        last = self.rows[-1].hash if self.rows else genesis
        portion = await choose(Place(genesis=genesis, seq=len(self.rows), hash=last))
        if portion is not None:
            self.rows += portion.rows
        return len(self.rows)


async def live_through(away_s: int, hangs_s: float) -> tuple[list[str], int, float, list[JournalRow], list[JournalRow]]:
    """What was noted, how often an absent database was asked, how soon after its return it had all, and both books."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    clock = VirtualClock(loop, Millis(facts.START))
    journal, database, chance = GrowingJournal(), AbsentDatabase(hangs_s), random.Random(3)
    circuit = Circuit("database", DATABASE_CIRCUIT, chance, clock.now_ms())
    projector = Projector(journal, database, clock, circuit, chance)
    watch = StoreWatch("database", keeps_checkpoints=True)
    notes: list[str] = []

    def look() -> StoreState:
        status = database_status(projector.status(), clock.now_ms())
        notes.extend(note.text for note in watch.look(clock.now_ms(), status))
        return status.state

    tasks = [asyncio.create_task(projector.run()), asyncio.create_task(journal.grow())]
    await asyncio.sleep(10)
    assert look() is StoreState.OK
    database.away, asked_before = True, database.asked
    for _ in range(away_s):
        await asyncio.sleep(1)
        look()
    asked = database.asked - asked_before
    database.away, returned = False, loop.time()
    while look() is not StoreState.OK:  # noqa: ASYNC110 the watch looks from time to time, as in stores.py
        await asyncio.sleep(0.2)
    recovered_s = loop.time() - returned
    assert circuit.state is CircuitState.CLOSED
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return notes, asked, recovered_s, journal.rows, database.rows


@pytest.mark.parametrize(
    ("away_s", "hangs_s", "events"), [(1, 0.0, 2), (70, 0.0, 3), (3_600, 0.0, 3), (70, 100.0, 4), (3_600, 100.0, 4)]
)
def test_the_database_has_every_row_once_soon_after_it_returns(away_s: int, hangs_s: float, events: int) -> None:
    with VirtualLoop() as loop:
        notes, asked, recovered_s, written, stored = loop.run_until_complete(live_through(away_s, hangs_s))
    assert stored == written[: len(stored)]
    assert len(written) - len(stored) < 8, "what was written in the last looks"
    if hangs_s:
        assert recovered_s <= BATCH_SECONDS_MAX + 10, "the probe that was waiting when it came back ends first"
    else:
        assert 3 <= asked <= 8 + away_s / (DATABASE_CIRCUIT.open_ms_max / 2_000), "neither given up nor besieged"
        assert recovered_s <= DATABASE_CIRCUIT.open_ms_max / 1_000 + 2
    assert len(notes) == events, notes
    assert notes[-1].endswith("it has them all")
