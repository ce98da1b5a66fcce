"""The report as one self-contained page: the tables of the text, and plots drawn by the installed plotly.js.

The figures are written as plain JSON and drawn in the browser under fixed names, so the same facts give the same bytes;
nothing is fetched from anywhere.
"""

from html import escape
from typing import Any, Final

import msgspec
from plotly.offline import get_plotlyjs

from polybot.backtest.report import EquityPoint, Performer, Report
from polybot.backtest.report_tables import Column, Table, caveat, clock, heading, period, tables, verdicts
from polybot.domain.units import UNIT, Millis

# Okabe and Ito's colours, which most colour-blind people can tell apart; the blue is lighter, to be seen on black too.
COLOURS: Final = ("#1f83c9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c6bb1", "#7f7f7f")
WON, LOST = "#009e73", "#d55e00"
POINTS_MAX = 4_000
"""Steps drawn per curve; a longer one is thinned evenly, its last point kept."""

Figure = dict[str, Any]


def render_html(report: Report) -> str:
    """The whole page, ready to be written to one file. All text from outside is escaped."""
    figures = [(title, figure) for title, figure in _figures(report) if figure["data"]]
    results, *others = tables(report)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>PolyBot report</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{STYLE}</style></head><body><main>",
        f"<header><h1>PolyBot report</h1><p>{escape(heading(report))}<br>{escape(period(report))}</p></header>",
        _verdicts(report),
        _table(results),
        _section("What this sample can say", f"<p>{_prose(caveat(report.sample))}</p>"),
        *(_plot(place, title) for place, (title, _) in enumerate(figures)),
        *(_table(table) for table in others),
        f"</main><script>{get_plotlyjs()}</script>",
        f"<script>const FIGURES = {_json([figure for _, figure in figures])};\n{SCRIPT}</script></body></html>\n",
    ]
    return "\n".join(parts)


def _verdicts(report: Report) -> str:
    """Bad news is in capitals in every form of the report; here it is red as well."""
    items = []
    for sentence in verdicts(report):
        bad = sentence.split(":")[0].isupper()
        items.append(f'<li class="{"bad" if bad else "good"}">{escape(sentence)}</li>')
    return f'<ul class="verdicts">{"".join(items)}</ul>'


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _plot(place: int, title: str) -> str:
    return _section(title, f'<div class="plot" id="plot-{place}"></div>')


def _table(table: Table) -> str:
    head = "".join(f"<th{_kind(column)}>{escape(column.title)}</th>" for column in table.columns)
    rows = []
    for place, row in enumerate(table.rows):
        cells = "".join(
            f"<td{_kind(column)}>{escape(cell)}</td>" for column, cell in zip(table.columns, row, strict=True)
        )
        strong = ' class="strong"' if place in table.strong else (' class="first"' if row[0] else "")
        rows.append(f"<tr{strong}>{cells}</tr>")
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return _section(table.title, f'{note}<div class="scroll"><table>{body}</table></div>')


def _prose(text: str) -> str:
    """Escaped, and a number kept on one line with its unit."""
    return escape(text).replace(" %", "&nbsp;%").replace(" ¢", "&nbsp;¢")


def _kind(column: Column) -> str:
    if column.right:
        return ' class="number"'
    return ' class="prose"' if column.prose else ""


# -- figures ----------------------------------------------------------------------------------------------------------


def _figures(report: Report) -> list[tuple[str, Figure]]:
    return [
        ("Equity of the floor", _equity(report, (report.floor,))),
        ("Equity of the agents", _equity(report, report.agents)),
        ("P&L per window", _window_pnl(report)),
        ("Won and lost", _wins(report)),
    ]


def _equity(report: Report, performers: tuple[Performer, ...]) -> Figure:
    """Settled equity as steps: between settlements it does not change."""
    traces = []
    for place, performer in enumerate(performers):
        points = _thinned(performer.curve)
        if not points:
            continue
        last = EquityPoint(at=report.last_at, equity=points[-1].equity)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "line": {"shape": "hv", "width": 2, "color": _colour(place)},
                "name": performer.agent or "floor",
                "x": [_moment(point.at) for point in (*points, last)],
                "y": [point.equity / UNIT for point in (*points, last)],
                "hovertemplate": "$%{y:,.2f}<br>%{x|%d %b %H:%M:%S}",
            }
        )
    return _figure(traces, yaxis={"tickprefix": "$", "tickformat": ",.2f"}, xaxis={"type": "date"})


