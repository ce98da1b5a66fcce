"""`polybot record`: live market data to disk, in tapes that `backtest` and `run` play."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer
from loguru import logger

from polybot import log
from polybot.cli.terminal import BottomLine, Progress
from polybot.live_settings import secret_values
from polybot.recording import record_live
from polybot.runs import recordings_path
from polybot.settings import Settings, load_settings
from polybot.storage.recorder import RecorderStatus

EXIT_STOPPED = 1


def add_to(app: typer.Typer) -> None:
    app.command()(record)


def record(
    folder: Annotated[Path | None, typer.Option(help="Where to; default: recordings in the data folder.")] = None,
    minutes: Annotated[float, typer.Option(min=0, help="Stop after so long; 0: until interrupted.")] = 0,
) -> None:
    """Write down everything the venue says, verbatim and as market events, until interrupted.

    Which venue and series, how much disk and how long a tape: the settings of a live floor.
    """
    settings = load_settings()
    target = folder or recordings_path(settings.data_dir)
    line = BottomLine()
    log.hide(secret_values(settings))
    log.set_up(settings.log_format, settings.log_level, line.above)
    where = settings.exchange or "Polymarket"
    told = "recording {} from {} into {}; Ctrl-C stops in order"
    logger.bind(action="open").info(told, ", ".join(settings.feed.series), where, target)
    last = asyncio.run(_record(settings, target, minutes, line))
    line.end()
    typer.echo(f"{_words(last)}; in {target}")
    if last.stopped is not None:
        raise typer.Exit(EXIT_STOPPED)


async def _record(settings: Settings, folder: Path, minutes: float, line: BottomLine) -> RecorderStatus:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    if minutes:
        loop.call_later(minutes * 60, stop.set)
    progress = Progress(line, loop.time)
    return await record_live(settings, folder, stop, lambda status: progress.show(_words(status)))


def _words(status: RecorderStatus) -> str:
    if status.stopped is not None:
        return f"NOT RECORDING: {status.stopped}"
    lost = f", {status.lost:,} lost" if status.lost else ""
    return f"{status.events:,} events, {status.frames:,} frames{lost}, {status.bytes / 1e6:.1f} MB on disk"
