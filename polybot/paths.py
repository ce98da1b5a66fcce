"""Where the files that ship beside the code are: the same three folders, from a checkout and from an installed wheel;
and where the command itself is, for those who are told to type it.

In a checkout `migrations/` and `configs/` stand at the top of the tree, where people look for them; a wheel carries
them in `polybot/_data/` (see the wheel target in pyproject.toml). Tapes are inside the package in both.
"""

import os
import shutil
import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def migrations_dir() -> Path:
    """The folder of `NNNN_title.sql` files, applied in order of name."""
    return _existing(data_root() / "migrations")


def configs_dir() -> Path:
    """The folder of TOML files: the floor's, and one per strategy under `strategies/`."""
    return _existing(data_root() / "configs")


def tapes_dir() -> Path:
    """The folder of recorded markets shipped with the package, each with its attribution beside it."""
    return _existing(_PACKAGE / "tapes")


def data_root() -> Path:
    """The folder that holds `migrations/` and `configs/`."""
    packed = _PACKAGE / "_data"
    return packed if packed.is_dir() else _PACKAGE.parent


def command() -> str:
    """What a person types here to get the command this process was started as: `polybot`, or `.venv/bin/polybot`."""
    started = Path(sys.argv[0])
    if started == _PACKAGE / "__main__.py":  # python -m polybot, as make does
        started = Path(sys.executable).parent / "polybot"
        if not started.is_file():
            return f"{_shortest(Path(sys.executable))} -m polybot"
    if started.name != "polybot" or not started.is_file():
        return "polybot"
    found = shutil.which("polybot")
    if found is not None and os.path.samefile(found, started):
        return "polybot"
    return _shortest(started)


def as_typed(text: str) -> str:
    """The text with `polybot ...` as it is typed here. For the outer edge, where people read: facts and errors call the
    command by its name, and what is written down is the same wherever it happened.
    """
    return text.replace("`polybot ", f"`{command()} ") if "`polybot " in text else text


def _shortest(program: Path) -> str:
    here, program = Path.cwd(), program.absolute()
    if not program.is_relative_to(here):
        return str(program)
    return os.path.join(".", program.name) if program.parent == here else str(program.relative_to(here))


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing: this installation of polybot is incomplete, install it again")
    return folder
