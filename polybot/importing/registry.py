"""The formats that can be made into tapes, by name, and the one function that makes one."""

import importlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from polybot.domain.errors import BadInput
from polybot.importing.source import Importer, ImportJob
from polybot.storage.tape import TapeHeader, TapeTotals, new_tape

FORMATS = {
    "btc15m_l2": "BTC 15-minute, top 20 levels of both tokens, settled (ships with the program)",
    "btc5m_ws_book": "BTC 5-minute, websocket book messages of the Down token, full depth",
    "trades_20min": "BTC, ETH and SOL, 5 and 15 minutes, every trade and 5-level books",
    "tob_15m": "BTC and ETH 15-minute, best bid and ask only, with outcomes",
    "protocol": "raw frames as received: CLOB, RTDS, Binance, Coinbase",
    "recorded": "the .frames file of a recording by PolyBot, read again",
}
"""Each name is also the name of the module that reads it, which is loaded only when it is asked for."""

PROGRESS_EVERY = 2_000

Progress = Callable[[int, int], None]
"""Called with (events written, events expected); the second is an estimate."""


class ImportSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did: `counts` by kind of event, `remarks` what was left out or mended, with the first place."""

    format: str
    destination: str
    header: TapeHeader
    totals: TapeTotals
    counts: dict[str, int]
    remarks: list[str]


def import_tape(source_format: str, source: Path, destination: Path, progress: Progress | None = None) -> ImportSummary:
    """Turn `source` (a folder or file of `source_format`) into a tape at `destination`, whole or not at all.

    Raises BadInput naming file and row, line or byte where the source is damaged; nothing is written then.
    """
    job = _importer(source_format)(source)
    counts: dict[str, int] = {}
    with new_tape(destination, job.header) as writer:
        for event in job.events:
            writer.append(event)
            kind = type(event).__name__
            counts[kind] = counts.get(kind, 0) + 1
            if progress is not None and writer.events % PROGRESS_EVERY == 0:
                progress(writer.events, max(job.expected, writer.events))
        if not writer.events:
            raise BadInput(f"{source}: nothing in it could be read as {source_format}; {_remarks_text(job)}")
    if progress is not None:
        progress(sum(counts.values()), sum(counts.values()))
    return ImportSummary(
        format=source_format,
        destination=str(destination),
        header=job.header,
        totals=writer.totals,
        counts=counts,
        remarks=job.tally.lines(),
    )


def _importer(source_format: str) -> Importer:
    if source_format not in FORMATS:
        raise BadInput(f"{source_format!r} is not a known format; choose one of {', '.join(FORMATS)}")
    importer: Importer = importlib.import_module(f"polybot.importing.{source_format}").read
    return importer


def _remarks_text(job: ImportJob) -> str:
    return "; ".join(job.tally.lines()) or "it is empty"
