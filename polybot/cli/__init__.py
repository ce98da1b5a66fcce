"""The verbs. Each reads the settings, has app.py do the work, and shows what came of it."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import typer

from polybot.domain.errors import PolybotError
from polybot.paths import as_typed

EXIT_TROUBLE = 1
EXIT_INTERRUPTED = 130
VERBS = {
    "run": "run",
    "backtest": "backtest",
    "status": "house",
    "migrate": "house",
    "reset": "house",
    "bench": "bench",
    "tape": "tape",
    "chaos": "chaos",
    "journal": "journal",
    "replay": "replay",
    "record": "record",
    "exchange": "exchange",
    "rehearse": "rehearse",
    "stop": "stop",
    "resume": "stop",
    "doctor": "doctor",
    "account": "account",
}
"""Each verb, and the module of this room that has it."""


def application(words: Sequence[str]) -> typer.Typer:
    """The command line for these words. Only the verb asked for is imported: a floor that was killed is back sooner
    without plots, tables and a chaos hunt; for a list of all verbs, or a word that is none, all of them are."""
    app = typer.Typer(
        name="polybot",
        help="A trading floor for Polymarket's BTC and ETH 15-minute binaries. Paper money, until you say otherwise.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(lambda: None)  # or an application of one verb would not want to hear its name
    verb = words[0] if words else ""
    for module in [VERBS[verb]] if verb in VERBS else dict.fromkeys(VERBS.values()):
        import_module(f"polybot.cli.{module}").add_to(app)
    return app


def main() -> NoReturn:
    """The console script. An error raised on purpose is shown as one message, without a traceback."""
    try:
        application(sys.argv[1:])()
    except KeyboardInterrupt:  # before the floor was open enough to stop in order
        typer.secho("stopped before anything had begun", err=True)
        raise SystemExit(EXIT_INTERRUPTED) from None
    except PolybotError as error:
        from polybot.log import redact  # noqa: PLC0415 - most verbs end well, and do without

        typer.secho(f"polybot: {as_typed(redact(str(error)))}", fg="red", err=True)
        raise SystemExit(EXIT_TROUBLE) from None
    raise SystemExit(0)
