"""`polybot backtest`: the very same desks over tapes, at full speed, with no server."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from polybot.app import Backtest
from polybot.backtest.report_builder import build_report
from polybot.backtest.report_html import render_html
from polybot.backtest.report_text import render_text
from polybot.cli.terminal import BottomLine, signed, utc_clock
from polybot.domain.units import UNIT, Millis, Money
from polybot.settings import load_settings


def add_to(app: typer.Typer) -> None:
    app.command()(backtest)


def backtest(
    tape: Annotated[
        list[Path] | None, typer.Option(help="A tape; several are merged. Default: the shipped one.")
    ] = None,
    strategy: Annotated[list[str] | None, typer.Option(help="Only these strategies or agents; default: all.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write the report, with plots, to this file.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the paper venue's chance.")] = None,
) -> None:
    """Play tapes through the configured agents and report what came of it."""
    settings = load_settings(seed=seed)
    test = Backtest(settings, tape or [settings.tape], strategy or [])
    line = BottomLine()

    def progress(position: int, now: Millis, equity: Money, pnl: Money) -> None:
        line.show(f"{utc_clock(now)} UTC  |  {position:,} events  |  equity {equity / UNIT:,.2f} ({signed(pnl)})")

    began = time.perf_counter()
    facts = test.run(progress)
    seconds = time.perf_counter() - began
    line.end()
    report = build_report(facts)
    sys.stdout.write(render_text(report))
    if html is not None:
        html.write_text(render_html(report))
        typer.echo(f"written: {html}", err=True)
    typer.echo(f"{test.position:,} market events in {seconds:.1f} s", err=True)
