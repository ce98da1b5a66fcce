"""A floor whose tape is over, its page kept up."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from polybot.app import _hold_page
from polybot.clock import SystemClock
from polybot.floor.kill_switch import KillSwitch
from polybot.switch_file import SwitchFile, Wish


async def test_a_held_floor_answers_polybot_stop_as_a_running_one_does(tmp_path: Path) -> None:
    file, stop = SwitchFile(tmp_path), asyncio.Event()
    switch = KillSwitch(file, cast(Any, None), SystemClock(), lambda: True)
    leading = asyncio.create_task(asyncio.Event().wait())
    house, board = SimpleNamespace(kill_switch=switch), SimpleNamespace(finished=False)
    holding = asyncio.create_task(_hold_page(*cast(Any, (house, board, stop, SimpleNamespace(task=leading)))))
    file.ask_stop(Wish(stop=True, id="a stop"))
    assert await answer(file, "a stop") == "the tape is over: nothing is traded any more"
    stop.set()
    async with asyncio.timeout(10):
        await holding
    leading.cancel()


async def answer(file: SwitchFile, wish: str) -> str:
    async with asyncio.timeout(10):
        while (told := file.answer()) is None or told.id != wish:  # noqa: ASYNC110 - a file tells no event
            await asyncio.sleep(0.02)
    return told.text
