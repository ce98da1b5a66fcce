"""`polybot chaos real`: the real service under kill -9, with real servers. `make chaos` types it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.table import Table

from polybot.chaos.real import Comeback, Outcome, run_chaos
from polybot.chaos.real_plan import Target
from polybot.cli.trial import Trial
from polybot.paths import command

TEXT = {Target.SERVICE: "the service", Target.DATABASE: "PostgreSQL", Target.CACHE: "Valkey"}


def add_to(app: typer.Typer) -> None:
    app.command()(real)


def real(
    kills: Annotated[int, typer.Option(min=3, max=100_000, help="Kills in all, a third each of the three.")] = 60,
    seed: Annotated[int, typer.Option(help="Seed of what is struck when.")] = 1,
    folder: Annotated[Path | None, typer.Option(help="An empty folder to work in, kept afterwards.")] = None,
) -> None:
    """Kill the real service, PostgreSQL and Valkey at random moments under load, then compare everything, row by row.

    60 kills take about three minutes. Exit 1, and the folder is kept, where anything was lost, doubled or different.
    """
    trial = Trial(folder, "chaos")
    outcome = asyncio.run(run_chaos(kills, seed, trial.place, trial.tell))
    trial.show(outcome, _table(outcome), _summary(outcome))
    trial.conclude(
        outcome.findings,
        kept=f"; again: {command()} chaos real --kills {kills} --seed {seed}",
        all_is_well="nothing lost, nothing doubled, database equal to journal",
    )


def _table(outcome: Outcome) -> Table:
    table = Table(title="from kill -9 to trading again, seconds (the service's own servers' start apart)")
    for column in (
        "killed",
        "with",
        "times",
        "run taken up, median",
        "trading, median",
        "trading, worst",
        "own servers",
    ):
        table.add_column(column, justify="left" if column in ("killed", "with") else "right")
    groups = sorted({(comeback.servers, comeback.killed) for comeback in outcome.comebacks})
    for servers, killed in groups:
        seen = [one for one in outcome.comebacks if (one.servers, one.killed) == (servers, killed)]
        table.add_row(killed, servers, *_figures(seen))
    table.add_section()
    table.add_row("all", "", *_figures(outcome.comebacks))
    return table


def _figures(seen: Sequence[Comeback]) -> list[str]:
    if not seen:
        return ["0"]
    started = median(one.started_s - one.servers_s for one in seen)
    trading = [one.trading_s - one.servers_s for one in seen]
    servers = median(one.servers_s for one in seen)
    return [str(len(seen)), f"{started:.2f}", f"{median(trading):.2f}", f"{max(trading):.2f}", f"{servers:.2f}"]


def _summary(outcome: Outcome) -> str:
    kills = ", ".join(f"{TEXT[target]} {outcome.kills[target]}" for target in Target)
    freezes = ", ".join(f"{TEXT[target]} {outcome.freezes[target]}" for target in Target)
    return (
        f"kills: {sum(outcome.kills.values())} ({kills}); frozen for a while: {freezes}; starts: {outcome.launches}, "
        f"given up as an own server was killed meanwhile: {outcome.given_up}\n"
        f"{outcome.rounds} rounds: {outcome.facts:,} facts, {outcome.orders:,} orders ({outcome.never_sent} never "
        f"sent), {outcome.fills:,} fills, {outcome.records} window records; {outcome.rows:,} database rows compared"
    )
