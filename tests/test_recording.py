"""`polybot record` against a real server that speaks the venue's protocols, and what can be done with its files."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from loguru import logger
from typer.testing import CliRunner

from polybot.cli import application
from polybot.domain.events import BookReplaced, MarketListed, ReferencePriced
from polybot.exchange.core.model import Rules
from polybot.exchange.exchange import Exchange
from polybot.exchange.fast_clock import FastClock
from polybot.exchange.recorded import recorded_windows
from polybot.exchange.server import Server, create_app, serve
from polybot.exchange.surroundings import Surroundings
from polybot.exchange.timetable import plan_series
from polybot.importing.registry import import_tape
from polybot.paths import tapes_dir
from polybot.recording import record_live
from polybot.settings import FeedSettings, load_settings
from polybot.storage.recorder import RecorderStatus
from polybot.storage.tape import read_tape, verify_tape
from polybot.storage.tape_blocks import read_frames
from tests.builders import Floor, a_plan

if TYPE_CHECKING:
    from loguru import Message

MINUTE_MS = 60_000


@pytest.fixture
async def exchange() -> AsyncIterator[Server]:
    made = Exchange(FastClock(1.0), rules=Rules(), seed=1)
    windows = recorded_windows(sorted(tapes_dir().glob("*.tape")))
    around = Surroundings(made, plan_series(windows, ["BTC"], frame_ms=15 * MINUTE_MS, version="v1"))
    server = await serve(create_app(made, [around.add_to]), "127.0.0.1", 0)
    yield server
    await server.close()


async def test_everything_the_venue_says_is_on_disk_plays_and_can_be_read_again(exchange, tmp_path):
    stop, folder = asyncio.Event(), tmp_path / "recordings"

    def enough(status: RecorderStatus) -> None:
        if status.events > 20 and status.frames > 20:
            stop.set()

    async with asyncio.timeout(20):
        settings = load_settings(exchange=exchange.url, feed=FeedSettings(series=["BTC-15m"]))
        status = await record_live(settings, folder, stop, enough)
    assert (status.stopped, status.lost) == (None, 0)
    (tape,), (frames,) = folder.glob("*.tape"), folder.glob("*.frames")
    counts = verify_tape(tape).counts
    assert {kind.__name__ for kind in (MarketListed, BookReplaced, ReferencePriced)} <= counts.keys()
    assert {"gamma", "clob", "market", "rtds"} <= {frame.source for frame in read_frames(frames)}
    Floor(a_plan()).play(*read_tape(tape))
    assert twice_read(frames, tmp_path) == sorted_events(tape)


async def test_what_the_catalogue_finds_odd_is_told_once_while_it_records(exchange, tmp_path):
    stop = asyncio.Event()
    async with asyncio.timeout(20):
        settings = load_settings(exchange=exchange.url, feed=FeedSettings(series=["BTC-15m"], check_s=0))
        with told_of_the_catalogue(stop) as told:
            await record_live(settings, tmp_path, stop, lambda status: None)
    assert told == [("WARNING", DELAY_ASSUMED)]


DELAY_ASSUMED = "BTC-15m holds takers' orders back and does not say how long: 150 ms are assumed"


@contextmanager
def told_of_the_catalogue(heard: asyncio.Event) -> Iterator[list[tuple[str, str]]]:
    """Level and text of each line of the log that is about what it assumes; `heard` is set by the first."""
    told: list[tuple[str, str]] = []

    def take(line: "Message") -> None:
        told.append((line.record["level"].name, line.record["message"]))
        heard.set()

    sink = logger.add(take, filter=lambda record: "assumed" in record["message"], catch=False)
    try:
        yield told
    finally:
        logger.remove(sink)


def twice_read(frames: Path, folder: Path) -> list[str]:
    """The frames decoded again: the same bytes each time, and the events the floor had."""
    first, second = folder / "first.tape", folder / "second.tape"
    import_tape("recorded", frames, first)
    import_tape("recorded", frames, second)
    assert first.read_bytes() == second.read_bytes()
    return sorted_events(first)


def sorted_events(tape: Path) -> list[str]:
    """Without the time of receipt, which the feeder moves on where events wait for each other."""
    return sorted(
        str([getattr(e, name) for name in e.__struct_fields__ if name != "received"]) for e in read_tape(tape)
    )


def test_the_verb_says_what_it_records_and_where_to_before_anything_else(tmp_path):
    given = {"POLYBOT_EXCHANGE": "http://127.0.0.1:9", "POLYBOT_DATA_DIR": str(tmp_path)}
    result = CliRunner().invoke(application(["record"]), ["record"], env=given)
    assert f"recording BTC-15m, ETH-15m from http://127.0.0.1:9 into {tmp_path / 'recordings'}" in result.output
    assert "no loopback exchange answers" in str(result.exception)
