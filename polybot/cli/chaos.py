"""`polybot chaos`: the hunt. Seed after seed of a simulated hour full of faults, with progress, a table, and the way
back to whatever failed.
"""

import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from polybot.chaos.bugs import BUGS
from polybot.chaos.faults import MENU
from polybot.chaos.hunt import HuntPlan, cores, hunt, run_here
from polybot.chaos.result import SeedResult
from polybot.chaos.seed import run_seed
from polybot.chaos.tally import Tally
from polybot.cli import chaos_real, chaos_rollover
from polybot.cli.terminal import BottomLine, log_progress
from polybot.domain.errors import BadInput
from polybot.paths import command

EXIT_VIOLATED = 1
EXIT_INTERRUPTED = 130
SHOWN_FAILURES_MAX = 5
PLAIN_EVERY_S = 15.0

app = typer.Typer(help="Hunt for what breaks the floor.", invoke_without_command=True)
chaos_real.add_to(app)
chaos_rollover.add_to(app)


def add_to(verbs: typer.Typer) -> None:
    verbs.add_typer(app, name="chaos")


@app.callback()
def chaos(
    context: typer.Context,
    *,
    seeds: Annotated[int, typer.Option(min=1, max=10_000_000, help="How many seeds.")] = 1000,
    first: Annotated[int, typer.Option(min=0, help="The first of them.")] = 1,
    days: Annotated[float | None, typer.Option(min=0.001, max=366, help="Simulated days a seed; default: 1 h.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, max=1024, help="Worker processes; default: one a core.")] = None,
    bug: Annotated[str | None, typer.Option(help="Plant this bug first, to see the hunt find it.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Just this one, and its last events.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write each seed's result here, a line of JSON each.")] = None,
) -> None:
    """The whole floor in simulated time under seeds: faults of every kind, kills between any two awaits, invariants
    checked after every event. Exit 1, and the command that replays it, where a seed fails.
    """
    if context.invoked_subcommand is not None:
        return
    if bug is not None and bug not in BUGS:
        raise BadInput(f"no such bug: {bug}; there are {', '.join(BUGS)}")
    plan = HuntPlan(first=first, seeds=seeds, days=days, bug=bug, jobs=jobs or cores())
    if seed is not None:
        _show_one(plan, run_here(plan, seed, run_seed), json)
        return
    tally, whole = _hunt(plan, json)
    Console().print(_totals(plan, tally))
    Console().print(_faults(tally))
    for failed in tally.failed[:SHOWN_FAILURES_MAX]:
        _show_failure(plan, failed)
    if len(tally.failed) > SHOWN_FAILURES_MAX:
        others = " ".join(str(failed.seed) for failed in tally.failed[SHOWN_FAILURES_MAX:])
        typer.secho(f"\nand seeds {others}", fg="red")
    _conclude(tally, whole=whole)


def _hunt(plan: HuntPlan, json: Path | None) -> tuple[Tally, bool]:
    """The tally, and whether all seeds were run: Ctrl-C ends the hunt with what there is."""
    tally, line, results = Tally(), BottomLine(), hunt(plan, run_seed)
    began = told = time.perf_counter()
    if json is not None:
        json.write_bytes(b"")
    try:
        for result in results:
            tally.add(result)
            _keep(result, json)
            now = time.perf_counter()
            text = progress_text(plan, tally, now - began)
            line.show(text)
            if line.plain and now - told > PLAIN_EVERY_S:
                told = now
                log_progress(text)
    except KeyboardInterrupt:
        line.end()
        typer.echo(f"stopped after {tally.seeds} of {plan.seeds} seeds", err=True)
        return tally, False
    finally:
        results.close()
        line.end()
    return tally, True


def progress_text(plan: HuntPlan, tally: Tally, wall_s: float) -> str:
    """`seed 312/1000 | 4,100 simulated hours per hour and worker | 912 faults, 92 kills | 0 violations | 2:11 left`"""
    left_s = wall_s / tally.seeds * (plan.seeds - tally.seeds)
    parts = [
        f"seed {tally.seeds}/{plan.seeds}",
        f"{tally.hours_per_hour:,.0f} simulated hours per hour and worker",
        f"{tally.faults.total():,} faults, {tally.kills:,} kills",
        f"{len(tally.failed)} violations",
        f"{left_s // 60:.0f}:{left_s % 60:02.0f} left",
    ]
    return " | ".join(parts)


def _keep(result: SeedResult, json: Path | None) -> None:
    if json is not None:
        with json.open("ab") as file:
            file.write(msgspec.json.encode(result) + b"\n")


# -- what is shown -----------------------------------------------------------------------------------------------------


def _totals(plan: HuntPlan, tally: Tally) -> Table:
    table = Table(title=f"{tally.seeds} seeds of {plan.hours:g} simulated hours", show_header=False)
    for name, value in _figures(tally):
        table.add_row(name, value)
    return table


def _figures(tally: Tally) -> list[tuple[str, str]]:
    figures = [
        ("simulated", f"{tally.hours:,.1f} hours in {tally.wall_s:,.0f} s of a worker, {tally.cpu_s:,.0f} s of a core"),
        (
            "speed, simulated hours",
            f"{tally.hours_per_hour:,.0f} an hour of a worker, {tally.hours_per_core_hour:,.0f} of a core",
        ),
        ("faults injected", f"{tally.faults.total():,} of {len(tally.faults)} kinds"),
        ("lives of the process", f"{tally.lives:,}, {tally.kills:,} ended by a kill"),
        ("journals repaired", f"{tally.repairs:,}"),
    ]
    recovery = tally.recovery()
    if recovery is not None:
        spans = [f"{ms / 1000:,.2f} s" for ms in (recovery.median_ms, recovery.p99_ms, recovery.worst_ms)]
        figures.append(("end to trading again (virtual)", "median {}, 99 % {}, worst {}".format(*spans)))
    figures += [
        ("windows", f"{tally.windows:,}, {tally.window_records:,} records"),
        ("orders, fills, trades", f"{tally.intents:,}, {tally.fills:,}, {tally.trades:,}"),
        ("facts", f"{tally.facts:,}"),
        ("market events, loop steps", f"{tally.market_events:,}, {tally.steps:,}"),
    ]
    if tally.memory_slopes:
        figures.append(("memory, world and all", f"{max(tally.memory_slopes):+,.0f} KiB per simulated day"))
    if tally.state_slopes:
        figures.append(("memory, the floor's own state", f"{max(tally.state_slopes):+,.0f} bytes per simulated day"))
    figures.append(("violations", str(len(tally.failed))))
    return figures


def _faults(tally: Tally) -> Table:
    table = Table(title="faults injected")
    table.add_column("kind")
    table.add_column("what it is")
    table.add_column("times", justify="right")
    for name, times in sorted(tally.faults.items()):
        known = MENU.get(name)
        table.add_row(name, known.text if known is not None else "", f"{times:,}")
    return table


def _show_one(plan: HuntPlan, result: SeedResult, json: Path | None) -> None:
    """One seed in full; its hash is the same on every machine."""
    if json is not None:
        json.write_bytes(b"")
    _keep(result, json)
    tally = Tally()
    tally.add(result)
    Console().print(_totals(plan, tally))
    Console().print(_faults(tally))
    typer.echo(f"event log of seed {result.seed}: {result.event_log_hash}")
    if result.violation is not None:
        _show_failure(plan, result)
    _conclude(tally, whole=True)


def _conclude(tally: Tally, *, whole: bool) -> None:
    """The last line says what came of it, and so does the exit code. Raises typer.Exit unless all is well."""
    typer.secho(f"\n{verdict(tally)}", fg="red" if tally.failed else "green")
    if tally.failed:
        raise typer.Exit(EXIT_VIOLATED)
    if not whole:
        raise typer.Exit(EXIT_INTERRUPTED)


def verdict(tally: Tally) -> str:
    """`3 of 1,000 seeds violated an invariant`, or `no violation in 1,000 seeds`."""
    seeds = f"{tally.seeds:,} seed{'' if tally.seeds == 1 else 's'}"
    return f"{len(tally.failed):,} of {seeds} violated an invariant" if tally.failed else f"no violation in {seeds}"


def _show_failure(plan: HuntPlan, result: SeedResult) -> None:
    typer.secho(f"\nseed {result.seed} VIOLATED {result.violation}", fg="red")
    for line in result.last_events:
        typer.echo(f"  {line}")
    typer.secho(f"again: {command()}{plan.replay_command(result.seed).removeprefix('polybot')}", fg="red")
