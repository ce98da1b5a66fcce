"""A wish to stop that goes from a standby to the floor that leads, and its answer, by a real PostgreSQL."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

from polybot.settings import load_settings
from polybot.standby_switch import StandbySwitch, wishes_of_standbys
from polybot.storage.switch_line import pass_on
from polybot.switch_file import RESUME, STOP, Wish
from tests.web.test_control import FakeSwitch

LISTENERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1"
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1"


@pytest.fixture
async def watcher(empty_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty_url)
    yield connection
    await connection.close()


@asynccontextmanager
async def leading(url: str, watcher: asyncpg.Connection, account: str = "live") -> AsyncIterator[FakeSwitch]:
    """A floor that leads the account and hears what standbys pass on."""
    switch = FakeSwitch()
    working = asyncio.create_task(wishes_of_standbys(url, account, switch, random.Random(1))())
    try:
        async with asyncio.timeout(20):
            while not await watcher.fetchval(LISTENERS, f"polybot stop {account}"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        yield switch
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working


async def test_what_a_standby_is_asked_the_floor_that_leads_does_and_says(empty_url, watcher, tmp_path):
    async with leading(empty_url, watcher) as floor:
        standby = StandbySwitch(load_settings(data_dir=tmp_path))
        standby.pass_on = lambda wish, seconds: pass_on(empty_url, "live", wish, seconds)
        report = await standby.stop(cancel_all=True, by="ann")
        assert floor.asked == [("stop", True, "ann, asked of a standby")]
        assert report.trouble == ""
        assert report.done.endswith("the floor that leads: stopped")
        assert (tmp_path / STOP).exists(), "or this one would trade when it takes over"
        report = await standby.resume(by="ann")
        assert (floor.asked[-1][0], report.trouble) == ("resume", "")
        assert not (tmp_path / STOP).exists()
        assert not (tmp_path / RESUME).exists(), "granted at the take-over, it would lift a stop that came later"


async def test_what_the_floor_that_leads_could_not_do_is_told(empty_url, watcher):
    async with leading(empty_url, watcher) as floor:
        floor.trouble = "an order is still open"
        answer = await pass_on(empty_url, "live", Wish(stop=True, id="a"), 20)
        assert answer is not None
        assert answer.trouble == "an order is still open"


async def test_where_nobody_leads_the_account_nobody_is_waited_for(empty_url, watcher):
    async with leading(empty_url, watcher, account="paper") as floor, asyncio.timeout(20):
        assert await pass_on(empty_url, "live", Wish(stop=True, id="a"), 600) is None
        assert floor.asked == []


async def test_a_floor_whose_connection_was_lost_listens_again(empty_url, watcher):
    async with leading(empty_url, watcher) as floor, asyncio.timeout(20):
        await watcher.execute(END, "polybot stop live")
        while await pass_on(empty_url, "live", Wish(stop=True, id="a"), 5) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert floor.asked


async def test_a_database_that_is_away_is_no_answer_and_no_crash():
    assert await pass_on("postgresql://127.0.0.1:1/none", "live", Wish(stop=True, id="a"), 5) is None
