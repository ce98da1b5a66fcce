"""`polybot bench soak`: the whole floor on live-shaped data for a while, and how steadily its loop turned."""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from polybot.bench.soak import SoakRun, run_soak
from polybot.bench.soak_watch import Stall, percentile, slope_per_hour
from polybot.cli.process import let_the_loop_go_first
from polybot.cli.terminal import BottomLine

STALLS_SHOWN = 3


def add_to(app: typer.Typer) -> None:
    app.command()(soak)


def soak(
    minutes: Annotated[float, typer.Option(min=0.1, max=10_080, help="How long.")] = 30.0,
    rate: Annotated[float, typer.Option(min=1, max=20_000, help="Market data frames a second.")] = 1_000.0,
) -> None:
    """Every agent, real journal, PostgreSQL, Valkey and page on live-shaped frames; the longest stall, and whose."""
    folder = Path(tempfile.mkdtemp(prefix="polybot-soak-"))
    folder.chmod(0o755)  # the servers may run as another user
    line = BottomLine()
    tell = typer.echo if line.plain else line.show
    try:
        let_the_loop_go_first()
        run = uvloop.run(run_soak(folder, minutes, rate, tell))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        line.end()
    for text in report(run):
        typer.echo(text)


def report(run: SoakRun) -> list[str]:
    """Line by line, as it is printed."""
    watch = run.watch
    late, longest = watch.late, max(watch.late, default=0) / 100
    collected = [pause.ms for pause in watch.pauses] or [0.0]
    per_second = run.frames / max(run.seconds, 1)
    spread = ", ".join(f"{share:.1%} {percentile(late, share) / 100:.2f}" for share in (0.5, 0.99, 0.999))
    delayed = ", ".join(f"{share:.1%} {percentile(run.delays, share)}" for share in (0.5, 0.99, 1.0))
    ours, computed = watch.ours_longest_ms, watch.computed_longest_ms
    return [
        f"{run.seconds / 60:.1f} minutes, {run.frames:,} frames ({per_second:,.0f} a second)",
        f"{run.orders:,} orders, {run.facts:,} facts, fit in {run.fit_looks} of {run.looks} looks",
        f"longest stall of the loop: {longest:.1f} ms (goal 50 ms)",
        f"  without waiting for a processor {ours:.1f} ms; computing {computed:.1f} ms",
        f"how late beats come, ms: {spread}; over 50 ms: {watch.stalls_in_all} of {late.total():,}",
        f"from a frame's stamp to the floor, ms: {delayed}",
        f"garbage collections not of the young, or over 1 ms: {len(watch.pauses)}, longest {max(collected):.1f} ms",
        f"memory: {_memory(watch.memory)}; PostgreSQL at most {run.lag_rows_max:,} rows behind",
        *(text for stall in _longest(watch.stalls) for text in _stall(stall)),
    ]


def _memory(samples: list[tuple[float, float]]) -> str:
    if not samples:
        return "not sampled"
    return f"{samples[0][1]:.0f} MB to {samples[-1][1]:.0f} MB, {slope_per_hour(samples):+.1f} MB an hour in the end"


def _longest(stalls: list[Stall]) -> list[Stall]:
    return sorted(stalls, key=lambda stall: -stall.ours_ms)[:STALLS_SHOWN]


def _stall(stall: Stall) -> list[str]:
    head = (
        f"at {stall.at_s:.1f} s: {stall.late_ms:.0f} ms late; its own thread computed {stall.loop_ms:.0f} ms, the "
        f"process {stall.process_ms:.0f} ms, a thread waited for a processor {stall.machine_ms:.0f} ms"
    )
    return [head, *(f"    {text}" for text in stall.stack.splitlines())]
