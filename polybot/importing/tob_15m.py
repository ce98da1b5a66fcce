"""`tob_15m`: best bid and ask of both tokens of BTC and ETH 15-minute markets about once a second, with the outcome.

Joined from three recorders. Sizes are mostly not recorded, and a level must have one: see SIZE_UNKNOWN.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polybot.domain.errors import BadInput
from polybot.domain.events import BookReplaced, MarketEvent, MarketResolved
from polybot.domain.ids import MarketId
from polybot.domain.market import Market, Outcome
from polybot.domain.units import LOT, UNIT, Millis, Price, Shares
from polybot.importing.listing import TICK_NOTE, with_listings
from polybot.importing.source import ImportJob, Tally, finite, price_units, read_parquet, size_units, source_file
from polybot.importing.terms import SETTLED_AFTER_MS, updown_market
from polybot.storage.tape import TapeHeader

FILE = "quotes.parquet"
SIDES = ("bid", "ask")
PREFIXES = ("up", "dn")
QUOTES = [f"{prefix}_{side}{what}" for prefix in PREFIXES for side in SIDES for what in ("", "_sz")]
COLUMNS = ["dataset", "asset", "start", "t", "y", *QUOTES]
SIZE_UNKNOWN = Shares(LOT)
"""0.01 share, the smallest lot, where the recorder kept no size. 0 would say nothing stands there, which is false; any
size that can be traded would be liquidity made up. A lot is below the venue's minimum order, so nothing but the price
can be learnt from it, and a simulated order that takes it gains next to nothing."""
T_MIN_S, T_MAX_S = -3_600, 86_400

HEADER = TapeHeader(
    name="tob_15m",
    source="119 BTC and ETH 15-minute markets, 2025-12-26 to 2026-04-01, of the recorders Borisz42, pmb and rjav1",
    licence="none stated: not to be passed on",
    attribution="Borisz42, pmb and rjav1, as named in the source's column `dataset`",
    created_from=FILE,
    depth="best",
    has_trades=False,
    has_reference=False,
    has_receive_times=False,
    has_settlements=True,
    notes=[
        TICK_NOTE,
        "BEST LEVEL ONLY: what stands behind the best bid and ask was not recorded; there is no depth on this tape.",
        "Where no size was recorded (3 of 4 quotes) the level has 0.01 share, which stands for unknown.",
        "The two tokens of one second came from separate calls: ask + ask below 1 is mostly their skew.",
        "Prices of 0 and 1 and levels of size 0 in the source mean an empty side and are written as one.",
        "Receive times are not recorded: `received` is window start + the row's seconds from it.",
        "Outcomes are the source's reading of late quotes, not the venue's word; five markets have none.",
        "Settlement times are not recorded: 54 s after the window (the venue's median), or its last row if later.",
        "Terms are those of each window's day as far as known; condition ids are not recorded.",
    ],
)


def read(source: Path) -> ImportJob:
    """The parquet file as events. Raises BadInput naming file and row."""
    path = source_file(source, FILE)
    rows = read_parquet(path, COLUMNS)
    tally = Tally()
    return ImportJob(header=HEADER, events=_events(path, rows, tally), expected=2 * len(rows["t"]), tally=tally)


def _events(path: Path, rows: dict[str, list[Any]], tally: Tally) -> Iterator[MarketEvent]:
    places = [f"{path}: row {row}" for row in range(len(rows["t"]))]
    slugs = [_slug(rows["asset"][row], rows["start"][row], place) for row, place in enumerate(places)]
    first_place = dict(zip(reversed(slugs), reversed(places), strict=True))
    markets = {MarketId(slug): updown_market(slug, condition_id="", place=place) for slug, place in first_place.items()}
    return with_listings(_quotes(rows, slugs, markets, places, tally), markets)


def _quotes(
    rows: dict[str, list[Any]], slugs: list[MarketId], markets: dict[MarketId, Market], places: list[str], tally: Tally
) -> Iterator[MarketEvent]:
    times = [_time(rows["start"][row], rows["t"][row], place) for row, place in enumerate(places)]
    resolutions = _resolutions(rows["y"], slugs, times, markets, places)
    for row in sorted(range(len(times)), key=times.__getitem__):
        while resolutions and resolutions[0].at < times[row]:
            yield resolutions.pop(0)
        for outcome, prefix in zip(Outcome, PREFIXES, strict=True):
            bids = _side(rows, row, f"{prefix}_bid", tally, places[row])
            asks = _side(rows, row, f"{prefix}_ask", tally, places[row])
            yield BookReplaced(times[row], times[row], slugs[row], outcome, *bids, *asks)
    yield from resolutions


def _side(
    rows: dict[str, list[Any]], row: int, name: str, tally: Tally, place: str
) -> tuple[list[Price], list[Shares]]:
    price, size = rows[name][row], rows[f"{name}_sz"][row]
    if price is None:
        return [], []
    if price in (0.0, 1.0) or size == 0.0:
        tally.count("quotes at 0 or 1 or of size 0, written as an empty side", place)
        return [], []
    if size is None:
        tally.count("quotes without a size, written as 0.01 share", place)
        return [price_units(price, place)], [SIZE_UNKNOWN]
    return [price_units(price, place)], [size_units(size, place)]


def _resolutions(
    outcomes: list[Any],
    slugs: list[MarketId],
    times: list[Millis],
    markets: dict[MarketId, Market],
    places: list[str],
) -> list[MarketResolved]:
    """One for each market whose rows name an outcome, in order of time, ties in order of appearance."""
    last_seen: dict[MarketId, Millis] = {}
    payouts: dict[MarketId, Price] = {}
    for slug, at, outcome, place in zip(slugs, times, outcomes, places, strict=True):
        last_seen[slug] = max(at, last_seen.get(slug, at))
        if outcome is None or (isinstance(outcome, float) and math.isnan(outcome)):
            continue
        if outcome not in (0.0, 1.0) or payouts.get(slug, outcome * UNIT) != outcome * UNIT:
            raise BadInput(f"{place}: outcome {outcome!r} is not 0 or 1, or not that of the market's other rows")
        payouts[slug] = Price(int(outcome) * UNIT)
    found = []
    for slug, payout in payouts.items():
        at = Millis(max(last_seen[slug], markets[slug].window_end + SETTLED_AFTER_MS))
        found.append(MarketResolved(at, at, slug, payout))
    return sorted(found, key=lambda event: event.at)


def _slug(asset: object, start: object, place: str) -> MarketId:
    if not isinstance(asset, str) or not isinstance(start, int):
        raise BadInput(f"{place}: asset {asset!r} and window start {start!r} do not name a market")
    return MarketId(f"{asset.lower()}-updown-15m-{start}")


def _time(start: int, seconds: object, place: str) -> Millis:
    elapsed = finite(seconds, place)
    if not T_MIN_S <= elapsed <= T_MAX_S:
        raise BadInput(f"{place}: {elapsed} s from the window's start is too far from it")
    return Millis(start * 1000 + round(elapsed * 1000))
