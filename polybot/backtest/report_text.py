"""The report as plain text: for a terminal of 100 columns, and for a log."""

import textwrap
from collections.abc import Iterator

from polybot.backtest.report import Report
from polybot.backtest.report_tables import Column, Table, caveat, heading, period, tables, verdicts

WIDTH = 100
WIDTH_MIN = 80
PROSE_MIN = 24
GAP = "  "


def render_text(report: Report, width: int = WIDTH) -> str:
    """The whole report, no line longer than `width` (80 at least) where words allow; ends with a newline."""
    return "\n".join(_lines(report, max(width, WIDTH_MIN))) + "\n"


def _lines(report: Report, width: int) -> Iterator[str]:
    yield "PolyBot report"
    yield "=" * width
    yield from _paragraph(heading(report), width)
    yield from _paragraph(period(report), width)
    yield ""
    for sentence in verdicts(report):
        yield from _paragraph(sentence, width)
    for table in tables(report):
        yield ""
        yield from _table(table, width)
    yield ""
    yield "What this sample can say"
    yield from _paragraph(caveat(report.sample), width)


def _table(table: Table, width: int) -> Iterator[str]:
    widths = _widths(table, width)
    yield table.title
    if table.note:
        yield from _paragraph(table.note, width)
    yield "-" * width
    yield _row(tuple(column.title for column in table.columns), table.columns, widths)
    for place, row in enumerate(table.rows):
        if place in table.strong and place:
            yield _row(tuple("-" * size for size in widths), table.columns, widths)
        yield from _wrapped(row, table.columns, widths)


def _widths(table: Table, width: int) -> list[int]:
    """Every column as wide as its widest cell; what is left goes to the prose column."""
    cells = [tuple(column.title for column in table.columns), *table.rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(table.columns))]
    for place, column in enumerate(table.columns):
        if column.prose:
            others = sum(widths) - widths[place] + len(GAP) * (len(widths) - 1)
            widths[place] = max(PROSE_MIN, width - others)
    return widths


def _wrapped(row: tuple[str, ...], columns: tuple[Column, ...], widths: list[int]) -> Iterator[str]:
    pieces = [
        textwrap.wrap(cell, size) or [""] if column.prose else [cell]
        for cell, column, size in zip(row, columns, widths, strict=True)
    ]
    for line in range(max(len(piece) for piece in pieces)):
        yield _row(tuple(piece[line] if line < len(piece) else "" for piece in pieces), columns, widths)


def _row(cells: tuple[str, ...], columns: tuple[Column, ...], widths: list[int]) -> str:
    padded = (
        cell.rjust(size) if column.right else cell.ljust(size)
        for cell, column, size in zip(cells, columns, widths, strict=True)
    )
    return GAP.join(padded).rstrip()


def _paragraph(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False)
