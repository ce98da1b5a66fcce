"""The journal keeps its promise: what it acknowledged is there, in order and unchanged, whatever ended the process."""

import asyncio
import contextlib
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from polybot.domain.events import MetricsRecorded, OrderAccepted
from polybot.domain.ids import AgentId, OrderId
from polybot.domain.units import Millis, Money
from polybot.storage import journal as journal_module
from polybot.storage.journal import Journal
from polybot.storage.journal_file import (
    JournalInUseError,
    open_for_reading,
)
from polybot.storage.journal_queue import (
    FactUnwritableError,
    JournalClosedError,
    JournalFailedError,
    JournalOverloadedError,
)
from polybot.storage.journal_verify import verify
from tests.storage.journals import note, texts


async def test_facts_come_back_as_they_went_in_with_their_places(path: Path) -> None:
    accepted = OrderAccepted(at=Millis(5), agent=AgentId("momentum"), order=OrderId("momentum-000001"))
    with Journal.open(path) as journal:
        first = await journal.append([note(1), accepted], position=41)
        second = await journal.append([note(2)], position=42)
        assert [(entry.seq, entry.position) for entry in first + second] == [(1, 41), (2, 41), (3, 42)]
        assert list(journal.read()) == first + second
        assert list(journal.read(after_seq=2)) == second


async def test_an_append_of_nothing_takes_no_place(path: Path) -> None:
    with Journal.open(path) as journal:
        assert await journal.append([], position=1) == []
        assert journal.last_seq == 0


async def test_appends_get_their_places_in_the_order_of_the_calls(path: Path) -> None:
    with Journal.open(path) as journal:
        futures = [journal.submit([note(2 * n), note(2 * n + 1)], position=n) for n in range(500)]
        answers = await asyncio.gather(*futures)
        assert [entry.seq for answer in answers for entry in answer] == list(range(1, 1001))
        assert texts(journal) == [str(n) for n in range(1000)]


async def test_many_appends_share_one_transaction_and_one_wake_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wakes = 0
    with Journal.open(path) as journal:
        await journal.append([note(0)], position=0)
        loop = asyncio.get_running_loop()
        wake = loop.call_soon_threadsafe

        def counted(*arguments, **named):
            nonlocal wakes
            wakes += 1
            return wake(*arguments, **named)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        await asyncio.gather(*[journal.submit([note(n)], position=n) for n in range(800)])
        assert 1 <= wakes <= 10


async def test_a_reopened_journal_goes_on_where_it_was(path: Path) -> None:
    with Journal.open(path) as journal:
        await journal.append([note(1)], position=1)
        genesis, last_hash = journal.genesis, journal.last_hash
    with Journal.open(path) as journal:
        assert (journal.genesis, journal.last_seq, journal.last_hash) == (genesis, 1, last_hash)
        [entry] = await journal.append([note(2)], position=2)
        assert entry.seq == 2
    report = verify(path)
    assert report.whole
    assert report.rows == 2


async def test_two_new_journals_are_never_the_same_unless_told_to_be(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "a") as one, Journal.open(tmp_path / "b") as other:
        assert one.genesis != other.genesis
    with Journal.open(tmp_path / "c", genesis=b"g" * 32) as told:
        assert told.genesis == b"g" * 32


async def test_reading_goes_on_beside_writing_from_another_thread(path: Path) -> None:
    with Journal.open(path) as journal:
        await asyncio.gather(*[journal.submit([note(n)], position=n) for n in range(1000)])
        reader = asyncio.create_task(asyncio.to_thread(lambda: len(list(journal.read()))))
        for n in range(1000, 3000, 100):
            await asyncio.gather(*[journal.submit([note(n + i)], position=n) for i in range(100)])
        assert 1000 <= await reader <= 3000
        assert texts(journal) == [str(n) for n in range(3000)]


async def test_whoever_follows_the_journal_is_woken_by_the_next_commit(path: Path) -> None:
    with Journal.open(path) as journal:
        follower = asyncio.create_task(journal.wait_beyond(0, seconds_max=10.0))
        await asyncio.sleep(0)
        await journal.append([note(1)], position=0)
        assert await follower == 1
        assert await journal.wait_beyond(1, seconds_max=0.01) == 1


async def test_a_fact_that_would_read_back_differently_is_refused_and_the_journal_goes_on(path: Path) -> None:
    ratio = float("nan")
    bad = MetricsRecorded(
        at=Millis(1), agent=None, trades=0, wins=0, pnl=Money(0), fees=Money(0), equity=Money(0), exposure=Money(0),
        win_rate=None, sharpe=None, drawdown=ratio, uptime=1.0,
    )  # fmt: skip
    with Journal.open(path) as journal:
        with pytest.raises(FactUnwritableError, match="MetricsRecorded"):
            await journal.append([note(1), bad], position=0)
        [entry] = await journal.append([note(2)], position=0)
        assert entry.seq == 1


