"""`polybot bench roles`: what several floors on one feed cost."""

import asyncio
from typing import Annotated

import typer

from polybot.bench.roles import run_roles


def add_to(app: typer.Typer) -> None:
    app.command()(roles)


def roles(
    floors: Annotated[int, typer.Option(min=1, max=16, help="How many floors listen.")] = 2,
    rate: Annotated[float, typer.Option(min=1, help="Events a second for the latency.")] = 1000.0,
    events: Annotated[int, typer.Option(min=1000, help="Events of each measurement.")] = 10_000,
) -> None:
    """One feed and several floors over a real Valkey: added latency, and events a second."""
    steady = asyncio.run(run_roles(floors=floors, events=events, rate=rate))
    for number, run in enumerate(steady, 1):
        typer.echo(
            f"floor {number} of {floors} at {rate:,.0f} events/s: median {run.median_us:,.0f} us, "
            f"99th percentile {run.p99_us:,.0f} us ({run.heard:,} events, {run.gaps} gaps)"
        )
    fast = asyncio.run(run_roles(floors=floors, events=5 * events, rate=0))
    for number, run in enumerate(fast, 1):
        typer.echo(
            f"floor {number} of {floors} at full speed: {run.events_per_second:,.0f} events/s "
            f"({run.heard:,} events, {run.gaps} gaps)"
        )
