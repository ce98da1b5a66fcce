"""The legacy price socket's (RTDS) bytes as reference prices (polymarket.md 4.1)."""

from decimal import Decimal

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.events import ReferencePriced
from polybot.domain.units import Millis
from polybot.venue.polymarket.wire import UNREADABLE, Ignored, Undecodable, excerpt
from polybot.venue.polymarket.wire_units import TEXT_MAX, millis, reference_units

E18 = Decimal(10) ** 18
POINTS_MAX = 10_000
SOURCES = {
    "crypto_prices": "rtds-binance",
    "crypto_prices_chainlink": "rtds-chainlink",
    "crypto_prices_twap_sixty": "rtds-chainlink-twap60",
    "crypto_prices_twap_thirty": "rtds-chainlink-twap30",
}
PriceEvent = ReferencePriced | Ignored | Undecodable


class PricePoint(msgspec.Struct, gc=False):
    timestamp: int
    value: Decimal


class PricePayload(msgspec.Struct, gc=False):
    """An update has `timestamp` and `value`; the answer to a subscription has `data`, the last minute or two."""

    symbol: str = ""
    timestamp: int | None = None
    value: Decimal | None = None
    full_accuracy_value: str = ""
    data: list[PricePoint] = []


class PriceMessage(msgspec.Struct, gc=False):
    topic: str = ""
    type: str = ""
    payload: PricePayload | None = None


DECODER = msgspec.json.Decoder(PriceMessage)


def decode_prices(frame: bytes | str, received: Millis) -> list[PriceEvent]:
    """What a frame of the price socket says, oldest first; never raises. An empty frame is the server's keep-alive."""
    if not frame or frame in (b"PONG", "PONG"):
        return [Ignored("keep-alive")]
    try:
        message = DECODER.decode(frame)
        source, payload = SOURCES.get(message.topic), message.payload
        if source is None or payload is None:
            return [Undecodable(f"topic {message.topic[:TEXT_MAX]!r} is not a price topic", excerpt(frame))]
        return list(_prices(payload, _true_source(source, payload.symbol), received))
    except UNREADABLE as error:
        return [Undecodable(str(error), excerpt(frame))]


def _prices(payload: PricePayload, source: str, received: Millis) -> list[ReferencePriced]:
    asset = asset_of(payload.symbol)
    if len(payload.data) > POINTS_MAX:
        raise BadInput(f"{len(payload.data)} prices in one frame, at most {POINTS_MAX}")
    found = [
        ReferencePriced(millis(point.timestamp), received, asset, source, reference_units(point.value))
        for point in payload.data
    ]
    if payload.timestamp is not None and payload.value is not None:
        price = reference_units(_exact(payload, source))
        found.append(ReferencePriced(millis(payload.timestamp), received, asset, source, price))
    if not found:
        raise BadInput("a price message without a price")
    return found


def _true_source(source: str, symbol: str) -> str:
    """A Chainlink subscription is answered under Binance's topic; only the symbol's form, btc/usd, tells (recorded)."""
    return "rtds-chainlink" if source == "rtds-binance" and "/" in symbol else source


def _exact(payload: PricePayload, source: str) -> Decimal:
    """The full-accuracy text where there is one: plain decimals from Binance, an integer of 1e-18 from Chainlink."""
    text = payload.full_accuracy_value
    readable = len(text) <= 2 * TEXT_MAX and text.isascii() and text.replace(".", "", 1).isdecimal()
    if payload.value is None or not readable:
        return payload.value or Decimal(0)
    return Decimal(text) / E18 if source != "rtds-binance" and "." not in text else Decimal(text)


def asset_of(symbol: str) -> str:
    """BTC for btcusdt, btc/usd and btcusd. Raises BadInput for other forms."""
    for ending in ("/usd", "usdt", "-usd", "usd"):
        stem = symbol.lower().removesuffix(ending)
        if stem and stem != symbol.lower() and stem.isascii() and stem.isalnum():
            return stem.upper()
    raise BadInput(f"symbol {symbol[:TEXT_MAX]!r} is not a price in dollars")