async def test_a_second_writer_is_refused_and_told_who_holds_the_journal(path: Path) -> None:
    with Journal.open(path), pytest.raises(JournalInUseError, match=f"process {os.getpid()}"):
        Journal.open(path)
    Journal.open(path).close()


async def test_facts_can_be_neither_changed_nor_removed_nor_squeezed_in(path: Path) -> None:
    with Journal.open(path) as journal:
        await journal.append([note(1), note(2)], position=0)
    with sqlite3.connect(path) as connection:
        for statement in (
            "UPDATE facts SET payload = '{}' WHERE seq = 1",
            "DELETE FROM facts WHERE seq = 2",
            "INSERT INTO facts (seq, position, payload, prev_hash, hash) VALUES (4, 0, '{}', x'', x'')",
            "REPLACE INTO facts (seq, position, payload, prev_hash, hash) VALUES (2, 0, '{}', x'', x'')",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)
    connection.close()


async def test_people_can_query_kind_and_time_with_plain_sqlite(path: Path) -> None:
    with Journal.open(path) as journal:
        await journal.append([note(1)], position=0)
        connection = open_for_reading(path)
        assert connection.execute("SELECT kind, at FROM facts").fetchall() == [(b"SystemNoted", 1001)]
        connection.close()


# -- a disk that fails -------------------------------------------------------------------------------------------------


async def test_a_full_disk_fails_every_waiting_append_and_all_later_ones_and_loses_nothing(path: Path) -> None:
    journal = Journal.open(path, pages_max=40)
    acknowledged = 0
    while journal.failure is None:
        with contextlib.suppress(JournalFailedError):
            await journal.append([note(acknowledged, "x" * 200)], position=acknowledged)
            acknowledged += 1
    with pytest.raises(JournalFailedError, match="free some space"):
        await journal.append([note(0)], position=0)
    journal.close()
    with Journal.open(path) as mended:
        assert mended.last_seq == acknowledged
        await mended.append([note(1)], position=1)


async def test_everyone_waiting_learns_of_the_failure(path: Path) -> None:
    journal = Journal.open(path, pages_max=40)
    answers = await asyncio.gather(
        *[journal.append([note(n, "x" * 2000)], position=n) for n in range(3000)], return_exceptions=True
    )
    kept = [answer for answer in answers if isinstance(answer, list)]
    assert all(isinstance(answer, (list, JournalFailedError)) for answer in answers)
    assert len(kept) < 3000
    journal.close()
    assert verify(path).rows == len(kept)


async def test_a_disk_that_hangs_shows_in_how_long_the_first_in_line_has_waited(path: Path) -> None:
    with Journal.open(path) as journal:
        assert journal.oldest_pending_s(10.0) == 0.0
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")  # the writer waits for it, as it would for a disk
        slow = journal.submit([note(1)], position=0)
        assert journal.oldest_pending_s(20.0) == 0.0  # seen for the first time
        journal.submit([note(2)], position=0)
        assert journal.oldest_pending_s(23.5) == 3.5
        blocker.execute("ROLLBACK")
        blocker.close()
        await slow
        await journal.append([note(3)], position=0)
        assert journal.oldest_pending_s(30.0) == 0.0


async def test_a_bug_in_the_writer_thread_leaves_nobody_waiting(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda details: None)
    journal = Journal.open(path)
    monkeypatch.setattr(journal_module, "_insert_statement", lambda count: 1 / 0)
    with pytest.raises(JournalFailedError, match="bug"):
        await asyncio.wait_for(journal.append([note(1)], position=0), 5)
    journal.close()


async def test_beyond_the_bound_an_append_is_refused_and_the_rest_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polybot.storage.journal_queue.PENDING_FACTS_MAX", 10)
    with Journal.open(path) as journal:
        futures = [journal.submit([note(n)], position=0) for n in range(10)]
        with pytest.raises(JournalOverloadedError, match="pause trading"):
            journal.submit([note(11)], position=0)
        await asyncio.gather(*futures)
        [entry] = await journal.append([note(12)], position=0)
        assert entry.seq == 11


async def test_closing_writes_what_waits_and_refuses_what_comes_later(path: Path) -> None:
    journal = Journal.open(path)
    futures = [journal.submit([note(n)], position=0) for n in range(100)]
    journal.close()
    assert len(await asyncio.gather(*futures)) == 100
    with pytest.raises(JournalClosedError):
        await journal.append([note(1)], position=0)


async def test_a_cancelled_append_is_written_all_the_same(path: Path) -> None:
    with Journal.open(path) as journal:
        task = asyncio.create_task(journal.append([note(1)], position=0))
        await asyncio.sleep(0)
        task.cancel()
        await journal.append([note(2)], position=0)
        assert texts(journal) == ["1", "2"]
