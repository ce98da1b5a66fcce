"""`trades_20min` by selcukguler0: every trade and 5-level books of BTC, ETH, SOL and XRP markets, 5 and 15 minutes.

Three CSV files: markets (only those with a book or a trade become part of the tape), books and trades.
"""

from collections.abc import Iterator
from pathlib import Path

from polybot.domain.errors import BadInput
from polybot.domain.events import BookReplaced, MarketEvent, TradePrinted
from polybot.domain.ids import TokenId
from polybot.domain.market import Market, Outcome, Side
from polybot.domain.units import Price, Shares
from polybot.importing.csv_rows import read_csv
from polybot.importing.listing import TICK_NOTE, with_listings
from polybot.importing.source import ImportJob, Tally, price_units, size_units, source_file, time_ms
from polybot.importing.terms import updown_market
from polybot.storage.tape import TapeHeader

MARKET_COLUMNS = ["condition_id", "market_slug", "timeframe", "token_id_up", "token_id_down"]
LEVELS = range(1, 6)
BOOK_COLUMNS = ["timestamp_ms", "condition_id", "token_id"] + [
    f"{side}_{level}_{what}" for side in ("bid", "ask") for level in LEVELS for what in ("price", "size")
]
TRADE_COLUMNS = ["timestamp_ms", "condition_id", "token_id", "side", "price", "size"]

HEADER = TapeHeader(
    name="trades_20min",
    source="selcukguler0/polymarket-data-collector on GitHub: BTC, ETH and SOL, 5m and 15m, 2026-03-10 19:25-19:46",
    licence="none stated: not to be passed on",
    attribution="selcukguler0/polymarket-data-collector",
    created_from="active_markets.csv.gz, book_snapshots.csv.gz, live_trades.csv.gz",
    depth="top5",
    has_trades=True,
    has_reference=False,
    has_receive_times=False,
    has_settlements=False,
    notes=[
        TICK_NOTE,
        "Receive times are not recorded: `received` equals the recorder's time stamp.",
        "Payouts are not recorded: no market on this tape is resolved.",
        "Each market is listed when its first book or trade appears; those without either are left out.",
        "Fees are not recorded: those of that day, rate 0.25, exponent 2, with an assumed rebate rate of 0.20.",
        "Rows are ordered by (time, books before trades, row): the sources' own order is not monotonic.",
    ],
)


def read(source: Path) -> ImportJob:
    """The folder's three files as events. Raises BadInput naming file and line."""
    markets = _read_markets(source_file(source, "active_markets.csv.gz"))
    rows: list[MarketEvent] = [
        *_read_books(source_file(source, "book_snapshots.csv.gz"), markets),
        *_read_trades(source_file(source, "live_trades.csv.gz"), markets),
    ]
    rows.sort(key=lambda event: event.received)
    by_id = {market.id: market for market in markets.values()}
    return ImportJob(header=HEADER, events=with_listings(rows, by_id), expected=len(rows), tally=Tally())


def _read_markets(path: Path) -> dict[str, Market]:
    """By condition id; 4-hour markets are known as well."""
    found: dict[str, Market] = {}
    for place, row in read_csv(path, MARKET_COLUMNS):
        tokens = (TokenId(row["token_id_up"]), TokenId(row["token_id_down"]))
        found[row["condition_id"]] = updown_market(
            row["market_slug"], condition_id=row["condition_id"], place=place, tokens=tokens
        )
    return found


def _read_books(path: Path, markets: dict[str, Market]) -> Iterator[BookReplaced]:
    for place, row in read_csv(path, BOOK_COLUMNS):
        market, outcome = _place(row, markets, place)
        bid_prices, bid_sizes = _side(row, "bid", place)
        ask_prices, ask_sizes = _side(row, "ask", place)
        bid_prices.reverse()
        bid_sizes.reverse()
        if bid_prices != sorted(set(bid_prices)) or ask_prices != sorted(set(ask_prices)):
            raise BadInput(f"{place}: the levels are not in order from the best; the source is damaged there")
        at = time_ms(row["timestamp_ms"], place)
        yield BookReplaced(at, at, market.id, outcome, bid_prices, bid_sizes, ask_prices, ask_sizes)


def _side(row: dict[str, str], side: str, place: str) -> tuple[list[Price], list[Shares]]:
    """Best level first; a level that is not there has empty fields."""
    standing = [level for level in LEVELS if row[f"{side}_{level}_price"]]
    prices = [price_units(row[f"{side}_{level}_price"], place) for level in standing]
    return prices, [size_units(row[f"{side}_{level}_size"], place) for level in standing]


def _read_trades(path: Path, markets: dict[str, Market]) -> Iterator[TradePrinted]:
    for place, row in read_csv(path, TRADE_COLUMNS):
        market, outcome = _place(row, markets, place)
        if row["side"] not in ("BUY", "SELL"):
            raise BadInput(f"{place}: side {row['side']!r} is neither BUY nor SELL")
        at = time_ms(row["timestamp_ms"], place)
        price, size = price_units(row["price"], place), size_units(row["size"], place)
        yield TradePrinted(at, at, market.id, outcome, Side(row["side"]), price, size)


def _place(row: dict[str, str], markets: dict[str, Market], place: str) -> tuple[Market, Outcome]:
    market = markets.get(row["condition_id"])
    if market is None or market.tokens is None:
        raise BadInput(f"{place}: condition {row['condition_id']!r} is not in active_markets.csv.gz")
    if row["token_id"] not in market.tokens:
        raise BadInput(f"{place}: token {row['token_id']!r} is not one of {market.id}'s")
    return market, Outcome(market.tokens.index(TokenId(row["token_id"])))
