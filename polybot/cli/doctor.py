"""`polybot doctor`: is everything there that trading needs?"""

import asyncio

import typer

from polybot import log
from polybot.cli.options import DataDir
from polybot.doctor import preflight
from polybot.doctor.findings import Finding, Mark
from polybot.live_settings import secret_values
from polybot.paths import as_typed
from polybot.settings import load_settings

COLORS = {Mark.PASS: "green", Mark.FAIL: "red", Mark.SKIPPED: "yellow"}
NOT_WELL = 1


def add_to(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(data_dir: DataDir = None) -> None:
    """Look at everything that trading needs, and say what is wrong and what to do. Exit code 1 if anything is."""
    settings = load_settings(data_dir=data_dir)
    log.hide(secret_values(settings))
    log.set_up("pretty", "ERROR")
    findings = asyncio.run(preflight(settings))
    for finding in findings:
        _show(finding)
    wrong = sum(finding.mark is Mark.FAIL for finding in findings)
    if wrong:
        means = ": real money would not be traded" if settings.mode == "live" else ""
        typer.echo(f"\n{wrong} of {len(findings)} checks failed{means}.")
        raise typer.Exit(NOT_WELL)
    typer.echo(f"\nNothing is wrong; {sum(f.mark is Mark.SKIPPED for f in findings)} checks did not apply.")


def _show(finding: Finding) -> None:
    mark = typer.style(f"{finding.mark:<8}", fg=COLORS[finding.mark])
    typer.echo(f"{mark}{finding.check:<14}{log.redact(finding.text)}")
    if finding.remedy:
        typer.echo(f"{'':22}do: {as_typed(finding.remedy)}")
