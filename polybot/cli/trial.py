"""What the verbs have in common that put the real service through something and compare everything afterwards."""

import shutil
import signal
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from polybot.cli.terminal import BottomLine

EXIT_DIFFERENT = 1


class Trial:
    """A folder to work in, a line of progress, and a verdict."""

    def __init__(self, folder: Path | None, name: str) -> None:
        """Without a folder a new one is made, and taken away where nothing differs."""
        self._is_kept = folder is not None
        self.place = folder or Path(tempfile.mkdtemp(prefix=f"polybot-{name}-"))
        self.place.mkdir(parents=True, exist_ok=True)
        self.place.chmod(0o755)  # the servers may run as another user
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # what runs is ended with us
        self._line = BottomLine()
        self.tell: Callable[[str], None] = typer.echo if self._line.plain else self._line.show

    def show(self, outcome: msgspec.Struct, table: Table, summary: str) -> None:
        self._line.end()
        (self.place / "outcome.json").write_bytes(msgspec.json.encode(outcome, enc_hook=str))
        Console().print(table)
        typer.echo(summary)

    def conclude(self, findings: Sequence[str], *, kept: str, all_is_well: str) -> None:
        """`kept` says what is in the folder and how to do it again. Raises typer.Exit where anything differs."""
        if findings:
            for finding in findings:
                typer.secho(f"DIFFERENT: {finding}", fg="red", err=True)
            typer.echo(f"everything is kept in {self.place}{kept}")
            raise typer.Exit(EXIT_DIFFERENT)
        if not self._is_kept:
            shutil.rmtree(self.place)
        typer.secho(all_is_well, fg="green")
