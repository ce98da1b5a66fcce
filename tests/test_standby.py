"""Waiting for a folder, and what a folder remembers of other floors; the rest is in tests/e2e/test_standby.py."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from aiohttp import ClientSession
from loguru import logger

from polybot.settings import load_settings
from polybot.standby import NOTE, Standby, StoppedWaiting, last_holder, others_known, remember_others
from polybot.storage.seat import take_seat


def test_a_folder_that_never_learned_of_another_floor_may_start_alone(tmp_path: Path) -> None:
    assert not others_known(tmp_path)


@pytest.mark.parametrize("others", [True, False])
def test_what_is_known_of_others_survives_the_process(tmp_path: Path, others: bool) -> None:
    remember_others(tmp_path, others)
    assert others_known(tmp_path) is others


def test_a_folder_remembers_as_whom_its_floor_led(tmp_path: Path) -> None:
    assert last_holder(tmp_path) == ""
    remember_others(tmp_path, False, holder="vm:1:abcd")
    assert last_holder(tmp_path) == "vm:1:abcd"
    (tmp_path / NOTE).write_text('{"others": true}')
    assert (others_known(tmp_path), last_holder(tmp_path)) == (True, "")


def test_a_note_that_cannot_be_read_may_say_that_there_is_another(tmp_path: Path) -> None:
    (tmp_path / NOTE).write_text("{")
    assert others_known(tmp_path)


def test_a_note_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    remember_others(tmp_path / "missing", True)


async def test_a_second_one_serves_its_health_while_it_waits_and_gets_the_folder_when_it_is_free(
    tmp_path: Path,
) -> None:
    said: list[str] = []
    sink = logger.add(
        lambda line: said.append(str(line)), filter=lambda record: record["extra"].get("action") == "standby"
    )
    first = take_seat(tmp_path)
    waiting = asyncio.create_task(Standby(load_settings(data_dir=tmp_path, web_port=0), asyncio.Event()).seat())
    while not (found := re.search(r"http://[^)]+", "".join(said))):  # noqa: ASYNC110 - a log tells no event
        await asyncio.sleep(0.01)
    async with ClientSession() as ask, ask.get(found.group()) as answer:
        assert json.loads(await answer.text())["state"] == "standby"
    first.close()
    async with asyncio.timeout(5):
        (await waiting).close()
    logger.remove(sink)


async def test_a_stop_while_waiting_is_no_failure_and_begins_nothing(tmp_path: Path) -> None:
    stop = asyncio.Event()
    first = take_seat(tmp_path)
    waiting = asyncio.create_task(Standby(load_settings(data_dir=tmp_path, web_port=0), stop).seat())
    await asyncio.sleep(0.05)
    stop.set()
    with pytest.raises(StoppedWaiting):
        await waiting
    first.close()
