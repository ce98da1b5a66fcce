"""`btc5m_ws_book` by CronosVirus00: verbatim market-websocket `book` messages of BTC 5-minute markets, Down token."""

import math
from collections.abc import Iterator
from pathlib import Path

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.events import BookReplaced, MarketEvent
from polybot.domain.ids import MarketId, TokenId
from polybot.domain.market import Market, Outcome
from polybot.domain.units import Millis
from polybot.importing.listing import TICK_NOTE, with_listings
from polybot.importing.source import ImportJob, Tally, read_parquet, source_file
from polybot.importing.terms import updown_market
from polybot.storage.tape import TapeHeader
from polybot.venue.polymarket.wire import MarketDecoder, Tokens, Undecodable

FILE = "btc5m_raw_book_2026-04-14.parquet"
COLUMNS = ["recv_ts", "slug", "asset_id", "raw"]
RECEIVED_MAX_S = 10**10

HEADER = TapeHeader(
    name="btc5m_ws_book",
    source="CronosVirus00/polymarket-BTC5min-database on GitHub: BTC 5-minute markets, 2026-04-14",
    licence="CC BY 4.0",
    attribution="(c) CronosVirus00, CC BY 4.0; converted to a tape by PolyBot",
    created_from=FILE,
    depth="full",
    has_trades=False,
    has_reference=False,
    has_receive_times=True,
    has_settlements=False,
    notes=[
        TICK_NOTE,
        "Only the Down token was recorded; Up is its mirror image. The Up token's id is unknown, so no ids are given.",
        "Payouts are not recorded: no market on this tape is resolved.",
        "Fees are those served on 2026-04-27 (0.072, exponent 1, takers only, rebate 0.20), assumed for this day.",
        "No taker delay was in force that day; settlement was on Chainlink's spot price.",
        "The receive clock ran behind the venue's: mostly 57 ms before the event's own time; both are kept.",
        "900 messages of three markets' second token, the mirror image, are left out: the first to appear is Down.",
    ],
)


def read(source: Path) -> ImportJob:
    """The parquet file as events. Raises BadInput naming file and row."""
    path = source_file(source, FILE)
    rows = read_parquet(path, COLUMNS)
    tally = Tally()
    # Filled by `_events` as slugs appear, each before the first event that needs it.
    markets: dict[MarketId, Market] = {}
    events = with_listings(_events(path, rows, markets, tally), markets)
    return ImportJob(header=HEADER, events=events, expected=len(rows["raw"]), tally=tally)


def _events(
    path: Path, rows: dict[str, list[object]], markets: dict[MarketId, Market], tally: Tally
) -> Iterator[MarketEvent]:
    received = [_received(value, f"{path}: row {row}") for row, value in enumerate(rows["recv_ts"])]
    tokens = Tokens()
    decoder = MarketDecoder(tokens)
    owner: dict[MarketId, str] = {}
    for row in sorted(range(len(received)), key=received.__getitem__):
        place = f"{path}: row {row}"
        slug, token = MarketId(str(rows["slug"][row])), str(rows["asset_id"][row])
        if slug not in markets:
            markets[slug] = _market(slug, str(rows["raw"][row]), place)
            owner[slug] = token
            tokens.put(TokenId(token), slug, Outcome.DOWN)
        if owner[slug] != token:
            tally.count("messages of the Up token left out", place)
            continue
        yield from _books(str(rows["raw"][row]), received[row], decoder, tally, place)


def _books(raw: str, received: Millis, decoder: MarketDecoder, tally: Tally, place: str) -> Iterator[BookReplaced]:
    untimed = decoder.untimed
    for event in decoder.decode(raw, received):
        if isinstance(event, BookReplaced):
            yield event
        elif isinstance(event, Undecodable):
            # A frame that does not decode is damage here: the file is a copy of frames that once did.
            raise BadInput(f"{place}: {event.reason}; the source is damaged there: {event.excerpt[:80]}")
        else:
            tally.count(f"{type(event).__name__} messages left out", place)
    if decoder.untimed > untimed:
        tally.count("messages without a time of their own, given their receive time", place)


class _Condition(msgspec.Struct):
    market: str


def _market(slug: str, raw: str, place: str) -> Market:
    try:
        condition_id = msgspec.json.decode(raw, type=_Condition).market
    except msgspec.DecodeError as error:
        raise BadInput(f"{place}: not a market message ({error}); the source is damaged there") from error
    return updown_market(slug, condition_id=condition_id, place=place, quoted=(Outcome.DOWN,))


def _received(value: object, place: str) -> Millis:
    """Seconds as a float to whole milliseconds."""
    if not isinstance(value, float) or not math.isfinite(value) or not 0 < value < RECEIVED_MAX_S:
        raise BadInput(f"{place}: receive time {value!r} is not a time in seconds; the source is damaged there")
    return Millis(int(value * 1000))
