"""`protocol` by jonahgrigoryan: sessions of raw frames as received, one JSON a line, and the markets of each session.

Frames go through the very decoder the live feed uses. What it cannot read is counted with its line, never fatal: these
files are there to show what the venue really sends.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.events import MarketEvent, MarketListed
from polybot.domain.fees import NO_FEES, FeeSchedule
from polybot.domain.ids import ConditionId, MarketId, SeriesId, TokenId
from polybot.domain.market import Market
from polybot.domain.units import UNIT, Millis, Price, Shares
from polybot.importing.csv_rows import read_lines
from polybot.importing.source import ImportJob, Tally, time_ms
from polybot.importing.spot_frames import binance_price, coinbase_price
from polybot.importing.terms import parse_slug, rule_set_at, taker_delay_at
from polybot.storage.tape import TapeHeader
from polybot.venue.polymarket.wire import MarketDecoder, Tokens, Undecodable, WireEvent
from polybot.venue.polymarket.wire_prices import decode_prices

RAW_ENDING = ".raw.jsonl.gz"
MARKETS_ENDING = ".markets.jsonl"
CHAINLINK = "https://data.chain.link/streams/"

HEADER = TapeHeader(
    name="protocol",
    source="jonahgrigoryan/polymarket-15m-arb-bot on GitHub: raw frames of CLOB, RTDS, Binance and Coinbase",
    licence="none stated: not to be passed on",
    attribution="jonahgrigoryan/polymarket-15m-arb-bot",
    created_from="*.raw.jsonl.gz, *.markets.jsonl",
    depth="full",
    has_trades=False,
    has_reference=True,
    has_receive_times=True,
    has_settlements=False,
    notes=[
        "The sessions hold no trade prints, and none is read from elsewhere.",
        "Sessions last minutes and have gaps between their connections: books are whole only after a `book` message.",
        "Markets are listed at the first frame of their session, with the fee schedule recorded beside it.",
        "The taker delay is not recorded: none was in force in April 2026.",
        "Reference prices come in the snapshot of each subscription, too, and so may be older than ones before them.",
    ],
)


class Line(msgspec.Struct):
    """`recv_wall_ts` is in milliseconds; `payload` is the frame's text as received."""

    source: str
    recv_wall_ts: int
    payload: str


class RecordedFees(msgspec.Struct, rename="camel"):
    rate: Decimal
    exponent: int
    taker_only: bool
    rebate_rate: Decimal


class FeeParameters(msgspec.Struct):
    fees_enabled: bool
    raw_fee_config: RecordedFees | None = None


class RecordedToken(msgspec.Struct):
    token_id: str
    outcome: str


class RecordedMarket(msgspec.Struct):
    slug: str
    condition_id: str
    outcomes: list[RecordedToken]
    start_ts: int
    end_ts: int
    resolution_source: str
    tick_size: Decimal
    min_order_size: Decimal
    fee_parameters: FeeParameters


def read(source: Path) -> ImportJob:
    """A folder of sessions, or one session's raw file. Raises BadInput naming file and line."""
    files = sorted(source.glob(f"*{RAW_ENDING}")) if source.is_dir() else [source]
    if not files or not files[0].name.endswith(RAW_ENDING) or not files[0].is_file():
        raise BadInput(f"{source}: no session in it; give a folder with files ending in {RAW_ENDING}, or one of them")
    tally = Tally()
    events = [event for path in files for event in _session(path, tally)]
    events.sort(key=lambda event: event.received)
    return ImportJob(header=HEADER, events=iter(events), expected=len(events), tally=tally)


def _session(path: Path, tally: Tally) -> Iterator[MarketEvent]:
    markets = _markets(path.with_name(path.name.removesuffix(RAW_ENDING) + MARKETS_ENDING))
    decoder = MarketDecoder(Tokens(markets))
    listed = False
    for number, text in read_lines(path):
        place = f"{path}: line {number}"
        try:
            line = msgspec.json.decode(text, type=Line)
            received = time_ms(line.recv_wall_ts, place)
        except (msgspec.DecodeError, BadInput, RecursionError) as error:
            tally.count("lines that are not frames", f"{place}: {error}")
            continue
        if not listed:
            listed = True
            yield from (MarketListed(received, received, market) for market in markets)
        yield from _events(line, received, decoder, tally, place)


