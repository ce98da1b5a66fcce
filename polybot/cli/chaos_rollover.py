"""`polybot chaos rollover`: hundreds of windows one after another under faults, in simulated time."""

import time
from typing import Annotated

import typer

from polybot.chaos.rollover import RolloverResult, run_rollovers

EXIT_VIOLATED = 1


def add_to(app: typer.Typer) -> None:
    app.command(name="rollover")(rollover)


def rollover(
    rollovers: Annotated[int, typer.Option(min=2, max=100_000, help="Ends of windows, of two series.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Which world and which faults.")] = 2,
) -> None:
    """The next window is followed and verified before the last one ends, 500 times under faults; exit 1 where not."""
    began = time.perf_counter()
    result = run_rollovers(seed, rollovers)
    for text in report(result, time.perf_counter() - began):
        typer.echo(text)
    if not result.is_good:
        raise typer.Exit(EXIT_VIOLATED)


def report(result: RolloverResult, wall_s: float) -> list[str]:
    late = f", {len(result.late_ms)} while the feed failed, at worst {max(result.late_ms, default=0) / 1000:.0f} s late"
    return [
        f"{result.rollovers} rollovers under {result.faults:,} faults in {wall_s:.0f} s, seed {result.seed}",
        f"  verified before the last window ended: {result.in_time}{late if result.late_ms else ''}",
        f"  {result.windows_recorded} records of windows, {result.orders} orders, none outside its window's time"
        if result.violation is None
        else f"  VIOLATED {result.violation}",
    ]
