"""`polybot bench frames`: recorded frames to verified books, and from a real socket to the traders' decisions."""

import shutil
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
import uvloop

from polybot.bench.frames import FramesRun, recorded_frames, run_frames, shipped_frames
from polybot.bench.machine import this_machine
from polybot.bench.soak_watch import percentile
from polybot.bench.socket_path import QUIET, SLICE_S, Slice, SocketRun, decisions, quiet, run_socket
from polybot.bench.yardstick import run_yardstick
from polybot.cli.process import let_the_loop_go_first
from polybot.settings import load_settings


def add_to(app: typer.Typer) -> None:
    app.command()(frames)


def frames(
    runs: Annotated[int, typer.Option(min=1, max=100, help="Runs; medians are printed.")] = 5,
    recording: Annotated[Path | None, typer.Option(help="A folder of *.raw.jsonl.gz sessions, too.")] = None,
    seconds: Annotated[float, typer.Option(min=0, max=3600, help="Of the socket's run; 0: leave it out.")] = 20.0,
    rate: Annotated[float, typer.Option(min=1, max=20_000, help="Frames a second on the socket.")] = 1_000.0,
) -> None:
    """How many frames a second become verified books on one core, and how soon after a frame traders decide.

    The last is measured twice: on the floor, and on a bare reader that shows what the machine itself adds.
    """
    machine = this_machine()
    typer.echo(f"{machine.cpu}, {machine.cores} cores, {machine.python}; medians of {runs} runs")
    source = shipped_frames(load_settings())
    for text in book_lines("shipped", [run_frames(*source) for _ in range(runs)], goal=" (goal 20,000)"):
        typer.echo(text)
    if recording is not None:
        source = recorded_frames(recording)
        for text in book_lines("verbatim", [run_frames(*source) for _ in range(runs)]):
            typer.echo(text)
    if seconds:
        folder = Path(tempfile.mkdtemp(prefix="polybot-frames-"))
        folder.chmod(0o755)  # the servers may run as another user
        try:
            let_the_loop_go_first()
            run = uvloop.run(run_socket(folder, seconds, rate))
            on_loop_us = _a_frame_us(run, run.loop_cpu_s)
            yardstick = uvloop.run(run_yardstick(seconds, rate, on_loop_us))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        for text in (*socket_lines(run), *yardstick_lines(yardstick, on_loop_us)):
            typer.echo(text)


def book_lines(name: str, seen: list[FramesRun], goal: str = "") -> list[str]:
    last = seen[-1]
    size = last.megabytes * 1e6 / last.frames
    states = ", ".join(f"{count} {state}" for state, count in sorted(last.states.items()))
    return [
        f"{name} frames to books: {median(r.per_second for r in seen):,.0f} a second of one core's computing{goal}",
        f"  by the clock {median(r.frames / r.wall_s for r in seen):,.0f} a second; {size:,.0f} bytes a frame",
        f"  {median(r.decode_share for r in seen):.0%} of it decoding",
        f"  {last.frames:,} frames, {last.unread:,} messages not read; books in the end: {states}",
    ]


def socket_lines(run: SocketRun) -> list[str]:
    shares = (0.5, 0.99, 0.999)
    books = ", ".join(f"{share:.1%} {percentile(run.to_books, share):,}" for share in shares)
    decision = ", ".join(f"{share:.1%} {percentile(run.to_decision, share):,}" for share in shares)
    per_second, worst = run.frames / max(run.seconds, 1e-9), max(run.to_decision, default=0)
    slices = sorted(percentile(one.to_decision, 0.99) for one in run.slices)
    return [
        f"socket: {per_second:,.0f} frames a second for {run.seconds:.0f} s, {run.orders} orders",
        f"  from sending to the books, us: {books}",
        f"  from sending to a decision, us: {decision}, worst {worst:,} (goal 99% 2,000)",
        f"  {SLICE_S:g} s at a time: 99.0% {slices[0]:,} to {slices[-1]:,}, median {median(slices):,.0f}",
        *_host_lines(run.slices),
        f"  {run.to_decision.total():,} decisions timed; {_a_frame_us(run, run.cpu_s):,.0f} us of computing a frame",
        f"  longest stall of the loop {run.stall_ms:.1f} ms, our own computing in it {run.ours_ms:.1f} (goal 50)",
    ]


def yardstick_lines(slices: list[Slice], computing_us: float) -> list[str]:
    p99 = percentile(decisions(slices), 0.99)
    return [
        f"a reader that computes {computing_us:,.0f} us over a frame and does nothing else: 99.0% {p99:,}",
        *_host_lines(slices),
    ]


def _host_lines(slices: list[Slice]) -> list[str]:
    stolen, found = sorted(one.stolen for one in slices), quiet(slices)
    p99 = f"99.0% {percentile(decisions(found), 0.99):,}" if found else "none"
    return [
        f"  the host took {stolen[0]:.1%} to {stolen[-1]:.1%} of this machine's time",
        f"  where it took under {QUIET:.0%}, {len(found)} of {len(slices)}: {p99}",
    ]


def _a_frame_us(run: SocketRun, cpu_s: float) -> float:
    return 1e6 * cpu_s / max(run.frames, 1)
