"""`polybot tape`: look at recordings, check them, make them."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from polybot.cli.terminal import BottomLine
from polybot.importing.registry import FORMATS, import_tape
from polybot.storage.tape import TapeSummary, new_tape, read_tape, tape_summary, verify_tape
from polybot.storage.tape_recording import joined, joined_header
from polybot.web.json_form import utc_text

app = typer.Typer(help="Recorded markets: look at tapes, check them, make them.", no_args_is_help=True)

BROKE_OFF = "  NOT FINISHED: the recording broke off; `polybot tape join` makes a whole one of it"


def add_to(verbs: typer.Typer) -> None:
    verbs.add_typer(app, name="tape")


@app.command("import")
def import_(
    source_format: Annotated[str, typer.Argument(metavar="FORMAT", help=f"One of: {', '.join(sorted(FORMATS))}.")],
    source: Annotated[Path, typer.Argument(help="The recording: a file or folder, as its format has it.")],
    destination: Annotated[Path, typer.Argument(help="The tape to write.")],
) -> None:
    """Turn somebody's recording into a tape; a damaged one is refused whole, naming file and place."""
    line = BottomLine()
    summary = import_tape(source_format, source, destination, lambda done, of: line.show(f"{done:,} of {of:,}"))
    line.end()
    typer.echo(_describe(tape_summary(destination)))
    for kind, count in sorted(summary.counts.items()):
        typer.echo(f"  {kind:<17}{count:,}")
    for remark in summary.remarks:
        typer.secho(f"  left out or changed: {remark}", fg="yellow")


@app.command()
def show(
    tape: Annotated[Path, typer.Argument(help="The tape.")],
    events: Annotated[int, typer.Option(help="Also print so many events, as JSON lines.")] = 0,
    start: Annotated[int, typer.Option(help="The first event to print, from 0.")] = 0,
) -> None:
    """Say what a tape holds."""
    typer.echo(_describe(tape_summary(tape)))
    for _, event in zip(range(events), read_tape(tape, start=start, allow_unfinished=True), strict=False):
        line = {"event": type(event).__name__, **{name: getattr(event, name) for name in event.__struct_fields__}}
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")


@app.command()
def join(
    destination: Annotated[Path, typer.Argument(help="The tape to write.")],
    tapes: Annotated[list[Path], typer.Argument(help="Tapes of a recording, in order of time; unfinished ones too.")],
) -> None:
    """Make one whole tape of several, or of one that broke off."""
    with new_tape(destination, joined_header(tapes)) as writer:
        for event in joined(tapes):
            writer.append(event)
    typer.echo(_describe(tape_summary(destination)))


@app.command()
def verify(tape: Annotated[Path, typer.Argument(help="The tape.")]) -> None:
    """Read a tape through and check every block; says where it is damaged."""
    typer.echo(_describe(verify_tape(tape)))
    typer.secho("every block is whole", fg="green")


def _describe(summary: TapeSummary) -> str:
    header, totals = summary.header, summary.totals
    has = [word for word, there in (("trades", header.has_trades), ("reference prices", header.has_reference)) if there]
    blocks = f" in {totals.blocks} blocks" if summary.finished else ""  # they are counted in the end it lacks
    lines = [
        f"{summary.path}: {header.name}, {summary.size / 1e6:.1f} MB",
        f"  source       {header.source} ({header.licence}); {header.attribution}",
        f"  books        {header.depth} depth; also {', '.join(has) or 'neither trades nor reference prices'}",
        f"  settlements  {'yes' if header.has_settlements else 'none'}",
        f"  times        {'source and receive' if header.has_receive_times else 'source only'}",
        f"  events       {totals.events:,}{blocks}, {len(totals.markets)} markets",
        f"  span         {utc_text(totals.first_ms)} to {utc_text(totals.last_ms)}",
        *(f"  {kind:<12} {count:,}" for kind, count in sorted(summary.counts.items())),
        *(f"  note         {note}" for note in header.notes),
    ]
    return "\n".join(lines if summary.finished else [*lines, BROKE_OFF])
