"""`polybot rehearse`: live mode against the loopback exchange under faults, and all books compared. `make rehearse`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from polybot.cli.trial import Trial
from polybot.paths import command
from polybot.rehearsal.plan import Kind
from polybot.rehearsal.run import Outcome, Rehearsal, Terms

WINDOWS_AN_HOUR = 4


def add_to(app: typer.Typer) -> None:
    app.command()(rehearse)


def rehearse(
    *,
    hours: Annotated[float, typer.Option(min=0.25, max=1_000, help="Of the exchange's clock.")] = 3.0,
    speed: Annotated[float, typer.Option(min=1, max=60, help="How fast that clock runs.")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the faults, and of the exchange's chance.")] = 1,
    ghost_rate: Annotated[float, typer.Option(min=0, max=1, help="Share of trades that fail on chain.")] = 0.35,
    gap: Annotated[float, typer.Option(min=0.1, help="Seconds between two faults, in the mean.")] = 5.0,
    into: Annotated[float | None, typer.Option(help="Seconds of the first window that are over at the start.")] = None,
    folder: Annotated[Path | None, typer.Option(help="An empty folder to work in, kept afterwards.")] = None,
) -> None:
    """Rehearse live trading: real orders, signed for real, against `polybot exchange` with its faults switched on.

    Afterwards the floor's ledger and the exchange's books must agree to the last millionth. 3 hours at ten times the
    speed take 20 minutes. Exit 1, and the folder is kept, where anything differs.
    """
    trial = Trial(folder, "rehearsal")
    windows = max(1, round(hours * WINDOWS_AN_HOUR))
    terms = Terms(speed=speed, windows=windows, seed=seed, ghost_rate=ghost_rate, gap_s=gap, into_s=into)
    outcome = asyncio.run(Rehearsal(trial.place, terms, trial.tell).run())
    trial.show(outcome, _table(outcome), _summary(outcome))
    again = f"{command()} rehearse --seed {seed} --hours {hours:g} --speed {speed:g} --gap {gap:g}"
    trial.conclude(
        outcome.findings,
        kept=f": data.log and exchange.log are the logs, data/floor/journal.sqlite is the journal; again: {again}",
        all_is_well="the floor's ledger and the exchange's books agree to the last millionth",
    )


def _table(outcome: Outcome) -> Table:
    table = Table(title="what it was rehearsed with")
    table.add_column("fault")
    table.add_column("times", justify="right")
    table.add_row("trades that failed on chain", str(outcome.ghosts))
    for kind in Kind:
        table.add_row(kind.value, str(outcome.faults[kind]))
    return table


def _summary(outcome: Outcome) -> str:
    return (
        f"{outcome.hours:.2f} hours at {outcome.terms.speed:g} times the speed, {outcome.windows} windows, seed "
        f"{outcome.terms.seed}, in {outcome.seconds:.0f} s; {outcome.launches} starts, {outcome.given_up} given up\n"
        f"{outcome.orders} orders, {outcome.reached} taken by the exchange, {outcome.batched} sent with others, "
        f"{outcome.never_sent} never sent; "
        f"{outcome.fills} fills of {outcome.turnover / 1_000_000:,.2f} pUSD: {outcome.confirmed} confirmed, "
        f"{outcome.ghosts} ghosts; {outcome.facts:,} facts, {outcome.rows:,} database rows compared"
    )
