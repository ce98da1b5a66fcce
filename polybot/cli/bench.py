"""`polybot bench`: the figures, with machine and versions."""

import asyncio
import subprocess
import sys
import time
from statistics import median
from typing import Annotated

import typer

from polybot.bench.live import FRAMES_PER_SECOND, LANES, run_live
from polybot.bench.machine import resident_mb, this_machine
from polybot.bench.replay import run_replay
from polybot.bench.stores import COMPANY, run_journal, run_start
from polybot.cli import frames, roles, soak
from polybot.settings import Settings, load_settings

BUSY_EVERY = 14
"""Looks of the busy trader per order: with the looks it is not given (other windows, high prices), an order about every
20 messages."""
MEMORY_PROGRAM = """
from polybot.app import Backtest
from polybot.bench.machine import resident_mb
from polybot.settings import load_settings
settings = load_settings()
Backtest(settings, [settings.tape], []).run(lambda *_: None)
print(f"{resident_mb():.0f}")
"""


app = typer.Typer(help="The figures, with machine and versions.", invoke_without_command=True)
soak.add_to(app)
roles.add_to(app)
frames.add_to(app)


def add_to(verbs: typer.Typer) -> None:
    verbs.add_typer(app, name="bench")


@app.callback()
def bench(
    context: typer.Context,
    runs: Annotated[int, typer.Option(min=1, max=100, help="Runs of each; medians are printed.")] = 5,
) -> None:
    """Measure what the floor can do on this machine. Takes about a minute; leave the machine alone meanwhile."""
    if context.invoked_subcommand is not None:
        return
    settings = load_settings()
    machine = this_machine()
    libraries = ", ".join(f"{name} {version}" for name, version in machine.libraries.items())
    typer.echo(f"{machine.cpu}, {machine.cores} cores, {machine.system}, {machine.python}")
    typer.echo(f"polybot {machine.polybot}; {libraries}; medians of {runs} runs\n")
    _replay(settings, runs)
    _live(settings, runs)
    _stores(settings, runs)
    memory = subprocess.run([sys.executable, "-c", MEMORY_PROGRAM], capture_output=True, text=True, check=True)
    _line("memory", "resident after the whole tape", f"{memory.stdout.strip()} MB", "under 300 MB")
    typer.echo(f"\n(this process, all of the above in it: {resident_mb():.0f} MB)")


def _replay(settings: Settings, runs: int) -> None:
    """The shipped agents, and then one of them exchanged for a trader that orders about every 20 book messages."""
    for group, busy_every, goals in (("replay", None, ("40,000", "750,000")), ("  busy", BUSY_EVERY, ("", ""))):
        seen = [run_replay(settings, busy_every=busy_every) for _ in range(runs)]
        last = seen[-1]
        _line(group, "book messages a second", f"{median(r.messages_per_second for r in seen):,.0f}", goals[0])
        _line("", "level changes a second", f"{median(r.changes_per_second for r in seen):,.0f}", goals[1])
        _line("", "of that time, decoding the tape", f"{median(r.decode_share for r in seen):.0%}")
        what = f"{last.messages:,} messages, {last.changes:,} changes, {last.orders:,} orders, {last.facts:,} facts"
        _line("", "in one pass", what)


def _live(settings: Settings, runs: int) -> None:
    seen = [run_live(settings) for _ in range(max(1, runs // 2))]
    where = f"{FRAMES_PER_SECOND:,} frames/s, 3 traders, {LANES} markets"
    _line("live path", f"frame to decision, median ({where})", f"{median(r.median_us for r in seen):.0f} us", "100 us")
    _line("", "99th percentile", f"{median(r.p99_us for r in seen):.0f} us", "1,000 us")
    _line("", "worst, and frames that came late", f"{max(r.max_us for r in seen):,.0f} us, {max(r.late for r in seen)}")


def _stores(settings: Settings, runs: int) -> None:
    journal = [asyncio.run(run_journal()) for _ in range(runs)]
    _line("journal", "durable append, one at a time", f"{median(r.alone_us for r in journal):,.0f} us")
    _line("", f"durable append, {COMPANY} waiting together", f"{median(r.grouped_us for r in journal):,.0f} us each")
    start = [asyncio.run(run_start(settings)) for _ in range(runs)]
    program = [_import_seconds() for _ in range(runs)]
    _line("start-up", "the program itself: interpreter and imports", f"{median(program):.2f} s")
    _line("", "and then from nothing to ready", f"{median(r.from_nothing_s for r in start):.2f} s", "3 s in all")
    last = start[-1]
    what = f"{last.facts:,} facts, {last.market_events:,} market events"
    _line("", f"from the journal ({what})", f"{median(r.from_journal_s for r in start):.2f} s")
    _line("", "from a checkpoint at the same place", f"{median(r.from_checkpoint_s for r in start):.2f} s", "1 s")


def _import_seconds() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import polybot.cli"], check=True)
    return time.perf_counter() - began


def _line(group: str, what: str, value: str, goal: str = "") -> None:
    typer.echo(f"{group:<10} {what:<72} {value:>18}{f'   (goal {goal})' if goal else ''}")
