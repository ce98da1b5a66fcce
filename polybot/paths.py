"""Where the files that ship beside the code are: the same three folders, from a checkout and from an installed wheel.

In a checkout `migrations/` and `configs/` stand at the top of the tree, where people look for them; a wheel carries
them in `polybot/_data/` (see the wheel target in pyproject.toml). Tapes are inside the package in both.
"""

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


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing: this installation of polybot is incomplete, install it again")
    return folder
