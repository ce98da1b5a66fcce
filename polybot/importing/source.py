"""What every importer is made of: the job it describes, the tally it keeps, and the way it reads numbers and tables."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.events import MarketEvent
from polybot.domain.units import UNIT, Millis, Price, Shares
from polybot.storage.tape import TapeHeader

SIZE_MAX = 10**15
"""A billion shares at one level: nothing real is larger, and 64 bits are far away."""
TIME_MIN, TIME_MAX = 10**12, 10**13


class Tally:
    """Counts what an importer met and how it dealt with it, for the summary; `note` is for what a reader must know."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.places: dict[str, str] = {}

    def count(self, what: str, place: str = "") -> None:
        """One more `what`; the first place it was met at is kept."""
        self.counts[what] = self.counts.get(what, 0) + 1
        self.places.setdefault(what, place)

    def lines(self) -> list[str]:
        return [
            f"{count} {what}" + (f" (first: {self.places[what]})" if self.places[what] else "")
            for what, count in sorted(self.counts.items())
        ]


class ImportJob(msgspec.Struct, frozen=True, kw_only=True):
    """One source read, not yet written: `events` in order of `received`, `expected` their likely number."""

    header: TapeHeader
    events: Iterator[MarketEvent]
    expected: int
    tally: Tally


Importer = Callable[[Path], ImportJob]


def source_file(source: Path, name: str) -> Path:
    """`source` itself, or the file `name` in it. Raises BadInput where there is none."""
    path = source / name if source.is_dir() else source
    if not path.is_file():
        raise BadInput(f"{path}: no such file; give the folder or the file of the recording")
    return path


def read_parquet(path: Path, columns: list[str]) -> dict[str, list[Any]]:
    """Columns of a parquet file as lists. Raises BadInput where it is damaged, lacks one, or pyarrow is not there."""
    try:
        import pyarrow  # noqa: PLC0415 - an extra, wanted only by those who import
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise BadInput("reading parquet needs pyarrow: `make setup` installs it, or pip install pyarrow") from error
    try:
        table = parquet.read_table(path, columns=columns)
    except (pyarrow.ArrowException, OSError) as error:
        raise BadInput(f"{path}: not a whole parquet file ({error}); fetch it again") from error
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise BadInput(f"{path}: has no column {', '.join(missing)}; is it the right file for this format?")
    return {name: table.column(name).to_pylist() for name in columns}


def price_units(value: object, place: str) -> Price:
    """A price strictly between 0 and 1, from a float or numeric text, to the nearest millionth."""
    units = _units(value, place)
    if not 0 < units < UNIT:
        raise BadInput(f"{place}: price {value!r} is not between 0 and 1; the source is damaged there")
    return Price(units)


def size_units(value: object, place: str) -> Shares:
    """A size above 0, from a float or numeric text, to the nearest millionth of a share."""
    units = _units(value, place)
    if not 0 < units <= SIZE_MAX:
        raise BadInput(f"{place}: size {value!r} is not a possible number of shares; the source is damaged there")
    return Shares(units)


def time_ms(value: object, place: str) -> Millis:
    """Milliseconds since 1970, from an integer or its text. Raises BadInput for anything outside 2001 to 2286."""
    try:
        at = int(value) if isinstance(value, int | str) else 0
    except ValueError:
        at = 0
    if not TIME_MIN <= at < TIME_MAX:
        raise BadInput(f"{place}: {value!r} is not a time in milliseconds; the source is damaged there")
    return Millis(at)


def finite(value: object, place: str) -> float:
    """A float or numeric text as a float. Raises BadInput for nothing, for text that is no number, and for NaN."""
    try:
        number = float(value) if isinstance(value, float | int | str) else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise BadInput(f"{place}: {value!r} is not a number; the source is damaged there")
    return number


def _units(value: object, place: str) -> int:
    """Millionths of a float: recorders' floats are decimals in short form, so rounding restores them exactly."""
    return round(finite(value, place) * UNIT)
