"""`btc15m_l2` by Resolved Markets: twelve settled BTC 15-minute markets, top 20 levels of both tokens once a second.

Two parquet files: markets (slug, window, payouts) and books (best level first, as floats). The tape made from it ships
with the program.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from polybot.domain.errors import BadInput
from polybot.domain.events import BookReplaced, MarketEvent, MarketResolved
from polybot.domain.market import Market, Outcome
from polybot.domain.units import UNIT, Millis, Price, Shares
from polybot.importing.listing import TICK_NOTE, with_listings
from polybot.importing.source import (
    ImportJob,
    Tally,
    price_units,
    read_parquet,
    size_units,
    source_file,
    time_ms,
)
from polybot.importing.terms import SETTLED_AFTER_MS, updown_market
from polybot.storage.tape import TapeHeader

MARKET_COLUMNS = ["market_id", "slug", "start_ts", "end_ts", "payout_up", "payout_down"]
BOOK_COLUMNS = ["market_id", "ts", "side", "bid_px", "bid_sz", "ask_px", "ask_sz"]
OUTCOMES = {"UP": Outcome.UP, "DOWN": Outcome.DOWN}

HEADER = TapeHeader(
    name="btc15m_l2",
    source="Resolved Markets, package resolvedkit 0.1.0: 12 settled BTC 15-minute markets, 2026-09-28",
    licence="CC BY 4.0",
    attribution="(c) Resolved Markets, CC BY 4.0, from the package resolvedkit 0.1.0; converted to a tape by PolyBot",
    created_from="books.parquet, markets.parquet",
    depth="top20",
    has_trades=False,
    has_reference=False,
    has_receive_times=False,
    has_settlements=True,
    notes=[
        "Receive times are not recorded: `received` equals the source's own time.",
        "Settlement times are not recorded: 54 s after the window (the venue's median) or at the last snapshot.",
        "Terms are the venue's of that day, not the recording's: fee rate 0.07, exponent 1, takers only, rebate 0.20.",
        "Also the venue's of that day: taker delay 150 ms, minimum 5 shares, settlement on the 60 s Chainlink TWAP.",
        TICK_NOTE,
        "Six snapshots are crossed in the source and kept as they are.",
        "Rows are ordered by (time, row); 11 rows of the source were out of order in time.",
    ],
)


def read(source: Path) -> ImportJob:
    """The folder's two files as events. Raises BadInput naming file and row."""
    books_path = source_file(source, "books.parquet")
    markets_path = source_file(source, "markets.parquet")
    markets, payouts = _read_markets(markets_path)
    rows = read_parquet(books_path, BOOK_COLUMNS)
    by_id = {market.id: market for market in markets.values()}
    events = with_listings(_events(books_path, rows, markets, payouts), by_id)
    return ImportJob(header=HEADER, events=events, expected=len(rows["ts"]), tally=Tally())


def _read_markets(path: Path) -> tuple[dict[str, Market], dict[str, Price]]:
    columns = read_parquet(path, MARKET_COLUMNS)
    markets: dict[str, Market] = {}
    payouts: dict[str, Price] = {}
    for row, condition_id in enumerate(columns["market_id"]):
        place = f"{path}: row {row}"
        market = updown_market(str(columns["slug"][row]), condition_id=str(condition_id), place=place)
        if (market.window_start, market.window_end) != (columns["start_ts"][row], columns["end_ts"][row]):
            raise BadInput(f"{place}: the window is not the one its slug {market.id} names; the source is damaged")
        markets[str(condition_id)] = market
        payouts[str(condition_id)] = _payout(columns["payout_up"][row], columns["payout_down"][row], place)
    return markets, payouts


def _payout(up: object, down: object, place: str) -> Price:
    if not isinstance(up, float) or not isinstance(down, float) or not 0 <= up <= 1 or up + down != 1:
        raise BadInput(f"{place}: payouts {up!r} and {down!r} are not two shares of 1; the source is damaged there")
    return Price(round(up * UNIT))


def _events(
    path: Path, rows: dict[str, list[Any]], markets: dict[str, Market], payouts: dict[str, Price]
) -> Iterator[MarketEvent]:
    times = [time_ms(value, f"{path}: row {row}") for row, value in enumerate(rows["ts"])]
    resolutions = _resolutions(path, rows["market_id"], times, markets, payouts)
    for row in sorted(range(len(times)), key=times.__getitem__):
        while resolutions and resolutions[0].at < times[row]:
            yield resolutions.pop(0)
        yield _book(path, rows, row, markets[rows["market_id"][row]])
    yield from resolutions


def _resolutions(
    path: Path, ids: list[Any], times: list[Millis], markets: dict[str, Market], payouts: dict[str, Price]
) -> list[MarketResolved]:
    """One for each market there are books of, in order of time, ties in order of the window."""
    last_seen: dict[str, Millis] = {}
    for row, (condition_id, at) in enumerate(zip(ids, times, strict=True)):
        if condition_id not in markets:
            raise BadInput(f"{path}: row {row}: market {condition_id!r} is not in markets.parquet")
        last_seen[condition_id] = max(at, last_seen.get(condition_id, at))
    found = []
    for condition_id, last in last_seen.items():
        market = markets[condition_id]
        at = Millis(max(last, market.window_end + SETTLED_AFTER_MS))
        found.append((at, market.window_start, MarketResolved(at, at, market.id, payouts[condition_id])))
    return [event for _, _, event in sorted(found, key=lambda entry: entry[:2])]


def _book(path: Path, rows: dict[str, list[Any]], row: int, market: Market) -> BookReplaced:
    place = f"{path}: row {row}"
    outcome = OUTCOMES.get(rows["side"][row])
    if outcome is None:
        raise BadInput(f"{place}: side {rows['side'][row]!r} is neither UP nor DOWN")
    bid_prices, bid_sizes = _levels(rows["bid_px"][row], rows["bid_sz"][row], place)
    ask_prices, ask_sizes = _levels(rows["ask_px"][row], rows["ask_sz"][row], place)
    bid_prices.reverse()
    bid_sizes.reverse()
    _check_ascending(bid_prices, place)
    _check_ascending(ask_prices, place)
    at = Millis(rows["ts"][row])
    return BookReplaced(at, at, market.id, outcome, bid_prices, bid_sizes, ask_prices, ask_sizes)


def _levels(prices: Any, sizes: Any, place: str) -> tuple[list[Price], list[Shares]]:
    if not isinstance(prices, list) or not isinstance(sizes, list) or len(prices) != len(sizes):
        raise BadInput(f"{place}: prices and sizes do not go together; the source is damaged there")
    return [price_units(value, place) for value in prices], [size_units(value, place) for value in sizes]


def _check_ascending(prices: list[Price], place: str) -> None:
    if any(lower >= upper for lower, upper in pairwise(prices)):
        raise BadInput(f"{place}: the levels are not in order from the best; the source is damaged there")
