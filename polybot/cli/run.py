"""`polybot run`: the main job."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from loguru import logger

from polybot import log
from polybot.app import OpenFloor, RunOutcome, run_floor
from polybot.cli.process import WatchedProcess
from polybot.cli.terminal import (
    PLAIN_EVERY_S,
    BottomLine,
    Progress,
    log_outlet,
    log_progress,
    nobody_waits,
    progress_text,
)
from polybot.domain.errors import BadInput
from polybot.live_settings import forget_secrets, secret_values
from polybot.paths import as_typed
from polybot.settings import Settings, load_settings, require_startable
from polybot.standby import StoppedWaiting

SHOW_EVERY_S = 0.25


def add_to(app: typer.Typer) -> None:
    app.command()(run)


def run(
    tape: Annotated[Path | None, typer.Option(help="The tape to play; default: the one shipped.")] = None,
    speed: Annotated[float | None, typer.Option(help="Seconds of the tape per second; 0: as fast as it goes.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where journal, checkpoints and servers live.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the paper venue's chance.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the page; 0: any free one.")] = None,
) -> None:
    """Run the floor. With nothing else said: recorded markets, own servers, paper money. Ctrl-C stops it in order."""
    settings = load_settings(tape=tape, speed=speed, data_dir=data_dir, seed=seed, web_port=port)
    if tape is not None and settings.source != "tape":  # who types it expects no orders at the venue
        raise BadInput(
            f"--tape is for recorded markets, and POLYBOT_SOURCE is {settings.source}: leave one of them out"
        )
    log.hide(secret_values(settings))
    forget_secrets(os.environ)
    outlet = log_outlet(settings.log_format)
    line = BottomLine(outlet)
    log.set_up(settings.log_format, settings.log_level, line.above)
    process = WatchedProcess(settings.stall_exit_s, settings.stop_s_max, outlet.flush)
    with nobody_waits(line, outlet):
        if settings.role == "feed":
            process.run(lambda stop: _feed(settings, line, process, stop))
            typer.echo(
                "Stopped in order. Floors that take their data from here doubt their books until a feed is back."
            )
            return
        outcome = _live(settings, line, process)
    if outcome is not None:
        _report(outcome)


def _live(settings: Settings, line: BottomLine, process: WatchedProcess) -> RunOutcome | None:
    """Run the floor; how it ended if the tape is over, else None, and why has been said."""
    try:
        outcome = process.run(lambda stop: _run(settings, line, process, stop))
    except StoppedWaiting:
        typer.echo("Stopped while it waited as a standby: it had traded nothing.")
        return None
    if outcome.finished:
        return outcome
    farewell = (
        f"Stopped in order. Everything is written down in {outcome.data_dir}; the same command goes on from here "
        f"(`polybot reset --data-dir {outcome.data_dir}` puts this run away and starts anew)."
    )
    typer.echo(as_typed(farewell))
    return None


async def _run(settings: Settings, line: BottomLine, process: WatchedProcess, stop: asyncio.Event) -> RunOutcome:
    shown: list[asyncio.Task[None]] = []

    def on_open(floor: OpenFloor) -> None:
        process.judge(floor.vitals)
        floor.board.loop_health = process.health
        _say_hello(floor, settings)
        shown.append(asyncio.create_task(_show(floor, line), name="progress"))

    try:
        return await run_floor(settings, stop, on_open, process.closing)
    finally:
        for task in shown:
            task.cancel()
        line.end()


async def _feed(settings: Settings, line: BottomLine, process: WatchedProcess, stop: asyncio.Event) -> None:
    """Market data to Redis, and nothing else (POLYBOT_ROLE=feed)."""
    from polybot.feeding import run_feed  # noqa: PLC0415 - sockets and Redis, which a floor on a tape starts without

    require_startable(settings)
    assert settings.redis_url is not None, "the settings require it"
    where = settings.exchange or "Polymarket"
    told = "market data of {} from {} goes to Redis, and nothing is traded; Ctrl-C stops in order"
    logger.bind(action="open").info(told, ", ".join(settings.feed.series), where)
    process.judge(())
    try:
        progress = Progress(line, asyncio.get_running_loop().time)
        await run_feed(settings, settings.redis_url, stop, progress.show)
    finally:
        line.end()


async def _show(floor: OpenFloor, line: BottomLine) -> None:
    """Keep the bottom line true; where there is no terminal, log progress now and then."""
    every = PLAIN_EVERY_S if line.plain else SHOW_EVERY_S
    while True:
        await asyncio.sleep(every)
        text = progress_text(floor.board.status())
        (log_progress if line.plain else line.show)(text)


def _say_hello(floor: OpenFloor, settings: Settings) -> None:
    say = logger.bind(action="open").info
    say("the page: {}", floor.url)
    if floor.psql:
        say("the database: {}", floor.psql)
    if floor.redis_cli:
        say("the bus: {} GET market:BTC-15m", floor.redis_cli)
    if settings.source != "tape":
        say("{}; Ctrl-C stops in order", stakes(settings))
        return
    pace = f"at {settings.speed:g} times real time" if settings.speed else "as fast as it goes"
    if floor.resumed_at:
        say("going on at market event {} of the last run, {}", floor.resumed_at, pace)
    else:
        say("playing {} {}; Ctrl-C stops in order", settings.tape.name, pace)


def stakes(settings: Settings) -> str:
    """Whose money it is: nobody may take a rehearsal for the real thing, nor the other way round."""
    if settings.exchange is None:
        money = "REAL MONEY" if settings.mode == "live" else "paper money"
        return f"{money} on live data from Polymarket"
    money = "live orders for the exchange's own money" if settings.mode == "live" else "paper money"
    return f"{money} on the loopback exchange {settings.exchange}"


def _report(outcome: RunOutcome) -> None:
    # only now: a floor that starts has better things to do than to import what draws reports
    from polybot.backtest.report_builder import build_report  # noqa: PLC0415
    from polybot.backtest.report_text import render_text  # noqa: PLC0415

    sys.stdout.write(render_text(build_report(outcome.facts)))
