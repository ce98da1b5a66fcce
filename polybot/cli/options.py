"""Options that several verbs have."""

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="The floor's folder; default: POLYBOT_DATA_DIR, or data.")
]
"""Whoever ran a floor with `run --data-dir` has to be able to name the same one to what stops it."""
