"""Binance trade and Coinbase ticker frames as reference prices; only recordings hold them."""

from datetime import datetime

import msgspec

from polybot.domain.errors import BadInput
from polybot.domain.events import ReferencePriced
from polybot.domain.units import UNIT, Millis
from polybot.importing.source import finite, time_ms

PRICE_MAX = 1e9
QUOTES = ("USDT", "-USD", "USD")


class BinanceTrade(msgspec.Struct):
    """`{"stream": "btcusdt@trade", "data": {"s": symbol, "p": price, "T": trade time in ms}}`."""

    s: str
    p: str
    T: int


class BinanceFrame(msgspec.Struct):
    data: BinanceTrade


class CoinbaseFrame(msgspec.Struct):
    """`{"type": "ticker", "product_id": "BTC-USD", "price": "76892.09", "time": "2026-04-28T06:27:19.941394Z"}`."""

    type: str
    product_id: str = ""
    price: str = ""
    time: datetime | None = None


def binance_price(payload: str, received: Millis, place: str) -> ReferencePriced:
    """Raises BadInput or msgspec.DecodeError for anything but a trade."""
    trade = msgspec.json.decode(payload, type=BinanceFrame).data
    price, asset = _dollars(trade.p, place), _asset(trade.s, place)
    return ReferencePriced(time_ms(trade.T, place), received, asset, "binance", price)


def coinbase_price(payload: str, received: Millis, place: str) -> ReferencePriced | None:
    """None for anything but a ticker, such as the list of subscriptions."""
    frame = msgspec.json.decode(payload, type=CoinbaseFrame)
    if frame.type != "ticker":
        return None
    if frame.time is None or frame.time.tzinfo is None:
        raise BadInput(f"{place}: a ticker without a time")
    at = time_ms(int(frame.time.timestamp() * 1000), place)
    price, asset = _dollars(frame.price, place), _asset(frame.product_id, place)
    return ReferencePriced(at, received, asset, "coinbase", price)


def _dollars(text: str, place: str) -> int:
    """Millionths of a dollar."""
    number = finite(text, place)
    if not 0 < number < PRICE_MAX:
        raise BadInput(f"{place}: price {text!r} is not a possible price")
    return round(number * UNIT)


def _asset(symbol: str, place: str) -> str:
    for quote in QUOTES:
        if symbol.endswith(quote) and symbol != quote:
            return symbol.removesuffix(quote)
    raise BadInput(f"{place}: {symbol[:20]!r} is not a price in dollars")
