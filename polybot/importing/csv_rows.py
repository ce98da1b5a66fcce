"""Rows of a CSV file, plain or gzipped, with every kind of damage named by line."""

import csv
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from polybot.domain.errors import BadInput

LINE_MAX = 16 << 20
"""Bytes of one line of any text source."""


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number from 1 and text. Raises BadInput for a broken gzip stream, for no UTF-8, for endless lines."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            while line := file.readline(LINE_MAX):
                number += 1
                if len(line) >= LINE_MAX:
                    raise BadInput(f"{path}: line {number} is longer than {LINE_MAX} bytes")
                yield number, line.decode("utf-8").rstrip("\r\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: after line {number}: damaged or cut off ({error}); fetch it again") from error


def read_csv(path: Path, columns: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row with its place ("file: line 7"). Raises BadInput where a column is missing or a row is too short."""
    lines = read_lines(path)
    _, heading = next(lines, (0, ""))
    names = next(csv.reader([heading]), [])
    missing = [name for name in columns if name not in names]
    if missing:
        raise BadInput(f"{path}: line 1 names no column {', '.join(missing)}; is it the right file for this format?")
    for number, line in lines:
        fields = next(csv.reader([line]), [])
        if len(fields) != len(names):
            raise BadInput(f"{path}: line {number}: {len(fields)} fields where there are {len(names)} columns")
        yield f"{path}: line {number}", dict(zip(names, fields, strict=True))
