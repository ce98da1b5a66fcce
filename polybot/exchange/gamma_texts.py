"""How Gamma writes a market: its names, rule text, times and numbers (polymarket.md 2.2, 5.1, 5.2). Pure."""

import zlib
from datetime import UTC, datetime
from decimal import Decimal

from polybot.domain.ids import SeriesId
from polybot.domain.market import Market
from polybot.domain.units import UNIT, Millis

NAMES = {"BTC": "Bitcoin", "ETH": "Ethereum", "SOL": "Solana"}
SERIES_IDS = {"BTC-5m": "10684", "BTC-15m": "10192"}
"""The venue's own where they are known (polymarket.md 5.1); a client finds the others by slug."""
STREAM_URL = "https://data.chain.link/streams/{asset}-usd"


def series_slug(series: SeriesId) -> str:
    """ "btc-up-or-down-15m" of "BTC-15m" (polymarket.md 5.1)."""
    asset, frame = asset_and_frame(series)
    return f"{asset.lower()}-up-or-down-{frame}"


def series_id(series: SeriesId) -> str:
    return SERIES_IDS.get(series, str(900_000 + zlib.crc32(series.encode()) % 100_000))


def twap_seconds(market: Market) -> int | None:
    head, _, rest = market.rule_set.partition("-twap")
    seconds = rest.partition("-")[0]
    return int(seconds) if head == "chainlink" and seconds.isdecimal() else None


def resolution_source(market: Market) -> str:
    lookback = twap_seconds(market)
    stream = STREAM_URL.format(asset=market.asset.lower())
    return stream if lookback is None else f"{stream}-twap-{lookback}s-streams"


def description_of(market: Market) -> str:
    """The rule set in the venue's manner; a loopback market says so at the end."""
    lookback = twap_seconds(market)
    measure = "price" if lookback is None else f"{lookback}-second time-weighted average price (TWAP)"
    return (
        f'This market will resolve to "Up" if the {NAMES.get(market.asset, market.asset)} {measure} at the end of the '
        f"time range specified in the title is greater than or equal to the {measure} at the beginning of that range. "
        f'Otherwise, it will resolve to "Down".\nThe resolution source for this market is information from Chainlink, '
        f"specifically the {market.asset}/USD data stream available at {resolution_source(market)}.\n"
        "This is a market of PolyBot's loopback exchange: it is settled by a recorded payout."
    )


def question_of(market: Market) -> str:
    """ "Bitcoin Up or Down - September 28, 5:30PM-5:45PM UTC"; the venue's are in Eastern Time."""
    start, end = moment(market.window_start), moment(market.window_end)
    day = f"{start:%B} {start.day}"
    return f"{NAMES.get(market.asset, market.asset)} Up or Down - {day}, {_hour(start)}-{_hour(end)} UTC"


def asset_and_frame(series: SeriesId) -> tuple[str, str]:
    asset, _, frame = series.partition("-")
    return asset, frame


def moment(at: Millis) -> datetime:
    return datetime.fromtimestamp(at / 1000, UTC)


def zulu(at: Millis) -> str:
    return moment(at).strftime("%Y-%m-%dT%H:%M:%SZ")


def number(units: int) -> Decimal:
    """Millionths as a plain decimal, written as a JSON number by the encoder."""
    value = Decimal(units) / UNIT
    return value.quantize(Decimal(1)) if value == value.to_integral_value() else value.normalize()


def number_or_none(units: int | None) -> Decimal | None:
    return None if units is None else number(units)


def plain(units: int) -> str:
    return f"{number(units):f}"


def text_list(*items: str) -> str:
    """A list as Gamma serves it: JSON inside a string, with a space after the comma."""
    return "[" + ", ".join(f'"{item}"' for item in items) + "]"


def _hour(at: datetime) -> str:
    return f"{at.hour % 12 or 12}:{at:%M}{'AM' if at.hour < 12 else 'PM'}"
