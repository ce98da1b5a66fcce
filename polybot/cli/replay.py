"""`polybot replay`: does the live code decide the same again? Exit 0 where every decision is equal, else 1."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from polybot.backtest.rerun import Comparison, Difference
from polybot.cli.options import DataDir
from polybot.domain.errors import BadInput
from polybot.domain.events import Journaled, MarketOpened
from polybot.domain.ids import MarketId
from polybot.rerunning import rerun_recording, rerun_tape, was_on_tape
from polybot.runs import journal_path, recordings_path
from polybot.settings import load_settings
from polybot.storage.journal_file import read_rows

EXIT_DIFFERENT = 1
SHOWN = 12


def add_to(app: typer.Typer) -> None:
    app.command()(replay)


def replay(
    slug: Annotated[str, typer.Argument(help="The window, for instance btc-updown-15m-1790586000.")],
    journal: Annotated[Path | None, typer.Option(help="The run's journal. Default: that of the data folder.")] = None,
    tape: Annotated[Path | None, typer.Option(help="The tape it ran on, where it was a tape.")] = None,
    recording: Annotated[Path | None, typer.Option(help="The recording's folder, where it was live.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Run the live code again on one window of a run and compare every decision with what was decided then."""
    settings = load_settings(data_dir=data_dir)
    path = journal or journal_path(settings.data_dir)
    if not path.exists():
        raise BadInput(
            f"there is no journal {path}: name the run's folder with --data-dir, or a journal with --journal"
        )
    facts = [row.journaled() for row in read_rows(path)]
    market = _known(slug, facts)
    if was_on_tape(facts):
        found = rerun_tape(settings, market, facts, tape or settings.tape)
    else:
        found = rerun_recording(settings, market, facts, recording or recordings_path(settings.data_dir))
    _show(found)
    if found.difference is not None:
        raise typer.Exit(EXIT_DIFFERENT)


def _known(slug: str, facts: Sequence[Journaled]) -> MarketId:
    known = list(dict.fromkeys(entry.fact.market.id for entry in facts if isinstance(entry.fact, MarketOpened)))
    if slug in known:
        return MarketId(slug)
    if not known:
        raise BadInput("the journal has no window at all: the floor has not been open yet")
    near = difflib.get_close_matches(slug, known, n=SHOWN) or known[-SHOWN:]
    raise BadInput(f"the journal has no window {slug}; it has, among {len(known)}: {', '.join(near)}")


def _show(found: Comparison) -> None:
    console = Console(highlight=False)
    table = Table("agent", "looks", "orders", "refusals", "records", title=f"{found.market}, {found.events:,} events")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in found.rows:
        table.add_row(row.agent, *(f"{count:,}" for count in (row.looks, row.orders, row.refusals, row.records)))
    console.print(table)
    for note in dict.fromkeys(found.notes):
        console.print(f"note: {note}", style="yellow")
    if found.difference is None:
        console.print(
            f"equal: all {found.compared:,} decisions, over {sum(r.looks for r in found.rows):,} looks", style="green"
        )
        return
    _show_difference(console, found.difference, found.compared)


def _show_difference(console: Console, found: Difference, equal: int) -> None:
    console.print(f"different, after {equal:,} that are equal: {found.what} of {found.agent}", style="red")
    console.print(f"at market event {found.position:,}")
    live, replayed = _fields(found.live), _fields(found.replayed)
    table = Table("", "decided then", "decided now")
    for name in dict.fromkeys((*live, *replayed)):
        if live.get(name) != replayed.get(name):
            table.add_row(name, live.get(name, "-"), replayed.get(name, "-"))
    console.print(table)


def _fields(text: str) -> dict[str, str]:
    """A decision's fields, one by one, down to the inputs and the proof; what is none stands alone."""
    try:
        return _flat("", msgspec.json.decode(text))
    except msgspec.DecodeError:
        return {"": text}


def _flat(prefix: str, value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {prefix: str(value)}
    flat: dict[str, str] = {}
    for name, part in value.items():
        flat |= _flat(f"{prefix}.{name}" if prefix else str(name), part)
    return flat
