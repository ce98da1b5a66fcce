"""Runs that are over, runs that are put away, and a database that shows only ours."""

from pathlib import Path

from polybot.domain.events import AnyFact, RunEnded, Severity, SystemNoted
from polybot.domain.units import Millis
from polybot.storage.embedded import embedded_servers
from polybot.storage.journal import Journal
from polybot.storage.postgres import open_pool
from polybot.stores import is_finished, journal_path, make_room, migrate_database, put_away


async def a_run_that_ended_with(folder: Path, last: AnyFact) -> None:
    with Journal.open(journal_path(folder)) as journal:
        await journal.append([SystemNoted(at=Millis(1), severity=Severity.INFO, component="test", text="first")], 0)
        await journal.append([last], 0)


def the_end(*, finished: bool) -> RunEnded:
    return RunEnded(at=Millis(2), reason="", finished=finished)


async def test_a_run_is_finished_when_its_last_word_says_so(tmp_path: Path) -> None:
    assert not is_finished(journal_path(tmp_path / "nothing"))
    await a_run_that_ended_with(tmp_path / "over", the_end(finished=True))
    await a_run_that_ended_with(tmp_path / "stopped", the_end(finished=False))
    assert is_finished(journal_path(tmp_path / "over"))
    assert not is_finished(journal_path(tmp_path / "stopped"))


async def test_a_run_is_put_away_whole_under_the_next_free_number(tmp_path: Path) -> None:
    for number in (1, 2):
        await a_run_that_ended_with(tmp_path, the_end(finished=True))
        assert put_away(tmp_path) == tmp_path / f"finished-{number:04d}"
    assert is_finished(tmp_path / "finished-0002/journal.sqlite")
    assert put_away(tmp_path) is None


async def test_names_that_people_gave_to_kept_runs_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "finished-0001-keep").mkdir()
    (tmp_path / "finished-mine").mkdir()
    await a_run_that_ended_with(tmp_path, the_end(finished=True))
    assert put_away(tmp_path) == tmp_path / "finished-0002"


async def test_a_run_that_can_go_on_is_left_where_it_is(tmp_path: Path) -> None:
    await a_run_that_ended_with(tmp_path, the_end(finished=False))
    assert await make_room(tmp_path, None) is None
    assert journal_path(tmp_path).exists()


async def test_our_own_database_is_emptied_with_the_finished_run_and_can_be_used_again(tmp_path: Path) -> None:
    async with embedded_servers(tmp_path / "servers", valkey=False) as servers:
        assert servers.database_url is not None
        assert await migrate_database(servers.database_url)
        await a_run_that_ended_with(tmp_path, the_end(finished=True))
        assert await make_room(tmp_path, servers.database_url) == tmp_path / "finished-0001"
        pool = await open_pool(servers.database_url)
        assert await pool.fetchval("SELECT to_regclass('trades')") is None
        await pool.close()
        assert await migrate_database(servers.database_url)
