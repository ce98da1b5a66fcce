"""The report's words and tables, once for every form it is shown in: a terminal and a page say the same."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from polybot.backtest.report import AuditResult, Performer, Report, Sample, WindowCell, WindowRow, trades_needed
from polybot.domain.events import Verdict, WindowRecorded
from polybot.domain.units import UNIT, Millis, format_units

NONE = "–"
CENT = UNIT // 100
EDGES = (0.01, 0.02, 0.05)


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """`prose` columns take what width is left and wrap; `right` ones are numbers."""

    title: str
    right: bool = False
    prose: bool = False


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """`note` stands under the title; `strong` rows (by number) stand out, where the form can show it."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    strong: tuple[int, ...] = ()


def heading(report: Report) -> str:
    start = report.start
    if start is None:
        return "a run that was never started"
    return f"{start.mode} · {start.source} · seed {start.seed} · version {start.version}"


def period(report: Report) -> str:
    first, last = clock(report.first_at, "%Y-%m-%d %H:%M"), clock(report.last_at, "%Y-%m-%d %H:%M")
    ended = sum(row.ended for row in report.windows)
    state = "played to its end" if report.finished else "not at its end yet; it can go on"
    return f"{first} to {last} UTC, {count(ended, 'window')}, {state}"


def tables(report: Report) -> list[Table]:
    """All tables in reading order; those with nothing to say are left out."""
    everything = (
        _results(report),
        _capital(report),
        _windows(report),
        _refusals(report),
        _pauses(report),
        _findings(report),
        _errors(report),
    )
    return [table for table in everything if table.rows]


def verdicts(report: Report) -> Iterator[str]:
    """The sentences that matter most: does the money add up, did the audit pass, is every window accounted for."""
    yield report.money.text
    yield audit_text(report.audit)
    expected = sum(len(row.cells) for row in report.windows if row.ended)
    missing = report.records_missing
    text = f"Every agent has its record for every window: {expected} of {expected}."
    yield text if not missing else f"WINDOW RECORDS ARE MISSING: {missing} of {expected}."


def audit_text(audit: AuditResult) -> str:
    books = (
        f"; {audit.books - audit.books_failed} of {audit.books} comparisons of the books agree" if audit.books else ""
    )
    if audit.failed or audit.books_failed:
        orders = f"{audit.failed} of {audit.audited} orders failed with {count(audit.findings_total, 'finding')}"
        return f"THE AUDIT FAILED: {orders}{books}."
    if not audit.audited and audit.orders:
        return f"NO AUDIT: none of {count(audit.orders, 'order')} was audited."
    if audit.audited < audit.orders:
        return f"The audit is not complete: {audit.audited} of {audit.orders} orders are audited, all passed{books}."
    return f"The audit passed: {audit.audited} of {count(audit.orders, 'order')}{books}."


def caveat(sample: Sample) -> str:
    """What this many trades can and cannot show (evidence 2c), in plain words."""
    if sample.interval is None:
        return f"No trade was settled in {count(sample.windows, 'window')}: this run says nothing about any edge."
    low, high = sample.interval
    error = f" ± {percent(sample.standard_error)} (one standard error)" if sample.standard_error is not None else ""
    needed = ", ".join(f"{trades_needed(edge):,} for {edge * 100:.0f} ¢" for edge in EDGES)
    return (
        f"A small sample says little. {count(sample.trades, 'trade')} in {sample.windows_traded} of "
        f"{count(sample.windows, 'window')}: win rate {percent(sample.wins / sample.trades)}{error}, 95 % interval "
        f"{low * 100:.0f} to {high * 100:.0f} %. Trades of one window share its outcome, so the real uncertainty is "
        f"wider. Telling an edge per share from luck takes about this many independent trades: {needed}. Compare the "
        f"win rate with the break-even beside it, never with 50 %."
    )


# -- the tables -------------------------------------------------------------------------------------------------------


def _results(report: Report) -> Table:
    rows = [
        (
            p.agent or "floor",
            str(p.trades),
            str(p.wins),
            percent(p.win_rate),
            percent(p.break_even),
            dollars(p.pnl, signed=True),
            dollars(p.fees),
            NONE if p.sharpe is None else f"{p.sharpe:+.2f}",
            str(p.traded),
            str(p.passed),
            str(p.down),
        )
        for p in _performers(report)
    ]
    titles = ("trades", "won", "win rate", "break-even", "P&L $", "fees $", "Sharpe", "traded", "passed", "down")
    return Table(
        title="Results",
        columns=(Column(title="agent"), *(Column(title=title, right=True) for title in titles)),
        rows=tuple(rows),
        note="Break-even: the average price of a trade's shares, fee included, which is the win rate it asks for. "
        "Sharpe: per trade, on the stake, not annualised. Traded, passed, down: windows.",
        strong=(len(rows) - 1,),
    )


def _capital(report: Report) -> Table:
    rows = [
        (
            p.agent or "floor",
            dollars(p.equity_from),
            dollars(p.equity_to),
            percent(p.drawdown),
            dollars(p.exposure_peak),
            percent(p.uptime),
            str(p.crashes),
        )
        for p in _performers(report)
    ]
    titles = ("equity from $", "to $", "max drawdown", "peak exposure $", "uptime", "crashes")
    return Table(
        title="Capital and risk",
        columns=(Column(title="agent"), *(Column(title=title, right=True) for title in titles)),
        rows=tuple(rows),
        note="Equity is settled: open positions stand in it at cost.",
        strong=(len(rows) - 1,),
    )