def _events(line: Line, received: Millis, decoder: MarketDecoder, tally: Tally, place: str) -> Iterator[MarketEvent]:
    try:
        decoded = _decode(line, received, decoder, place)
    except (msgspec.DecodeError, BadInput, RecursionError) as error:
        tally.count(f"{line.source} frames not understood", f"{place}: {error}")
        return
    for event in decoded:
        if isinstance(event, Undecodable):
            tally.count(f"{line.source} messages not understood", f"{place}: {event.reason}")
        elif isinstance(event, MarketEvent):
            yield event
        else:
            tally.count(f"{line.source} {type(event).__name__} messages left out", place)


def _decode(line: Line, received: Millis, decoder: MarketDecoder, place: str) -> Sequence[WireEvent]:
    if line.source == "polymarket_clob":
        # Answers of REST and frames of the socket were written under one name; only the latter say what they are.
        rest = '"event_type"' not in line.payload
        return [decoder.decode_rest_book(line.payload, received)] if rest else decoder.decode(line.payload, received)
    if line.source.startswith("polymarket_rtds"):
        return decode_prices(line.payload, received)
    if line.source == "binance":
        return [binance_price(line.payload, received, place)]
    if line.source == "coinbase":
        price = coinbase_price(line.payload, received, place)
        return [] if price is None else [price]
    raise BadInput("a source this importer does not know")


def _markets(path: Path) -> list[Market]:
    if not path.is_file():
        raise BadInput(f"{path}: the session's list of markets is missing")
    return [_market(text, f"{path}: line {number}") for number, text in read_lines(path)]


def _market(text: str, place: str) -> Market:
    try:
        return _terms(msgspec.json.decode(text, type=RecordedMarket), place)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadInput(f"{place}: not a market ({error}); the source is damaged there") from error
    except BadInput as error:
        # Fees and windows are checked by the domain, which knows no files.
        raise BadInput(str(error) if place in str(error) else f"{place}: {error}") from error


def _terms(recorded: RecordedMarket, place: str) -> Market:
    asset, frame, start = parse_slug(recorded.slug, place)
    if [token.outcome for token in recorded.outcomes] != ["Up", "Down"]:
        raise BadInput(f"{place}: the outcomes are not Up and Down in this order")
    if not recorded.resolution_source.startswith(CHAINLINK):
        raise BadInput(f"{place}: resolution source {recorded.resolution_source[:80]!r} is unknown")
    return Market(
        id=MarketId(recorded.slug),
        condition_id=ConditionId(recorded.condition_id),
        series=SeriesId(f"{asset}-{frame}"),
        asset=asset,
        window_start=time_ms(recorded.start_ts, place),
        window_end=time_ms(recorded.end_ts, place),
        tick=Price(_exact(recorded.tick_size, place)),
        size_min=Shares(_exact(recorded.min_order_size, place)),
        fees=_fees(recorded.fee_parameters, place),
        taker_delay_ms=taker_delay_at(start),
        rule_set=rule_set_at(frame, start),
        tokens=(TokenId(recorded.outcomes[0].token_id), TokenId(recorded.outcomes[1].token_id)),
    )


def _fees(recorded: FeeParameters, place: str) -> FeeSchedule:
    if not recorded.fees_enabled:
        return NO_FEES
    config = recorded.raw_fee_config
    if config is None:
        raise BadInput(f"{place}: fees are on, but their schedule is missing")
    return FeeSchedule(
        rate=_exact(config.rate, place),
        exponent=config.exponent,
        taker_only=config.taker_only,
        rebate_rate=_exact(config.rebate_rate, place),
    )


def _exact(value: Decimal, place: str) -> int:
    if not value.is_finite() or not 0 <= value < UNIT or value * UNIT != int(value * UNIT):
        raise BadInput(f"{place}: {str(value)[:30]} is not an amount of at most 6 decimals")
    return int(value * UNIT)
