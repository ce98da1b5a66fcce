"""The verbs that keep house: status, migrate and reset."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from polybot.app import page_note
from polybot.domain.errors import BadInput
from polybot.runs import is_running, migrate_database, put_away, wipe_database
from polybot.settings import Settings, load_settings
from polybot.web.status_text import fetch_status, render_status


def add_to(app: typer.Typer) -> None:
    app.command()(status)
    app.command()(migrate)
    app.command()(reset)


def status(
    url: Annotated[str | None, typer.Option(help="Where the floor's page is; default: this machine's.")] = None,
) -> None:
    """Show how the floor stands: the same as its page, in the terminal."""
    settings = load_settings()
    shown = asyncio.run(fetch_status(url or _page_of(settings)))
    Console().print(render_status(shown))


def _page_of(settings: Settings) -> str:
    note = page_note(settings.data_dir)
    if note.exists():
        return note.read_text().strip()
    host = "127.0.0.1" if settings.web_host in ("0.0.0.0", "::") else settings.web_host
    return f"http://{host}:{settings.web_port}"


def migrate() -> None:
    """Bring the database named by POLYBOT_DATABASE_URL to this version's schema."""
    url = _database_url("the floor's own database is migrated when it starts")
    applied = asyncio.run(migrate_database(url))
    typer.echo(f"applied: {', '.join(applied)}" if applied else "nothing to do: the schema is up to date")


def reset(
    database: Annotated[bool, typer.Option(help="Also empty the database named by POLYBOT_DATABASE_URL.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Put the present run away (its folder is kept, renamed) so that the next start is a first one."""
    settings = load_settings()
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
