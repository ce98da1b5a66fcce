"""The journal's own verbs: verify and repair."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from polybot.domain.errors import BadInput
from polybot.paths import as_typed
from polybot.runs import journal_path
from polybot.settings import Settings, load_settings
from polybot.storage.embedded import embedded_servers
from polybot.storage.journal_copy import CopyAwayError, connected
from polybot.storage.journal_file import lock_for_writing
from polybot.storage.journal_repair import Draft, discard, draft, finish
from polybot.storage.journal_verify import damage_of
from polybot.storage.journal_verify import verify as verify_journal

app = typer.Typer(help="The floor's memory of record.", no_args_is_help=True)
JournalArgument = Annotated[Path | None, typer.Argument(help="The journal; default: that of the data folder.")]


def add_to(verbs: typer.Typer) -> None:
    verbs.add_typer(app, name="journal")


@app.command()
def verify(path: JournalArgument = None) -> None:
    """Read the whole journal and check its chain of hashes; exit 1 and the place if it is damaged."""
    report = verify_journal(path or journal_path(load_settings().data_dir))
    typer.echo(f"{report.path}: {report.rows} facts, last hash {report.last_hash}")
    if report.damage is not None:
        raise BadInput(report.damage)
    typer.secho("the chain is whole", fg="green")


@app.command()
def repair(
    path: JournalArgument = None,
    without_database: Annotated[
        bool, typer.Option("--without-database", help="Use the file's own rows alone.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, even if facts are cut off.")] = False,
) -> None:
    """Make a damaged or lost journal whole: its own proven rows, and the database's for the others.

    The damaged file is kept beside it as journal.damaged-0001.sqlite. Stop the floor first.
    """
    settings = load_settings()
    target = path or journal_path(settings.data_dir)
    if not target.parent.is_dir():
        raise BadInput(f"{target.parent} is no folder: there is nothing to repair")
    with lock_for_writing(target):
        damage = damage_of(target)
        made = asyncio.run(_draft(target, settings, ask_database=not without_database))
        if damage is None and made.from_database == 0:
            discard(target)
            typer.secho(f"{target} is whole: nothing to repair ({made.database})", fg="green")
            return
        _tell(made, damage)
        if made.lost is not None and not yes and not typer.confirm("Go on without them?"):
            discard(target)
            raise typer.Abort
        kept = finish(made)
    typer.secho(f"{target} is whole, with {made.rows} facts", fg="green")
    if kept is not None:
        typer.echo(f"the damaged one is kept as {kept}")


async def _draft(target: Path, settings: Settings, *, ask_database: bool) -> Draft:
    async with AsyncExitStack() as stack:
        url = await _database(settings, stack) if ask_database else None
        if url is None:
            return await draft(target, None)
        try:
            return await draft(target, await stack.enter_async_context(connected(url)))
        except CopyAwayError as error:
            raise BadInput(f"{error}: start it, or use the file's own rows alone: --without-database") from error


async def _database(settings: Settings, stack: AsyncExitStack) -> str | None:
    """The one that is configured; else the floor's own, started for this if there is one."""
    if settings.database_url is not None:
        return settings.database_url
    servers = settings.data_dir / "servers"
    if settings.embedded == "never" or not (servers / "postgres").exists():
        return None
    return (await stack.enter_async_context(embedded_servers(servers, valkey=False))).database_url


def _tell(made: Draft, damage: str | None) -> None:
    typer.echo(as_typed(damage) if damage else "the database has facts that the journal has not")
    typer.echo(
        f"a whole journal of {made.rows} facts can be made: {made.from_file} are the file's own, {made.from_database} "
        f"the database's ({made.database})"
    )
    if made.lost is not None:
        typer.secho(made.lost.told(), fg="yellow")
