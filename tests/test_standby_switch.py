"""Stopping the account at a standby, with the floor that leads dead, deaf, or on the same folder."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import ClientSession

from polybot.domain.units import Millis
from polybot.settings import load_settings
from polybot.standby_switch import UNANSWERED, StandbySwitch
from polybot.storage.candidate import StandbyStatus
from polybot.switch_file import STOP, SwitchAnswer, SwitchFile, Wish
from polybot.web.control import Control
from polybot.web.server import serve
from polybot.web.standby import create_standby_app
from tests.exchange.trading import KEY_OF_ALICE
from tests.test_doctor import NOBODY, WALLET
from tests.venue.polymarket.desk import few_certificates
from tests.venue.polymarket.order_rehearsal import rehearsal
from tests.web.test_control import BEARER, TOKEN, FakeSwitch


async def nobody(wish: Wish, seconds: float) -> SwitchAnswer | None:
    return None


def a_switch(folder: Path, **settings: object) -> StandbySwitch:
    switch = StandbySwitch(load_settings(data_dir=folder, **settings))
    switch.pass_on = nobody
    return switch


async def test_with_the_floor_dead_a_standby_cancels_everything_itself_and_will_not_trade_when_it_leads(
    tmp_path: Path,
) -> None:
    async with rehearsal(wallet=3, streams=False) as at:
        for number in range(1, 4):
            await at.place(at.intent(number, "0.40", "10"))
        switch = a_switch(tmp_path, exchange=at.server.url, private_key=KEY_OF_ALICE, wallet=WALLET)
        with few_certificates():
            report = await switch.stop(cancel_all=True, by="ann")
        assert at.exchange.engine.open_orders() == []
    assert report.done.endswith("every open order of the account was cancelled from here")
    assert report.trouble == UNANSWERED
    assert "cancel-all" in (tmp_path / STOP).read_text()


async def test_what_cannot_be_cancelled_from_here_is_told(tmp_path: Path) -> None:
    switch = a_switch(tmp_path, exchange=NOBODY, private_key=KEY_OF_ALICE, wallet=WALLET)
    with few_certificates():
        report = await switch.stop(cancel_all=True, by="ann")
    assert "not all orders were cancelled from here" in report.trouble


async def test_a_stop_without_cancelling_leaves_the_account_alone(tmp_path: Path) -> None:
    switch = a_switch(tmp_path, exchange=NOBODY, private_key=KEY_OF_ALICE, wallet=WALLET)
    report = await switch.stop(cancel_all=False, by="ann")
    assert report.trouble == UNANSWERED  # the venue, which does not answer, was not asked
    assert "cancel-all" not in (tmp_path / STOP).read_text()


async def test_a_floor_that_leads_on_this_very_folder_hears_of_it_by_the_file(tmp_path: Path) -> None:
    file, switch = SwitchFile(tmp_path), StandbySwitch(load_settings(data_dir=tmp_path))
    stopping = asyncio.create_task(switch.stop(cancel_all=False, by="ann"))
    file.granted(SwitchAnswer(id=await wished(file), text="the floor is paused"), resumed=False)
    report = await stopping
    assert (report.done.split("; ")[-1], report.trouble) == ("the floor that leads: the floor is paused", "")


async def wished(file: SwitchFile) -> str:
    """Which wish stands in the folder, once one does."""
    async with asyncio.timeout(10):
        while (wish := file.wish()) is None:  # noqa: ASYNC110 - a file tells no event
            await asyncio.sleep(0.01)
    return wish.id


async def test_a_wish_to_resume_stays_for_a_floor_that_leads_on_this_very_folder(tmp_path: Path) -> None:
    file, switch = SwitchFile(tmp_path), StandbySwitch(load_settings(data_dir=tmp_path))
    resuming = asyncio.create_task(switch.resume(by="ann"))
    file.granted(SwitchAnswer(id=await wished(file), text="the floor trades again"), resumed=True)
    assert (await resuming).trouble == ""


async def test_a_standby_has_nothing_to_pause_and_says_so(tmp_path: Path) -> None:
    report = await a_switch(tmp_path).pause(by="ann")
    assert (report.done, "pause the floor that leads" in report.trouble) == ("nothing", True)


@pytest.mark.parametrize(("headers", "status", "asked"), [(BEARER, 200, 1), ({}, 401, 0)])
async def test_a_standby_is_stopped_over_http_with_the_token_alone(
    headers: dict[str, str], status: int, asked: int
) -> None:
    switch, waiting = FakeSwitch(), StandbyStatus(since=Millis(1), why="first leads")
    server = await serve(create_standby_app(lambda: waiting, control=Control(switch, TOKEN)), port=0)
    try:
        async with ClientSession(server.url) as ask, ask.post("/api/stop", headers=headers) as answer:
            assert (answer.status, len(switch.asked)) == (status, asked)
    finally:
        await server.close()
