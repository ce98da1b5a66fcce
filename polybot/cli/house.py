"""The verbs that keep house: status, migrate, reset, and the journal's."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from polybot.settings import load_settings
from polybot.web.status_text import fetch_status, render_status

journal = typer.Typer(help="The floor's memory of record.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.command()(status)


def status(
    url: Annotated[str | None, typer.Option(help="Where the floor's page is; default: this machine's.")] = None,
) -> None:
    """Show how the floor stands: the same as its page, in the terminal."""
    settings = load_settings()
    host = "127.0.0.1" if settings.web_host in ("0.0.0.0", "::") else settings.web_host
    shown = asyncio.run(fetch_status(url or f"http://{host}:{settings.web_port}"))
    Console().print(render_status(shown))
