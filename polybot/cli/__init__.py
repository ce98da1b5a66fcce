"""The verbs. Each reads the settings, has app.py do the work, and shows what came of it."""

from typing import NoReturn

import typer

from polybot.cli import backtest, bench, chaos, house, journal, run, tape
from polybot.domain.errors import PolybotError

EXIT_TROUBLE = 1
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="polybot",
    help="A trading floor for Polymarket's BTC and ETH 15-minute binaries. Paper money, until you say otherwise.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
run.add_to(app)
backtest.add_to(app)
house.add_to(app)
app.add_typer(bench.app, name="bench")
app.add_typer(tape.app, name="tape")
app.add_typer(chaos.app, name="chaos")
app.add_typer(journal.app, name="journal")


def main() -> NoReturn:
    """The console script. An error raised on purpose is shown as one message, without a traceback."""
    try:
        app()
    except KeyboardInterrupt:  # before the floor was open enough to stop in order
        typer.secho("stopped before anything had begun", err=True)
        raise SystemExit(EXIT_INTERRUPTED) from None
    except PolybotError as error:
        typer.secho(f"polybot: {error}", fg="red", err=True)
        raise SystemExit(EXIT_TROUBLE) from None
    raise SystemExit(0)
