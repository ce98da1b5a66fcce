"""The verbs that keep house: status, migrate and reset."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from polybot.cli.options import DataDir
from polybot.domain.errors import BadInput
from polybot.page import page_note
from polybot.runs import is_running, migrate_database, put_away, wipe_database
from polybot.settings import Settings, load_settings
from polybot.web.status_text import FloorUnreachable, fetch_status, render_status


def add_to(app: typer.Typer) -> None:
    app.command()(status)
    app.command()(migrate)
    app.command()(reset)


def status(
    url: Annotated[str | None, typer.Option(help="Where the floor's page is; default: this machine's.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Show how the floor stands: the same as its page, in the terminal."""
    page, why = (url, "") if url is not None else _page_of(load_settings(data_dir=data_dir))
    try:
        shown = asyncio.run(fetch_status(page))
    except FloorUnreachable as error:
        raise FloorUnreachable(f"{error}{why}") from error
    Console().print(render_status(shown))


def _page_of(settings: Settings) -> tuple[str, str]:
    """The page to ask, and why that one, for people who expected another.

    A port that somebody set comes before what the floor in the data folder wrote down: that one may run no more.
    """
    note = page_note(settings.data_dir)
    noted = note.read_text().strip() if note.exists() else ""
    asked_for = "web_port" in settings.model_fields_set and settings.web_port != 0
    if noted and not asked_for:
        return noted, f" ({note} names this page; the floor that wrote it was killed, or does not answer)"
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.web_host, settings.web_host)
    page = f"http://{host}:{settings.web_port}"
    differs = f" (POLYBOT_WEB_PORT is set, so that port was asked; {note} names {noted})"
    return page, differs if noted and noted != page else ""


def migrate() -> None:
    """Bring the database named by POLYBOT_DATABASE_URL to this version's schema."""
    url = _database_url("the floor's own database is migrated when it starts")
    applied = asyncio.run(migrate_database(url))
    typer.echo(f"applied: {', '.join(applied)}" if applied else "nothing to do: the schema is up to date")


def reset(
    database: Annotated[bool, typer.Option(help="Also empty the database named by POLYBOT_DATABASE_URL.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Put the present run away (its folder is kept, renamed) so that the next start is a first one."""
    settings = load_settings(data_dir=data_dir)
    url = _database_url("there is no database to empty") if database else None
    if not yes:
        what = f"the run in {settings.data_dir}" + (" and EMPTY the database" if database else "")
        typer.confirm(f"Put away {what}?", abort=True)
    if is_running(settings.data_dir):
        raise BadInput(f"a floor is running on {settings.data_dir}: stop it first")
    if url is not None:
        asyncio.run(wipe_database(url))
    went = put_away(settings.data_dir)
    typer.echo(f"the run is kept in {went}" if went else f"{settings.data_dir} holds no run")


def _database_url(otherwise: str) -> str:
    url = load_settings().database_url
    if url is None:
        raise BadInput(f"POLYBOT_DATABASE_URL is not set; {otherwise}")
    return url