def _window_pnl(report: Report) -> Figure:
    """Bars over time, not over names: hours without a trade are gaps, and the axis stays legible for any number."""
    traces = []
    for place, performer in enumerate(report.agents):
        sums: dict[tuple[Millis, Millis], int] = {}  # windows of several series may run at once
        for row in report.windows:
            for cell in row.cells:
                if cell.agent == performer.agent and cell.pnl is not None:
                    sums[row.start, row.end] = sums.get((row.start, row.end), 0) + cell.pnl
        if sums:
            traces.append(
                {
                    "type": "bar",
                    "name": performer.agent,
                    "marker": {"color": _colour(place)},
                    "x": [_moment(Millis((start + end) // 2)) for start, end in sums],
                    "width": [(end - start) * 0.7 for start, end in sums],
                    "y": [pnl / UNIT for pnl in sums.values()],
                    "customdata": [f"{clock(start, '%d %b %H:%M')}–{clock(end, '%H:%M')}" for start, end in sums],
                    "hovertemplate": "$%{y:+,.2f}<br>%{customdata}",
                }
            )
    money_axis = {"tickprefix": "$", "tickformat": ",.2f", "zeroline": True}
    return _figure(traces, barmode="relative", yaxis=money_axis, xaxis={"type": "date"})


def _wins(report: Report) -> Figure:
    """Won to the right, lost to the left, so that the length tells how many and the balance is seen at once."""
    performers = [p for p in (report.floor, *reversed(report.agents)) if p.trades]
    names = [performer.agent or "floor" for performer in performers]
    traces = []
    for name, colour, counts, sign in (
        ("won", WON, [p.wins for p in performers], 1),
        ("lost", LOST, [p.trades - p.wins for p in performers], -1),
    ):
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": name,
                "marker": {"color": colour},
                "y": names,
                "x": [sign * amount for amount in counts],
                "text": [str(amount) if amount else "" for amount in counts],
                "textposition": "inside",
                "insidetextfont": {"color": "#ffffff"},
                "hovertemplate": f"%{{text}} {name}",
            }
        )
    height = 120 + 34 * len(names)
    axis = {"showticklabels": False, "zeroline": True}
    return _figure(traces if names else [], barmode="relative", height=height, xaxis=axis, yaxis={"type": "category"})


def _figure(traces: list[dict[str, Any]], **layout: Any) -> Figure:
    base = {
        "height": 340,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "hovermode": "closest",
        "showlegend": len(traces) > 1,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"},
        "bargap": 0.35,
    }
    axes = {name: {"automargin": True, **layout.pop(name, {})} for name in ("xaxis", "yaxis")}
    return {"data": traces, "layout": {**base, **layout, **axes}}


def _thinned(curve: tuple[EquityPoint, ...]) -> tuple[EquityPoint, ...]:
    stride = -(-len(curve) // POINTS_MAX)
    return curve if stride <= 1 else (*curve[:-1:stride], curve[-1])


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _moment(at: Millis) -> str:
    return clock(at, "%Y-%m-%d %H:%M:%S") + f".{at % 1000:03d}"


def _json(value: Any) -> str:
    """JSON that may stand inside a script element, whatever the texts in it say."""
    text = msgspec.json.encode(value).decode()
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


STYLE: Final = """
:root { color-scheme: light dark; --ground: #ffffff; --text: #1d2129; --soft: #5c6570; --line: #dfe3e8; --head: #f5f7f9;
  --good: #00724f; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171c; --text: #e4e7eb; --soft: #9aa4b0; --line: #2d333c;
  --head: #1b1f26; --good: #4cc38a; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); line-height: 1.5;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 17px; margin: 36px 0 8px; }
p { margin: 0 0 8px; max-width: 78ch; }
header p, .note { color: var(--soft); }
.note { font-size: 13px; }
.verdicts { list-style: none; margin: 20px 0 0; padding: 0; }
.verdicts li { padding: 8px 14px; margin-bottom: 6px; border-left: 3px solid var(--good); background: var(--head); }
.verdicts .bad { border-color: var(--bad); color: var(--bad); font-weight: 600; }
.plot { width: 100%; min-height: 120px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 14px 5px 0; text-align: left; vertical-align: top; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; }
td.prose { white-space: normal; min-width: 260px; overflow-wrap: anywhere; }
tr.first td { border-top: 1px solid var(--line); }
tbody tr:first-child td { border-top: 0; }
tr.strong td { font-weight: 600; border-top: 2px solid var(--line); }
@media print { main { max-width: none; padding: 0; } section { break-inside: avoid; } }
"""

SCRIPT: Final = """
const dark = window.matchMedia('(prefers-color-scheme: dark)');
function dressed(layout) {
  const style = getComputedStyle(document.documentElement);
  const text = style.getPropertyValue('--text').trim(), line = style.getPropertyValue('--line').trim();
  const soft = style.getPropertyValue('--soft').trim();
  const axis = {gridcolor: line, linecolor: line, zerolinecolor: soft, zerolinewidth: 1, tickfont: {color: soft}};
  return {...layout, paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', font: {color: text, size: 13,
    family: getComputedStyle(document.body).fontFamily},
    xaxis: {...axis, ...layout.xaxis}, yaxis: {...axis, ...layout.yaxis}};
}
function draw() {
  FIGURES.forEach((figure, place) => Plotly.react('plot-' + place, figure.data, dressed(figure.layout),
    {displayModeBar: false, responsive: true}));
}
draw();
dark.addEventListener('change', draw);
"""