def _windows(report: Report) -> Table:
    shown = [row for row in report.windows if row.ended or any(cell.record or cell.pnl for cell in row.cells)]
    one_series = len({row.series for row in shown}) == 1
    one_day = len({clock(row.start, "%Y-%m-%d") for row in shown}) == 1
    rows = [
        line
        for row in shown
        for line in _window_lines(row, _window_name(row, with_day=not one_day, with_series=not one_series))
    ]
    columns = (
        Column(title="window (UTC)"),
        Column(title="paid"),
        Column(title="agent"),
        Column(title="verdict"),
        Column(title="P&L $", right=True),
        Column(title="why", prose=True),
    )
    scope = f"All of {shown[0].series}. " if one_series else ""
    note = f"{scope}For a passed window: the nearest miss, its number against its threshold, and by how much it missed."
    later = len(report.windows) - len(shown)
    note += f" {count(later, 'more market')} had been listed whose window was not over." if later else ""
    return Table(title="Windows", columns=columns, rows=tuple(rows), note=note)


def _window_name(row: WindowRow, *, with_day: bool, with_series: bool) -> str:
    start = clock(row.start, "%d %b %H:%M" if with_day else "%H:%M")
    series = f" {row.series}" if with_series else ""
    return f"{start}–{clock(row.end, '%H:%M')}{series}"


def _window_lines(row: WindowRow, name: str) -> Iterator[tuple[str, ...]]:
    paid = _paid(row)
    for cell in row.cells:
        verdict = cell.record.verdict.value if cell.record else ("MISSING" if row.ended else "open")
        pnl = NONE if cell.pnl is None else dollars(cell.pnl, signed=True)
        yield name, paid, cell.agent, verdict, pnl, why(cell)
        name = paid = ""


def _paid(row: WindowRow) -> str:
    if row.payout_up is None:
        return "unsettled" if row.ended else "open"
    return {UNIT: "Up", 0: "Down"}.get(row.payout_up, f"Up {format_units(row.payout_up)}")


def why(cell: WindowCell) -> str:
    """Why an agent did what it did: what it traded, or what stood nearest in the way and by how much."""
    record = cell.record
    if record is None:
        return ""
    if record.verdict is Verdict.TRADED:
        return f"{count(record.orders, 'order')}, {count(record.fills, 'fill')}"
    return "; ".join(part for part in (_miss(record), record.text) if part)


def _miss(record: WindowRecorded) -> str:
    if record.value is None or record.threshold is None:
        return record.reason
    miss = f"{record.reason}: {number(record.value)} against {number(record.threshold)}"
    return miss if record.shortfall is None else f"{miss}, by {number(record.shortfall)}"


def _refusals(report: Report) -> Table:
    rows = tuple((refusal.rule, str(refusal.count), refusal.example) for refusal in report.refusals)
    columns = (Column(title="rule"), Column(title="windows", right=True), Column(title="for example", prose=True))
    note = "What the gate turned down, counted once per agent, window and rule."
    return Table(title="Refusals", columns=columns, rows=rows, note=note)


def _pauses(report: Report) -> Table:
    rows = tuple((clock(p.at, "%d %b %H:%M:%S"), p.agent or "floor", p.breaker, p.text) for p in report.pauses)
    columns = (
        Column(title="at (UTC)"),
        Column(title="who"),
        Column(title="breaker"),
        Column(title="why", prose=True),
    )
    return Table(title="Pauses", columns=columns, rows=rows, note=_more(len(rows), report.pauses_total))


def _findings(report: Report) -> Table:
    audit = report.audit
    rows = tuple((finding.order, finding.text) for finding in audit.findings)
    columns = (Column(title="order"), Column(title="finding", prose=True))
    return Table(title="Audit findings", columns=columns, rows=rows, note=_more(len(rows), audit.findings_total))


def _errors(report: Report) -> Table:
    rows = tuple((clock(e.at, "%d %b %H:%M:%S"), e.severity.value, e.component, e.text) for e in report.errors)
    columns = (
        Column(title="at (UTC)"),
        Column(title="severity"),
        Column(title="component"),
        Column(title="what", prose=True),
    )
    return Table(title="Errors", columns=columns, rows=rows, note=_more(len(rows), report.errors_total))


def _performers(report: Report) -> tuple[Performer, ...]:
    return (*report.agents, report.floor)


# -- numbers as people read them --------------------------------------------------------------------------------------


def dollars(amount: int, *, signed: bool = False) -> str:
    """To the cent, halves away from zero; where the last digit matters, `format_units` shows them all."""
    cents = (2 * abs(amount) + CENT) // (2 * CENT)
    sign = "-" if amount < 0 and cents else ("+" if signed and cents else "")
    return f"{sign}{cents // 100:,}.{cents % 100:02d}"


def percent(share: float | None) -> str:
    return NONE if share is None else f"{share * 100:.1f} %"


def number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def count(amount: int, noun: str) -> str:
    return f"{amount} {noun}" if amount == 1 else f"{amount} {noun}s"


def clock(at: Millis, form: str) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime(form)


def _more(shown: int, total: int) -> str:
    return f"The first {shown} of {total}." if total > shown else ""
